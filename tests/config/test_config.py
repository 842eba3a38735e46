"""Command-line text becomes a typed dataclass, and mistakes become a helpful message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from vjepa_world.cli.pretrain import Config as PretrainConfig
from vjepa_world.config import (
    compose,
    config_root,
    describe,
    flatten,
    from_yaml,
    launcher_words,
    read_yaml_file,
    to_yaml,
    typed_value,
)
from vjepa_world.errors import ConfigError, VJEPAWorldError


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class OwnError(VJEPAWorldError):
    """Raised by a dataclass of the tests."""


@dataclass(frozen=True)
class Model:
    """A model.

    Attributes:
        dim: Width of the tokens,
            in channels.
        depth: Blocks.
    """

    dim: int = 8
    depth: int = 2


@dataclass(frozen=True)
class Trainer:
    """A trainer."""

    steps: int = 10
    lr: float = 1.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    betas: tuple[float, float] = (0.9, 0.95)
    sizes: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps got {self.steps}, expected at least 1")


@dataclass(frozen=True)
class Data:
    """Data.

    Attributes:
        path: Folder, glob or CSV list of videos.
    """

    path: str = field(metadata={"example": "clips/"})
    root: Path | None = None
    colour: Colour = Colour.RED


@dataclass(frozen=True)
class Config:
    """A command of the tests."""

    data: Data
    model: Model = field(default_factory=Model)
    trainer: Trainer = field(default_factory=Trainer)
    other: Model | None = None
    name: str = ""
    seed: int = 0
    resume: bool = False
    limit: int | float | None = None
    weights: dict[str, float] = field(default_factory=dict)
    reader: dict[str, Any] = field(default_factory=dict)
    number: int = field(default=1, metadata={"range": (0, 100)})

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise OwnError(f"seed got {self.seed}, expected 0 or more")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of YAML: a command `train` and a group `model` with two options."""
    (tmp_path / "model").mkdir()
    (tmp_path / "train.yaml").write_text("defaults:\n  - model: nano\n  - _self_\ntrainer:\n  lr: 1e-3\n")
    (tmp_path / "model" / "nano.yaml").write_text("dim: 64\n")
    (tmp_path / "model" / "tiny.yaml").write_text("dim: 128\ndepth: 4\n")
    return tmp_path


def build(folder: Path, *words: str) -> Config:
    return compose("train", Config, ["data.path=x", *words], folder)


