"""A key that has no effect with the other options is refused by name; one with an effect is accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vjepa_world.cli.main import main
from vjepa_world.cli.shared.commands import COMMANDS, command_module, file_name
from vjepa_world.config import compose
from vjepa_world.config.schema import keys_of
from vjepa_world.config.used import unused_keys
from vjepa_world.errors import ConfigError

OPEN = ("evaluate-open-loop", "data.path=d")
FINETUNE = ("finetune", "data.path=d")


def composed(command: str, *words: str) -> Any:
    return compose(file_name(command), command_module(command).Config, words)


@pytest.mark.parametrize(
    ("words", "key", "why"),
    [
        (("evaluate", "env.fps=9"), "env.fps", "a closed loop"),
        (("evaluate", "env={fps: 9}"), "env.fps", "a closed loop"),
        (
            (*OPEN, "execution.warm_start=false"),
            "execution.warm_start",
            "an open loop, which carries no plan out,",
        ),
        (("evaluate", "planner.lr=0.1"), "planner.lr", "planner.kind=cem"),
        (
            ("evaluate", "planner.kind=mppi", "planner.num_elites=8"),
            "planner.num_elites",
            "planner.kind=mppi",
        ),
        (("demo", "planner.kind=icem", "planner.temperature=1"), "planner.temperature", "planner.kind=icem"),
        (("demo", "resume=true"), "resume", "a demo without a name"),
        (("collect", "env.max_steps=30"), "env.max_steps", "collect"),
        (
            ("probe", "encoder=e", "data.path=d", "probe.kind=linear", "probe.depth=2"),
            "probe.depth",
            "linear",
        ),
        ((*FINETUNE, "encoder=e", "model.depth=3"), "model.depth", "encoder=CHECKPOINT"),
        (
            (*FINETUNE, "encoder=pixels", "decoder.image_size=0", "decoder.depth=3"),
            "decoder.depth",
            "image_size=0",
        ),
        ((*FINETUNE, "encoder=pixels", "inverse.horizon=0", "inverse.depth=3"), "inverse.depth", "horizon=0"),
        (
            (*FINETUNE, "encoder=pixels", "features.cache=false", "features.root=x"),
            "features.root",
            "cache=false",
        ),
        ((*FINETUNE, "encoder=pixels", "latents.depth=2"), "latents.depth", "latents.kind=pool"),
        (
            ("finetune", "encoder=pixels", "data.sources.a.path=d", "data.reader.fps=3"),
            "data.reader.fps",
            "data.sources",
        ),
    ],
)
def test_an_unused_key_is_refused_with_the_reason(words: tuple[str, ...], key: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"^'{key}' is given, and .*{why}.* does not use it; leave it out"):
        composed(*words)


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "env.max_steps=40", "execution.replan_every=1", "planner.num_elites=4"),
        (*OPEN, "open_loop.horizon=2", "energy.kind=l2", "execution.camera_rotation_deg=3", "seed=4"),
        ("evaluate", "planner.kind=gradient", "planner.lr=0.2"),
        ("demo", "name=x", "resume=true"),
        (
            "finetune",
            "encoder=pixels",
            "model.depth=3",
            "data.path=d",
            "latents.kind=queries",
            "latents.depth=2",
        ),
        ("finetune", "encoder=pixels", "data.sources.a.path=d", "data.sources.a.reader.fps=3", "data.fps=2"),
        ("probe", "encoder=e", "data.path=d", "probe.depth=2"),
    ],
)
def test_used_keys_are_accepted(words: tuple[str, ...]) -> None:
    composed(*words)


def test_every_key_that_is_declared_unused_exists() -> None:
    cases: dict[str, list[tuple[str, ...]]] = {
        "evaluate-open-loop": [("data.path=d",)],
        "evaluate": [(), ("planner.kind=mppi",), ("planner.kind=random",)],
        "demo": [()],
        "collect": [()],
        "probe": [("encoder=e", "data.path=d", "probe.kind=linear")],
        "finetune": [
            ("encoder=e", "data.path=d", "features.cache=false", "inverse.horizon=0", "decoder.image_size=0"),
            ("encoder=e", "data.sources.a.path=d", "latents.kind=none", "objective.rollout=1"),
        ],
    }
    for command, words in cases.items():
        assert COMMANDS[command].kind == "job"
        schema = command_module(command).Config
        known = list(keys_of(schema, ""))
        for given in words:
            for key in unused_keys(composed(command, *given)):
                assert any(name == key or name.startswith(f"{key}.") for name in known), (command, key)


@pytest.mark.parametrize("word", ["data.path=d", "open_loop.samples=8"])
def test_evaluate_names_the_command_for_recorded_episodes(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "name=x", word]) == 2
    key = word.split("=")[0]
    expected = f"unknown key '{key}'; evaluation on recorded episodes is a command of its own: "
    assert f"{expected}vjepa-world evaluate-open-loop" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("word", ["episodes=3", "env.max_steps=3", "controls.pixels=x", "videos=1"])
def test_an_evaluation_on_recorded_episodes_has_no_key_of_the_simulator(word: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown key '{word.split('=')[0]}'"):
        composed(*OPEN, word)
