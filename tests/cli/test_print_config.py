"""`--print-config` prints YAML that `--config` reads, for every command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vjepa_world.cli.main import COMMANDS, main
from vjepa_world.cli.shared.commands import command_module, config_of, file_name
from vjepa_world.config import flatten, from_yaml, to_yaml
from vjepa_world.config.groups import default_tree
from vjepa_world.config.location import config_root
from vjepa_world.config.values import MISSING, leaves
from vjepa_world.errors import ConfigError

REQUIRED = {
    "finetune": ["encoder=e", "data.path=d"],
    "plan": ["--image", "a.png", "--goal", "b.png", "--state", "1", "2"],
    "evaluate-open-loop": ["data.path=d"],
    "probe": ["encoder=e", "data.path=d"],
    "pretrain": ["data.path=${x} (1)"],
    "predict": ["a.mp4", "--probe", "p"],
    "inspect": ["2024"],
    "report": ["r"],
    "compare": ["a", "b"],
    "convert": ["a", "b"],
}


def printed(capsys: pytest.CaptureFixture[str], command: str, *words: str) -> str:
    assert main([command, *words, "--print-config"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_printed_config_can_be_read(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = REQUIRED.get(command, [])
    text = printed(capsys, command, *words)
    assert from_yaml(text, command_module(command).Config) == config_of(command, words)
    (tmp_path / "mine.yaml").write_text(text)
    assert printed(capsys, command, "--config", "mine.yaml") == text
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]  # no run was started


@pytest.mark.parametrize("command", COMMANDS)
def test_the_defaults_of_the_help_are_those_that_are_composed(command: str) -> None:
    schema = command_module(command).Config
    tree = default_tree(file_name(command), schema, config_root())
    composed = from_yaml(to_yaml(config_of(command, REQUIRED.get(command, []))), schema)
    plain = {key: value for key, value in leaves(tree, "") if value != MISSING}
    given = {word.split("=")[0] for word in REQUIRED.get(command, [])} | {
        "image",
        "goal",
        "state",
        *COMMANDS[command].positional,
    }
    found = flatten(composed)
    assert {key: found[key] for key in plain if key not in given} == {
        key: value for key, value in plain.items() if key not in given
    }


def test_a_config_file_overrides_groups_and_is_overridden_by_arguments(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("planner:\n  kind: icem\n  num_elites: 6\nepisodes: 7\nenv:\n  max_steps: 9\n")
    config = config_of("evaluate", [], file=file)
    assert (config.planner.kind, config.planner.num_elites, config.episodes) == ("icem", 6, 7)
    assert (config.env.variation, config.env.max_steps) == ("test", 9)
    assert config_of("evaluate", ["episodes=3"], file=file).episodes == 3
    assert (
        config_of("evaluate", ["planner.kind=mppi"], file=file).planner
        == config_of("evaluate", ["planner=mppi"]).planner
    )
    replaced = config_of("evaluate", ["planner=cem"], file=file)
    assert (replaced.planner, replaced.episodes) == (config_of("evaluate", []).planner, 7)


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("episods: 3", [], r"mine.yaml: unknown key 'episods'; did you mean 'episodes'"),
        ("episodes: many", [], r"'episodes' got 'many', expected a whole number"),
        ("planner: {kind: cem, lr: 1}", [], r"'planner.lr' is given, and planner.kind=cem does not use it"),
        (
            "mode: open_loop",
            [],
            r"unknown key 'mode'; it is a word of the command line alone",
        ),
        ("- 1", [], r"mine.yaml holds list, expected keys and values"),
        ("episodes: 3", ["recipe=x"], r"unknown key 'recipe'"),
    ],
)
def test_a_wrong_config_file_is_reported(tmp_path: Path, text: str, words: list[str], message: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        config_of("evaluate", words, file=tmp_path / "mine.yaml")


def test_a_recipe_cannot_be_combined_with_a_config_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seed: 1")
    with pytest.raises(
        ConfigError, match=r"recipe= is given with the file .*mine.yaml, whose keys would replace"
    ):
        config_of("pretrain", ["data.path=x", "recipe=small_cpu"], file=tmp_path / "mine.yaml")


def test_a_missing_config_file_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--config", "nowhere.yaml"]) == 2
    assert re.search("nowhere.yaml is not readable", capsys.readouterr().err)
    assert main(["evaluate", "--config"]) == 2
    assert "--config is given without a file" in capsys.readouterr().err


def test_presets_of_planners_are_those_of_the_papers() -> None:
    planner = config_of("evaluate", ["planner=vjepa2_ac"]).planner
    assert (planner.kind, planner.num_samples, planner.num_iterations, planner.num_elites) == (
        "cem",
        800,
        10,
        10,
    )
    config = config_of("plan", [*REQUIRED["plan"], "--planner", "icem_proposals"])
    assert (config.planner.kind, config.planner.num_samples, config.execution.propose) == ("icem", 20, True)
    config = config_of("finetune", [*REQUIRED["finetune"], "predictor=vjepa2_ac"])
    assert (config.predictor.depth, config.predictor.residual, config.latents.kind) == (24, False, "none")
    config = config_of("collect", ["env=gym", "env.id=mine:Mine-v0", "env.kwargs.a=1"])
    assert (config.env.id, config.env.kwargs, config.env.max_steps) == ("mine:Mine-v0", {"a": 1}, 50)
    assert [config_of(name, ["env=reach"]).env.variation for name in ("collect", "evaluate", "demo")] == [
        "train",
        "test",
        "test",
    ]