def refused(folder: Path, *words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        build(folder, *words)
    return str(caught.value)


def test_dataclass_yaml_group_and_command_line_override_in_order(folder: Path) -> None:
    config = build(folder, "trainer.steps=500")
    assert config == Config(Data("x"), Model(dim=64, depth=2), Trainer(steps=500, lr=1e-3))
    assert build(folder, "model=tiny").model == Model(dim=128, depth=4)
    assert build(folder, "model=tiny", "model.depth=3").model == Model(dim=128, depth=3)
    assert build(folder, "model.depth=3", "model=tiny").model == Model(dim=128, depth=3)


def test_a_command_without_yaml_uses_its_dataclass(folder: Path) -> None:
    assert compose("other", Config, ["data.path=x"], folder) == Config(Data("x"))


@pytest.mark.parametrize(
    ("word", "key", "expected"),
    [
        ("trainer.steps=1e3", "trainer.steps", 1000),
        ("trainer.lr=3", "trainer.lr", 3.0),
        ("trainer.lr=1e-4", "trainer.lr", 1e-4),
        ("trainer.precision=bfloat16", "trainer.precision", "bfloat16"),
        ("trainer.betas=[0.8,1]", "trainer.betas", [0.8, 1.0]),
        ("trainer.sizes=[1,2,3]", "trainer.sizes", [1, 2, 3]),
        ("data.colour=blue", "data.colour", "blue"),
        ("data.root=/a/b", "data.root", "/a/b"),
        ("data.root=null", "data.root", None),
        ("resume=true", "resume", True),
        ("limit=2.5", "limit", 2.5),
        ("limit=null", "limit", None),
        ("weights.a=0.5", "weights.a", 0.5),
        ("weights={a:1,b:2}", "weights.b", 2.0),
        ("other={dim:3}", "other.depth", 2),
        ("other.dim=3", "other.dim", 3),
        ("model={dim:3}", "model.dim", 3),
    ],
)
def test_values_have_the_declared_type(folder: Path, word: str, key: str, expected: object) -> None:
    got = flatten(build(folder, word))[key]
    assert got == expected
    assert type(got) is type(expected)


#: Names that people give files, and that a grammar could take for something else.
TEXTS = [
    "2024", "1e5", "true", "null", "a=b", "it's", "two words", "/c,d (1)/x[0]*.mp4", "back\\", "'", "a\\'b",
    "epoch=3.mp4",
    "clip[1].mp4", "{a}", "a{b", "#3.mp4", "küche.mp4", "映像/一.mp4", "${oc.env:HOME}", "${x", "$HOME", "a$", "\\${x}",
    "a, b",
    '"', 'say "hi"', "'a' and 'b'", "~/x", "+x", "-1", "a:b", "@x", "choice(1,2)", "glob(*)", "???x", "a\nb", " a ",
    "%s",
    "x-{000..009}.tar", "\udcff", "((", "[[[", "\\\\", "'a", "null,null",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_needs_no_quotes(folder: Path, text: str) -> None:
    assert build(folder, f"name={text}").name == text
    assert build(folder, f"data.root={text}").data.root == (None if text == "null" else Path(text))


@pytest.mark.parametrize("text", TEXTS)
def test_texts_survive_a_yaml_round_trip(folder: Path, text: str) -> None:
    config = build(folder, f"name={text}")
    assert from_yaml(to_yaml(config), Config) == config


@pytest.mark.parametrize("text", TEXTS)
def test_a_launcher_parses_arguments_as_the_command_line_does(folder: Path, text: str) -> None:
    [word] = launcher_words("train", Config, [f"name={text}"], sweep=False, config_dir=folder)
    [override] = OverridesParser.create().parse_overrides([word])
    assert not override.is_sweep_override()
    key, value = str(override.input_line).split("=", 1)  # what Hydra hands to a job
    assert (key, typed_value(value)) == ("++name", text)


def test_commas_of_a_sweep_separate_texts_that_are_quoted_each(folder: Path) -> None:
    def choices(word: str) -> list[str]:
        [made] = launcher_words("train", Config, [word], sweep=True, config_dir=folder)
        [override] = OverridesParser.create().parse_overrides([made])
        return [typed_value(text) for text in override.sweep_string_iterator()]

    assert choices("name=epoch=3.mp4,${x}.mp4") == ["epoch=3.mp4", "${x}.mp4"]
    assert choices("name='a,b',c") == ["a,b", "c"]
    assert choices("name=choice(a,b)") == ["a", "b"]
    assert choices("model=nano,tiny") == ["nano", "tiny"]
    assert choices("trainer.betas=[0.8,0.9],[0.7,0.9]") == ["[0.8,0.9]", "[0.7,0.9]"]
    with pytest.raises(ConfigError, match="unknown model 'tyni'"):
        choices("model=nano,tyni")


def test_texts_in_a_list_need_no_quotes_either(folder: Path) -> None:
    words = ["trainer.names=[front, top cam,${x},'a,b',observation.images.wrist,2024]"]
    names = ("front", "top cam", "${x}", "a,b", "observation.images.wrist", "2024")
    assert build(folder, *words).trainer.names == names
    assert build(folder, "trainer.names=[]").trainer.names == ()


def test_a_value_is_a_string_unless_it_parses_as_another_type(folder: Path) -> None:
    words = ["a=k=v", "b=3", "c=${x}", "d=1e-3", "e=[1,2]", "f=true", "g='3'", "h=null"]
    assert build(folder, *(f"reader.{word}" for word in words)).reader == {
        "a": "k=v", "b": 3, "c": "${x}", "d": 1e-3, "e": [1, 2], "f": True, "g": "3", "h": None
    }  # fmt: skip


def test_a_text_may_be_quoted_or_empty(folder: Path) -> None:
    assert build(folder, "name='a b'").name == "a b"
    assert build(folder, "name=").name == ""


def test_a_yaml_interpolation_sees_command_line_values(folder: Path) -> None:
    (folder / "train.yaml").write_text("name: run of ${data.path}\n")
    assert compose("train", Config, ["data.path=a$b"], folder).name == "run of a$b"


def test_configurations_are_composed_in_several_threads(folder: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda seed: build(folder, f"seed={seed}").seed, range(20))
        assert list(found) == list(range(20))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e30", "1" + "0" * 400, "9" * 5000])
def test_numbers_are_finite_and_not_huge(folder: Path, value: str) -> None:
    for key in ("trainer.lr", "trainer.steps", "trainer.betas", "weights.a", "limit"):
        word = f"{key}=[0.5,{value}]" if key.endswith("betas") else f"{key}={value}"
        assert "got" in refused(folder, word) or "cannot read" in refused(folder, word)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("number=-1", "'number' got -1, expected a number from 0 to 100"),
        ("number=101", "'number' got 101, expected a number from 0 to 100"),
        ("trainer.steps=1000000001", "'trainer.steps' got 1000000001, expected a number from -1000000000"),
        ("name=a\0b", "expected a text without NUL characters"),
        ("trainer.sizes=" + "[" * 2000, "expected a value with fewer brackets"),
        ("trainer.steps=${seed}", "'trainer.steps' got '${seed}', expected a whole number"),
    ],
)
def test_a_number_out_of_its_range_is_refused(folder: Path, word: str, message: str) -> None:
    assert message in refused(folder, word)


