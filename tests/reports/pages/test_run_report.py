"""The report of a run: its content, notes on missing data, and errors."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
import shutil
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.commands import run
from tests.data.conftest import make_writer
from vjepa_world.cli.pretrain import Config
from vjepa_world.config import to_yaml
from vjepa_world.data.config import VideoDataConfig
from vjepa_world.models.config import EncoderConfig
from vjepa_world.models.encoder import untrained_encoder
from vjepa_world.pretrained.folder import write_folder
from vjepa_world.pretrained.native import checkpoint_files
from vjepa_world.reports.pages.run_report import grouped
from vjepa_world.reports.plots.images import GAP, TILE
from vjepa_world.training.engine.config import TrainerConfig
from vjepa_world.training.pretrain.objectives.config import ContrastiveConfig, JEPAConfig

ENCODER = EncoderConfig(image_size=32, patch_size=8, num_frames=4, embed_dim=24, depth=1, num_heads=2)
RUN = "runs/pretrain/first"


def config(**changes: Any) -> Config:
    values: dict[str, Any] = {
        "name": "first",
        "data": VideoDataConfig(path="arm", fps=5.0),
        "model": ENCODER,
    } | changes
    return Config(**{"trainer": TrainerConfig(steps=200), **values})


def write_run(home: Path, settings: Config, *, checkpoint: bool = True) -> Path:
    """Create the run folder of a pretraining."""
    folder = home / RUN
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(settings))
    write_metrics(folder)
    if checkpoint:
        encoder = untrained_encoder(settings.model, seed=3)
        about = {"verb": "pretrain", "config": {}, "versions": {"torch": "2.13"}}
        write_folder(folder / "checkpoints" / "step_00000200", checkpoint_files(encoder, provenance=about))
    return folder


def write_metrics(folder: Path, std: float = 0.8) -> None:
    constants = {"target_rank": 9.0, "untrained_std": 0.9, "untrained_rank": 12.0, "gradient_norm": 1.0}
    lines = [
        {"step": step, "loss": 1 / (step + 1), "target_std": std, **constants, "clips_per_s": 50.0}
        for step in range(0, 200, 10)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recorded dataset; the pictures of episode e are all of one grey."""
    folder = tmp_path_factory.mktemp("home")
    writer = make_writer(folder / "arm", image_shape=(32, 32, 3))
    with writer.shard(0) as out:
        for number in range(4):
            frames = np.full((12, 32, 32, 3), 60 + 40 * number, np.uint8)
            out.add_episode(frames, np.zeros((12, 3), np.float32), np.zeros((11, 2), np.float32), task="rest")
    writer.finalize()
    return folder


@pytest.fixture
def folder(home: Path) -> Path:
    """A complete run, created for each test."""
    return write_run(home, config())


def report(home: Path, *words: str) -> str:
    """Return the report that the command writes."""
    assert run(home, "report", RUN, "--device", "cpu", *words) == 0
    return (home / RUN / "report.html").read_text()


