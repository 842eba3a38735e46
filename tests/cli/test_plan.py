"""`plan` with the shipped model and images of the simulated arm: the printed text and the HTML page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch
from PIL import Image

import envs  # noqa: F401  (registers the ids)
from tests.cli.commands import run
from tests.models.test_world_model import CONFIG, tiny_model
from vjepa_world.cli.shared.commands import config_of
from vjepa_world.models.config import EmbodimentConfig
from vjepa_world.planning.registry import PLANNERS
from vjepa_world.pretrained import load_world_model, save_pretrained, shipped_checkpoint

SMALL = ["planner.num_samples=8", "planner.num_iterations=3", "--device", "cpu"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures of now and of the goal."""
    folder = tmp_path_factory.mktemp("home")
    env = gymnasium.make("vjepa_world/Reach-v0")
    observation, info = env.reset(seed=3)
    env.close()
    Image.fromarray(observation["image"]).save(folder / "now.png")
    Image.fromarray(info["goal_image"]).save(folder / "goal.png")
    (folder / "state.txt").write_text(" ".join(map(str, observation["state"].tolist())))
    return folder


def words(home: Path, *more: str) -> list[str]:
    state = (home / "state.txt").read_text().split()
    return ["plan", "--image", "now.png", "--goal", "goal.png", *SMALL, *more, "--state", *state]


def planned(home: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, object]:
    assert run(home, *words(home, "--json", *more)) == 0
    result: dict[str, object] = json.loads(capsys.readouterr().out)
    return result


