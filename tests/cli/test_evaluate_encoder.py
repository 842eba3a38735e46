"""`evaluate mode=encoder` on the command line: results, report, recorded episodes, errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.commands import COLLECT, run
from tests.cli.test_open_loop import save_model
from vjepa_world.cli.shared.commands import by_mode
from vjepa_world.errors import ConfigError
from vjepa_world.models.config import EncoderConfig
from vjepa_world.models.encoder import untrained_encoder
from vjepa_world.pretrained import save_pretrained

SMALL = EncoderConfig(image_size=32, patch_size=8, num_frames=2, embed_dim=24, depth=1, num_heads=2)
WORDS = ["device=cpu", "threads=1", "scenes=2", "states=5", "tokens=[4,16]", "env.image_size=32"]
ENCODER = ["evaluate", "mode=encoder", *WORDS]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders")
    save_pretrained(untrained_encoder(SMALL, 1), folder / "mine")
    save_model(folder / "world")
    return folder


def test_encoders_are_measured_next_to_the_controls(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["env=grasp", "env.variation=test", "encoder=mine", "others=[world]", "name=first"]
    assert run(home, *ENCODER, *words) == 0
    folder = home / "runs" / "evaluate_encoder" / "first"
    result = json.loads((folder / "result.json").read_text())
    assert (result["mode"], result["environment"]["id"]) == ("encoder", "vjepa_world/Grasp-v0")
    assert result["frames"] == 2 * 3 * 2 * 5
    named = [(row["encoder"], row["tokens"]) for row in result["encoders"]]
    controls = [(name, tokens) for name in ("untrained", "pixels") for tokens in (4, 16)]
    assert named == [("mine", 4), ("mine", 16), ("world", 16), ("world", 4), *controls]
    assert list(result["kinds"]) == [
        f"{moved}, {radius} cm" for moved in ("arm", "object", "arm with object") for radius in (25, 8)
    ]
    assert all("difference" in row for row in result["encoders"][2:])
    page = (folder / "report.html").read_text()
    assert "arm with object, 8 cm" in page and "data:image/png" in page and "<svg" in page
    out = capsys.readouterr().out
    assert "Rank of mine minus that of the others" in out and "nearest frame" in out and "report.html" in out
    # The untrained control has the architecture of the first encoder of ours, and other weights.
    assert result["encoders"][0]["width"] == result["encoders"][4]["width"] == 24
    assert result["encoders"][0]["all"] != result["encoders"][4]["all"]


def test_recorded_episodes_need_no_environment(home: Path) -> None:
    assert run(home, *COLLECT, "name=first") == 0
    words = [word for word in ENCODER if not word.startswith("env.")]
    recorded = ["encoder=mine", "data.path=runs/collect/first", "data.steps=[4]", "name=recorded"]
    assert run(home, *words, *recorded) == 0
    result = json.loads((home / "runs/evaluate_encoder/recorded/result.json").read_text())
    assert list(result["kinds"]) == ["recorded, 4 steps"]
    assert result["data"]["path"] == "runs/collect/first" and result["scenes"] == 2
    by_place = ["encoder=mine", "data.path=runs/collect/first", "data.distance=position", "name=place"]
    assert run(home, *words, *by_place) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["encoder=nothing"], "nothing.*Controls are encoder=untrained and encoder=pixels"),
        (["encoder=mine", "others=[nothing]"], "nothing"),
        (["tokens=[20]"], r"tokens is \[20\]; give square numbers"),
        (["radii_m=[0]"], r"radii_m is \[0.*\]; give distances above 0"),
        (["data.steps=[4]"], "'data.steps' is given, and a measurement without data.path does not use it"),
        (["data.path=x", "env.camera=fixed"], "'env.camera' is given, and data.path=DATASET does not use it"),
        (["data.path=x", "radii_m=[0.1]"], "'radii_m' is given, and data.distance=steps does not use it"),
        (["checkpoint=mine"], "unknown key 'checkpoint'"),
        (["states=2"], "'states' got 2"),
    ],
)
def test_bad_input_is_explained(
    home: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = [
        word
        for word in ENCODER
        if not word.startswith("env.") or not any(w.startswith("data.") for w in words)
    ]
    assert run(home, *rest, "name=bad", *words) == 2
    error = capsys.readouterr().err
    import re

    assert re.search(message, error), error
    assert not (home / "runs" / "evaluate_encoder" / "bad").exists()


def test_a_mode_selects_a_command() -> None:
    assert by_mode("evaluate", ["a=1", "mode=encoder"]) == ("evaluate-encoder", ["a=1"])
    assert by_mode("evaluate", ["--mode", "open_loop", "--a", "1"]) == ("evaluate-open-loop", ["--a", "1"])
    assert by_mode("evaluate", ["--mode=closed_loop"]) == ("evaluate", [])
    assert by_mode("collect", ["mode=encoder"]) == ("collect", ["mode=encoder"])
    with pytest.raises(ConfigError, match="mode got 'encode'; did you mean 'encoder'"):
        by_mode("evaluate", ["mode=encode"])