def pictures(page: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def headings(page: str) -> list[str]:
    return [unescape(text) for text in re.findall(r"<h2>(.*?)</h2>", page)]


class Outside(HTMLParser):
    """Collects what a page would load, and whether its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.loaded += [str(values[key]) for key in ("src", "href") if values.get(key)]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_metrics_are_grouped_and_unknown_ones_have_their_own_charts() -> None:
    names = ["loss", "loss_mask_0", "val_error", "target_std", "untrained_std", "target_rank", "ema_distance"]
    names += [
        "probe_error",
        "probe_chance",
        "gradient_norm",
        "lr",
        "clips_per_s",
        "wait_fraction",
        "matrix_share",
        "odd",
    ]
    lines = [{"step": step} | dict.fromkeys(names, 1.0) for step in range(3)]
    found = {
        heading: [sorted(chart.series) for chart in charts] for heading, charts in grouped(lines).items()
    }
    assert found == {
        "Losses": [["loss", "loss_mask_0"], ["val_error"]],
        "Health of the features": [["target_std", "untrained_std"], ["target_rank"], ["ema_distance"]],
        "Online probe": [["probe_chance", "probe_error"]],
        "Optimisation": [["gradient_norm"], ["lr"]],
        "Speed": [["clips_per_s"], ["matrix_share", "wait_fraction"]],
        "Other metrics": [["odd"]],
    }


def test_values_that_are_not_numbers_are_left_out() -> None:
    lines = [{"step": 0, "loss": 1.0}, {"step": 1, "loss": math.nan}, {"step": 2, "loss": math.inf}]
    assert grouped(lines)["Losses"][0].series == {"loss": [(0.0, 1.0)]}


def test_a_whole_run_is_drawn_into_one_file(
    home: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = report(home)
    assert headings(page) == [
        "Alarms",
        "Losses",
        "Health of the features",
        "Optimisation",
        "Speed",
        "Masks over the first clip",
        "Features, coloured by their first three principal components",
        "Settings",
    ]
    parser = Outside()
    parser.feed(page)
    assert parser.open == []
    assert parser.loaded and all(address.startswith("data:image/png") for address in parser.loaded)
    assert "No collapse" in page and "200 of 200 steps" not in page and "191 of 200 steps" in page
    assert re.search(r"<t[dh][^>]*>\s*command\s*</t[dh]>", page) and not re.search(r">\s*verb\s*<", page)
    assert "data.path" in page and "step_00000200" in page and "versions.torch" in page
    assert (
        "report in runs/pretrain/first/report.html: 20 logged steps, the last at step 190"
        in capsys.readouterr().out
    )


def test_masks_are_drawn_over_the_clip_and_features_below_it(home: Path, folder: Path) -> None:
    page = report(home)
    short, long, *features = pictures(page)
    two_frames = 2 * TILE + GAP
    assert short.size == long.size == (two_frames, 2 * TILE + GAP)  # the clip, and the same masked
    assert [picture.size for picture in features] == [(two_frames, 3 * TILE + 2 * GAP)] * 3
    for masked in (short, long):
        pixels = np.asarray(masked)
        plain, covered = pixels[:TILE, :TILE], pixels[TILE + GAP :, :TILE]
        assert len(np.unique(plain)) <= 3  # one grey, as recorded
        assert 0.1 < (np.abs(covered.astype(int) - plain).max(axis=-1) > 10).mean() < 1
    shares = re.findall(r"<figcaption>mask_(\d): (\d+)% of the tokens are context, (\d+)%", page)
    assert [number for number, _, _ in shares] == ["0", "1"]
    assert all(int(seen) + int(hidden) <= 101 for _, seen, hidden in shares)


def test_pairs_and_images_of_an_objective_are_drawn(home: Path) -> None:
    write_run(home, config(objective=JEPAConfig(image_fraction=0.5, pair_fraction=0.5)))
    assert re.findall(r"<figcaption>(\w+): \d+% of the tokens", report(home)) == ["pair"]
    write_run(home, config(objective=JEPAConfig(masking="image", image_fraction=0.0)))
    image, *_ = pictures(report(home))
    assert image.size[1] > 3 * TILE  # a row for each of several targets
    write_run(home, config(objective=ContrastiveConfig()))
    assert "This objective masks nothing." in report(home)


def test_a_collapse_in_the_log_is_shown_at_the_top(home: Path, folder: Path) -> None:
    write_metrics(folder, std=0.001)
    page = report(home)
    assert headings(page)[0] == "Alarms"
    assert re.search(
        r'<p class="note alarm">features collapse at step 20: all clips get nearly the same ones', page
    )


def test_without_a_checkpoint_there_is_a_note_and_the_rest(home: Path) -> None:
    write_run(home, config(), checkpoint=False)
    page = report(home)
    assert len(pictures(page)) == 2
    assert "features are not drawn, for there is no encoder" in page
    assert "holds no model.safetensors" in page


def test_missing_data_gives_a_note_and_the_curves_are_drawn(home: Path) -> None:
    write_run(home, config(data=VideoDataConfig(path="elsewhere")))
    page = report(home)
    assert pictures(page) == [] and page.count("<svg") == 5
    assert "the run&#39;s data cannot be read from" in page and "elsewhere" in page


def test_settings_of_another_release_give_a_note_and_the_curves_are_drawn(home: Path, folder: Path) -> None:
    text = (folder / "config.yaml").read_text().replace("color_jitter:", "colour_jitter:")
    (folder / "config.yaml").write_text(text)
    page = report(home)
    assert "does not read the run&#39;s settings" in page and "colour_jitter" in page
    assert page.count("<svg") == 5


def test_bad_files_are_listed(home: Path, folder: Path) -> None:
    with (folder / "bad_files.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("name", "reason"), *((f"a<{k}.mp4", "no, video") for k in range(230))])
    page = report(home)
    assert "230 files. The first 200 are shown" in page
    assert page.count("<td>no, video</td>") == 200 and "a&lt;199.mp4" in page and "a<1" not in page


def test_a_run_of_another_command_has_its_curves(home: Path) -> None:
    folder = home / "runs" / "finetune" / "second"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("name: second\nencoder: x\n")
    lines = [{"step": step, "loss": 1.0, "val_error": 0.5} for step in range(3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "result.json").write_text('{"test": {"accuracy": 0.5}}')
    assert run(home, "report", "runs/finetune/second", "--output", "page.html") == 0
    page = (home / "page.html").read_text()
    assert headings(page) == ["Losses", "Settings"]
    assert "test.accuracy" in page
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs/pretrain/frist"], "there is no run runs/pretrain/frist; .*did you mean 'first'"),
        (["runs/nothing/here"], "runs/nothing holds no runs"),
        (["first"], "there is no run first; give the folder of one, such as runs/pretrain/first"),
        (["nothing"], "there is no run nothing; give the folder of one, such as runs/evaluate/NAME"),
        (
            [f"{RUN}/metrics.jsonl"],
            f"{RUN}/metrics.jsonl is a file; give the folder of a run, such as {RUN}.$",
        ),
        (
            ["arm"],
            r"arm has no metrics to draw: its metrics.jsonl is missing or empty\. Allowed are runs of pretrain, ",
        ),
        ([RUN, "--device", "gpu"], "device 'gpu' is not known"),
        ([RUN, "--output", "no/such/folder.html"], "no/such"),
    ],
)
def test_impossible_reports_are_refused_with_what_to_do(
    home: Path, folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, "report", *words) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("command", ["evaluate_open_loop", "evaluate_encoder"])
def test_a_run_that_draws_its_report_itself_is_refused_with_the_path(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, name = tmp_path / "runs" / command / "first", command.replace("_", "-")
    folder.mkdir(parents=True)
    assert run(tmp_path, "report", f"runs/{command}/first") == 2
    error = capsys.readouterr().err
    assert f"runs/{command}/first is a run of {name} that was stopped: run it again with resume=true" in error
    (folder / "report.html").touch()
    assert run(tmp_path, "report", f"runs/{command}/first") == 2
    error = capsys.readouterr().err
    assert (
        f"is a run of {name}, which has drawn its report itself: open runs/{command}/first/report.html."
        in error
    )
    assert "Allowed are runs of pretrain, finetune and probe that have logged a step" in error
    assert "and of evaluate and demo" in error