def test_the_page_is_written_in_a_new_folder_and_is_of_the_plan(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = planned(home, capsys, "planner.horizon=2")
    result = planned(home, capsys, "planner.horizon=2", "--html", "new/folder/plan.html")
    assert result.pop("page") == "new/folder/plan.html"
    assert result == without
    page = (home / "new" / "folder" / "plan.html").read_text()
    steps = re.findall(r"<tr><td>step \d</td>(.*?)</tr>", page)
    table = torch.tensor([[float(n) for n in re.findall(r"<td>(.*?)</td>", row)] for row in steps])
    torch.testing.assert_close(table[:, :7], torch.tensor(result["actions"]), atol=6e-5, rtol=0)
    assert float(table[-1, 7]) == pytest.approx(result["energy"], abs=1e-4)
    assert f"Energy {result['energy_now']:.4f} now" in page
    for name, value in (
        ("planner", "cem"),
        ("horizon [steps]", "2"),
        ("iterations", "3 of 3"),
        ("seed", "0"),
    ):
        assert f"<td>{name}</td><td>{value}</td>" in page
    assert page.count('src="data:image/png') == 2 + 4 + 3  # cameras, decoded, maps
    assert page.count('<i class="scale">') == 1  # of the maps
    library = re.search(r'class="library">(.*?)</script>', page)
    assert library is not None
    assert len(page) - len(library[1]) < 2_000_000  # without plotly.js


def test_the_text_ends_with_the_page_and_an_old_one_is_replaced(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "old.html").write_text("old")
    assert run(home, *words(home, "--html", "old.html")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("action 1: ") and lines[-2].startswith("energy: ")
    assert lines[-1] == "page: old.html"
    assert (home / "old.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("kind", [kind for kind in PLANNERS if kind != "categorical_cem"])
def test_every_planner_stays_in_bounds_and_gets_closer_to_the_goal(
    home: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    result = planned(home, capsys, "--planner", kind, "planner.horizon=2", "--html", f"{kind}.html")
    model = load_world_model(shipped_checkpoint())
    actions = torch.tensor(result["actions"])
    assert actions.shape == (2, 7)
    assert bool((actions >= model.action_low - 1e-5).all() and (actions <= model.action_high + 1e-5).all())
    assert result["energy"] < result["energy_now"]  # type: ignore[operator]
    page = (home / f"{kind}.html").read_text()
    assert f"<td>planner</td><td>{kind}</td>" in page
    assert f"<td>planner.kind</td><td>{kind}</td>" in page


def without_state(home: Path, name: str, **robot: Any) -> list[str]:
    """Write the checkpoint of a robot that has no state, and return the words that plan with it."""
    model = tiny_model(embodiments=(EmbodimentConfig(state_dim=0, numbers="given", **robot),))
    save_pretrained(model, home / name)
    return ["plan", "--checkpoint", name, "--image", "now.png", "--goal", "goal.png", *SMALL]


def test_a_model_without_states_plans_from_images_alone(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = without_state(home, "blind", action_dim=2)
    assert run(home, *words, "--json", "planner.horizon=2", "--html", "blind.html") == 0
    actions = torch.tensor(json.loads(capsys.readouterr().out)["actions"])
    assert actions.shape == (2, 2)
    assert "<td>state</td><td>none</td>" in (home / "blind.html").read_text()
    assert run(home, *words, "--state", "0.1", "0.2") == 2
    assert "state has 2 numbers, and blind was trained without states; leave it out" in (
        capsys.readouterr().err
    )


def test_a_state_that_is_missing_or_of_another_size_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = ["plan", "--image", "now.png", "--goal", "goal.png", *SMALL]
    cases: list[tuple[list[str], str]] = [([], "is not given"), (["--state", "1", "2"], "has 2 numbers")]
    for given, got in cases:
        assert run(home, *pictures, *given) == 2
        message = rf"state {got}, and shipped was trained with states of 7 numbers.* give them in the order"
        assert re.search(message, capsys.readouterr().err)


def test_choices_are_planned_by_the_categorical_planner_unless_another_one_is_asked_for(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = without_state(home, "keys", action_dim=5, actions="choice")
    plans = []
    for planner in ([], ["planner=categorical_cem"]):
        assert run(home, *words, "--json", "planner.horizon=2", *planner, "--html", "keys.html") == 0
        plans.append(json.loads(capsys.readouterr().out)["actions"])
        assert "<td>planner</td><td>categorical_cem</td>" in (home / "keys.html").read_text()
    assert plans[0] == plans[1]
    assert all(sorted(action) == [0, 0, 0, 0, 1] for action in plans[0])
    assert run(home, *words, "planner.horizon=2") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == [f"action {k}: choice {plans[0][k - 1].index(1)}" for k in (1, 2)]
    for refused in ("planner=icem", "planner.initial_std=0.5"):
        assert run(home, *words, refused) == 2
        assert "planner=categorical_cem" in capsys.readouterr().err


def test_plans_of_more_steps_than_a_model_can_predict_are_refused(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    robot = EmbodimentConfig(action_dim=2, state_dim=3, numbers="given", actions="given")
    for name, predicts in (("single", False), ("several", True)):
        predictor = replace(CONFIG.predictor, predict_state=predicts)
        save_pretrained(tiny_model(embodiments=(robot,), predictor=predictor), home / name)
        words = ["plan", "--checkpoint", name, "--image", "now.png", "--goal", "goal.png", *SMALL]
        words += ["--state", "0", "0", "0"]
        assert run(home, *words) == 0
        capsys.readouterr()
        assert run(home, *words, "planner.horizon=2") == (0 if predicts else 2)
        assert predicts or re.search(
            r"planner.horizon is 2, and single predicts single steps.*\(2 numbers, meaning: given\).*"
            r"predictor.predict_state=true",
            capsys.readouterr().err,
        )


def test_planners_differ_and_the_default_is_cem(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    default = planned(home, capsys)
    assert planned(home, capsys, "--planner", "cem") == default
    assert planned(home, capsys, "--planner", "random") != default
    assert planned(home, capsys, "--seed", "1") != default


def test_a_deadline_ends_the_search_early(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("execution.deadline_s=0.000001", "planner.num_iterations=40", "--html", "early.html")
    assert planned(home, capsys, *more)["energy"]
    assert "<td>iterations</td><td>1 of 40</td>" in (home / "early.html").read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--html", "pages"], r"html=pages is a folder; give a file in it, such as pages/plan.html"),
        (["--html", "now.png/plan.html"], r"would lie below .*now.png, which is a file; give a path below a"),
        (["--execution.deadline-s", "-1"], r"'execution.deadline_s' got -1, expected a number from 0.0 to"),
        (["--planner.horizon", "0"], r"'planner.horizon' got 0, expected a number from 1 to"),
        (["--planner.num-samples", "0"], r"'planner.num_samples' got 0, expected a number from 1 to"),
    ],
)
def test_wrong_arguments_are_reported(
    home: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    (home / "pages").mkdir(exist_ok=True)
    assert run(home, *words(home, *more)) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list((home / "pages").iterdir())


def test_an_unknown_planner_is_refused_with_those_known(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, *words(home, "--planner", "cma")) == 2
    assert re.search("unknown planner 'cma'; .*cem.*icem.*random", capsys.readouterr().err)


def test_a_wrong_html_path_is_refused_at_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "pages").mkdir(exist_ok=True)
    wanted = ["plan", "--image", "none.png", "--goal", "none.png", "--state", "0", "--html", "pages"]
    assert run(home, *wanted) == 2
    assert "is a folder" in capsys.readouterr().err


def test_numbers_of_the_state_may_be_small_and_negative() -> None:
    given = ["-8.4e-08", "-.5", "-1E+1", "2"]
    words = ["--image", "a.png", "--goal", "b.png", "--state", *given, "--seed", "3"]
    config = config_of("plan", words)
    assert config.state == (-8.4e-08, -0.5, -10.0, 2.0)
    assert config.seed == 3


def test_a_state_in_other_units_gives_a_warning_with_its_name(
    home: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert "warnings" not in planned(home, capsys)
    assert not caplog.records
    state = ["500", "0", "250", "180", "0", "0", "0.5"]
    pictures = ["--image", "now.png", "--goal", "goal.png"]
    assert run(home, "plan", *pictures, *SMALL, "--json", "--state", *state) == 0
    [warning] = json.loads(capsys.readouterr().out)["warnings"]
    assert "x is 500" in warning
    assert "millimetres instead of metres and degrees instead of radians" in warning
    assert warning in caplog.text


def test_an_image_unlike_those_of_training_gives_a_warning(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (128, 128)).save(home / "black.png")
    state = (home / "state.txt").read_text().split()
    pictures = ["--image", "now.png", "--goal", "black.png"]
    assert run(home, "plan", *pictures, *SMALL, "--json", "--state", *state) == 0
    [warning] = json.loads(capsys.readouterr().out)["warnings"]
    assert warning.startswith("the goal picture is unlike those that this model was trained on")


@pytest.mark.parametrize(("count", "code"), [(1, 2), (2, 0), (3, 2)])
def test_a_model_of_two_views_needs_two_images(
    home: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], count: int, code: int
) -> None:
    model = tiny_model(views=2)
    model.action_low.fill_(-0.1)
    model.action_high.fill_(0.1)
    save_pretrained(model, home / f"two{count}")
    state = (home / "state.txt").read_text().split()
    pictures = ["--image", *["now.png"] * count, "--goal", *["goal.png"] * count]
    words = ["plan", "--checkpoint", f"two{count}", *pictures, *SMALL, "--json", "--state", *state]
    assert run(home, *words) == code
    printed = capsys.readouterr()
    if code:
        given = "1 picture was" if count == 1 else f"{count} pictures were"
        assert f"this model has 2 views, and {given} given" in printed.err + caplog.text
        return
    assert len(json.loads(printed.out)["actions"]) == 1