def test_tuples_and_paths_have_their_types(folder: Path) -> None:
    config = build(folder, "trainer.betas=[0.1,0.2]", "data.root=/a")
    assert config.trainer.betas == (0.1, 0.2)
    assert config.data.root == Path("/a")
    assert config.data.colour is Colour.RED


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trainer.step=4", "unknown key 'trainer.step'; did you mean 'trainer.steps'? Allowed: trainer.steps, "),
        ("steps=4", "unknown key 'steps'; did you mean 'trainer.steps'?"),
        ("sede=4", "unknown key 'sede'; did you mean 'seed'?"),
        ("learning_rate.lr=4", "did you mean 'trainer.lr'?"),
        ("modle=tiny", "unknown key 'modle'; did you mean 'model'?"),
        ("model=tyni", "unknown model 'tyni'; did you mean 'tiny'? Allowed: nano, tiny."),
        ("planner=cem", "unknown key 'planner'; allowed: data.path, data.root"),
        ("trainer=3", "'trainer' is a set of keys: give one of trainer.steps, trainer.lr"),
        ("trainer.steps.more=3", "unknown key 'trainer.steps.more'; did you mean"),
        ("name", "got 'name', expected key=value"),
        ("+seed=1", "got '+seed=1': a key is letters"),
        ("~seed", "got '~seed', expected key=value"),
        ("trainer.steps=abc", "'trainer.steps' got 'abc', expected a whole number"),
        ("trainer.steps=1.5", "'trainer.steps' got '1.5', expected a whole number"),
        ("trainer.steps=true", "'trainer.steps' got 'true', expected a whole number"),
        ("trainer.lr=high", "'trainer.lr' got 'high', expected a number"),
        ("resume=1", "'resume' got '1', expected true or false"),
        ("trainer.precision=bf16", "got 'bf16'; did you mean 'bfloat16'? Allowed: auto, float32, bfloat16."),
        ("data.colour=read", "'data.colour' got 'read'; did you mean 'red'? Allowed: red, blue."),
        ("trainer.betas=[1]", "'trainer.betas' got '[1]', expected 2 entries, [a number, a number]"),
        ("trainer.sizes=3", "'trainer.sizes' got '3', expected a list [a whole number, ...]"),
        ("trainer.sizes=[1,b]", "'trainer.sizes[1]' got 'b', expected a whole number"),
        ("weights={a:b}", "'weights.a' got 'b', expected a number"),
        ("limit=many", "'limit' got 'many', expected a whole number or a number"),
        ("seed=", "'seed' got 'null', expected a whole number"),
        ("trainer.lr=1,2", "got 'trainer.lr=1,2', expected one value; a list is written trainer.lr=[1,2]"),
        ("trainer.lr=[", "cannot read trainer.lr=[ for 'train': "),
        ("other={dim:1,deep:2}", "unknown key 'other.deep'"),
        ("trainer.steps=0", "'trainer': steps got 0, expected at least 1"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_with_a_correction(folder: Path, word: str, message: str) -> None:
    assert message in refused(folder, word)


def test_a_missing_key_is_reported_with_an_example_and_its_meaning(folder: Path) -> None:
    expected = "'data.path' is not given and has no default: give data.path=clips/ (Folder, glob or CSV list of videos)"
    with pytest.raises(ConfigError, match=re.escape(expected)):
        compose("train", Config, [], folder)
    with pytest.raises(ConfigError, match=re.escape(expected)):
        compose("train", Config, ["data.path=???"], folder)


def test_errors_raised_by_a_dataclass_are_unchanged(folder: Path) -> None:
    with pytest.raises(OwnError, match=r"^seed got -1, expected 0 or more$"):
        build(folder, "seed=-1")


def test_an_unknown_key_in_the_yaml_names_the_file_and_the_nearest(folder: Path) -> None:
    (folder / "model" / "tiny.yaml").write_text("dimm: 3\n")
    message = refused(folder, "model=tiny")
    assert "train.yaml or one of its groups: unknown key 'model.dimm'; did you mean 'model.dim'?" in message


def test_a_wrong_value_in_the_yaml_is_refused(folder: Path) -> None:
    (folder / "model" / "tiny.yaml").write_text("dim: wide\n")
    assert refused(folder, "model=tiny") == "'model.dim' got 'wide', expected a whole number"


def test_yaml_may_refer_to_defaults_of_the_dataclass(folder: Path) -> None:
    (folder / "train.yaml").write_text("trainer:\n  steps: ${model.dim}\n")
    assert build(folder).trainer.steps == Model().dim


def test_composing_writes_nothing_and_keeps_the_working_directory(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(here)
    build(folder)
    assert list(here.iterdir()) == []
    assert Path.cwd() == here


@pytest.mark.parametrize(
    "words", [[], ["name=1e3", "other.dim=4", "data.root=/a", "trainer.sizes=[1,2]", "weights.a=1"]]
)
def test_yaml_of_a_config_reads_back_as_the_same_config(folder: Path, words: Sequence[str]) -> None:
    config = build(folder, *words)
    assert from_yaml(to_yaml(config), Config) == config


def test_reading_yaml_back_is_as_strict(folder: Path) -> None:
    text = to_yaml(build(folder))
    with pytest.raises(ConfigError, match=r"old.yaml: unknown key 'trainer.stepz'; did you mean 'steps'"):
        from_yaml(text.replace("  steps:", "  stepz:"), Config, "old.yaml")
    with pytest.raises(ConfigError, match="'seed' got 'abc', expected a whole number"):
        from_yaml(text.replace("seed: 0", "seed: abc"), Config)


def test_help_shows_groups_keys_defaults_and_meanings(folder: Path) -> None:
    text = describe("train", Config, folder)
    assert re.search(r"model=nano +of nano, tiny", text)
    assert re.search(r"data\.path +\(required\) +Folder, glob or CSV list of videos$", text, re.MULTILINE)
    assert re.search(r"model\.dim +64 +Width of the tokens, in channels$", text, re.MULTILINE)
    assert re.search(r"trainer\.lr +0\.001$", text, re.MULTILINE)
    assert re.search(r"resume +false$", text, re.MULTILINE)


def test_help_may_list_some_keys_and_fits_a_terminal(folder: Path) -> None:
    short = describe("train", Config, folder, keys=["seed", "data"])
    assert "data.path" in short and "seed" in short and "trainer.lr" not in short
    assert re.search(r"\d+ more keys are listed by --help-all\.$", short)
    wrapped = describe("train", Config, folder, width=60)
    assert max(map(len, wrapped.splitlines())) <= 60
    assert " ".join(wrapped.split()) == " ".join(describe("train", Config, folder).split())


def test_the_shipped_folder_of_yaml_is_found() -> None:
    assert (config_root() / "model").is_dir()
    assert list(config_root().glob("*.yaml"))


@dataclass(frozen=True, kw_only=True)
class Source:
    """One of several.

    Args:
        path: where it lies.
        weight: how much it counts.
    """

    path: str
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Several sources by name."""

    sources: dict[str, Source] = field(default_factory=dict)


def test_dictionaries_of_dataclasses_are_supported(tmp_path: Path) -> None:
    words = ["sources.one.path=a,b", "sources.two.path=c", "sources.two.weight=3"]
    config = compose("mix", Mixture, words, tmp_path)
    assert config == Mixture(sources={"one": Source(path="a,b"), "two": Source(path="c", weight=3.0)})
    assert from_yaml(to_yaml(config), Mixture) == config
    for word, message in (
        ("sources.one.wieght=2", "unknown key 'sources.one.wieght'; did you mean 'sources.NAME.weight'?"),
        ("sources.one.weight=2", "'sources.one.path' is not given and has no default"),
        ("sources.one=2", "'sources.one' is a set of keys: give one of sources.one.path, sources.one.weight"),
        ("sources.one={path: a, weight: x}", "'sources.one.weight' got 'x', expected a number"),
    ):
        with pytest.raises(ConfigError, match=re.escape(message)):
            compose("mix", Mixture, [word], tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [x, x]\nb: &b [*a, *a]\n", r"references \(\*name\) are not read"),
        ("a: &a {b: *a}", r"references \(\*name\) are not read"),
        ("a: " + "[" * 3000, "is not readable as YAML|levels deep"),
        ("a: " + "[" * 60 + "]" * 60, "nested more than 50 levels deep"),
        ("a: 2024-01-01", "holds a date, expected texts and numbers: put it in quotes"),
        ("a: !!set {x, y}", "holds a set"),
        ("a: !!binary aGVsbG8=", "holds a bytes"),
        ("a: !!python/object/apply:os.system [ls]", "is not readable as YAML"),
        ("a: 0x" + "f" * 5000, "holds a whole number of 20000 bits"),
        ("a: " + "9" * 5000, "is not readable as YAML"),
        ("? [1, 2]\n: 3", "is not readable as YAML"),
        ("- 1", "holds list, expected keys and values"),
    ],
)
def test_untrusted_yaml_has_plain_values_or_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"config.yaml.*({reason})"):
        read_yaml_file(tmp_path / "config.yaml")


def test_yaml_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"a: \xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"config.yaml is not readable .*expected YAML in UTF-8"):
        read_yaml_file(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    "path", ["{000..009}.tar", "{a,b}{c,d}/x.mp4", "{0..9", "{{{{", "{a: 1}", "{" * 3000]
)
def test_a_path_may_begin_with_a_bracket(path: str) -> None:
    assert compose("pretrain", PretrainConfig, [f"data.path={path}"]).data.path == path


def test_the_argument_that_cannot_be_parsed_is_reported() -> None:
    with pytest.raises(ConfigError, match=r"cannot read data.sources=\{a: for 'pretrain'"):
        compose("pretrain", PretrainConfig, ["seed=1", "data.sources={a:", "name=x"])
