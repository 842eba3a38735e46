"""`pretrain` as a function: videos in memory, registered objectives, runs of earlier releases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from tests.training.tiny import ENCODER, PREDICTOR, assert_same_state, jepa_config, moving_dot, trainer_config
from vjepa_world.config import compose
from vjepa_world.data.config import VideoDataConfig
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig
from vjepa_world.pretrained import load_encoder
from vjepa_world.registry import RegistryError
from vjepa_world.runs import CONFIG_FILE, RunError
from vjepa_world.training.pretrain.config import PretrainConfig
from vjepa_world.training.pretrain.objectives.config import ContrastiveConfig, ObjectiveConfig
from vjepa_world.training.pretrain.objectives.contrastive import Contrastive
from vjepa_world.training.pretrain.objectives.registry import OBJECTIVES, register_objective
from vjepa_world.training.pretrain.pretrain import pretrain

CONFIG = PretrainConfig(
    data=VideoDataConfig(crop_scale=(0.8, 1.0)),
    model=ENCODER,
    predictor=PREDICTOR,
    objective=jepa_config(),
    trainer=trainer_config(steps=3, threads=1),
    device="cpu",
)


def videos(count: int = 6) -> list[Tensor]:
    return [moving_dot(number) for number in range(count)]


def test_videos_in_memory_train_an_encoder_and_save_it(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    result = pretrain(CONFIG, videos=videos(), folder=tmp_path / "run")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [line["step"] for line in result.metrics()] == [0, 1, 2]
    assert_same_state(result.encoder, load_encoder(result.folder))
    again = pretrain(CONFIG, videos=videos(), folder=tmp_path / "again")
    assert_same_state(again.encoder, result.encoder)
    other = pretrain(replace(CONFIG, seed=1), videos=videos(), folder=tmp_path / "other")
    assert other.metrics()[0]["loss"] != result.metrics()[0]["loss"]


def test_images_in_memory_are_accepted_as_clips(tmp_path: Path) -> None:
    images = [video[:1] for video in videos()]
    assert pretrain(CONFIG, videos=images, folder=tmp_path / "run").metrics()[-1]["loss"] > 0


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([], DataError, "videos is empty"),
        ([moving_dot(0)[:2]], DataError, r"videos\[0\] has 2 frames, and a clip takes 4"),
        ([moving_dot(0).float()], ConfigError, r"got videos\[0\] as"),
    ],
)
def test_videos_that_cannot_be_used_are_refused(
    given: list[Tensor], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        pretrain(CONFIG, videos=given, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_missing_data_is_reported_with_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="'data.path' is not given and has no default: give data.path=FOLDER"
    ):
        pretrain(CONFIG, folder=tmp_path / "run")


def test_a_run_of_a_release_that_recorded_all_objectives_options_resumes(tmp_path: Path) -> None:
    pretrain(CONFIG, videos=videos(), folder=tmp_path / "run")
    path = tmp_path / "run" / CONFIG_FILE
    recorded = path.read_text()
    assert "temperature" not in recorded
    options = "objective:\n  gray_fraction: 0.0\n  temperature: 0.1\n  projection_dim: 128\n"
    path.write_text(recorded.replace("objective:\n", options))
    longer = replace(CONFIG, resume=True, trainer=replace(CONFIG.trainer, steps=5))
    result = pretrain(longer, videos=videos(), folder=tmp_path / "run")
    assert [line["step"] for line in result.metrics()] == [0, 1, 2, 3, 4]
    with pytest.raises(RunError, match=r"objective.distance was l1, is now l2"):
        pretrain(
            replace(longer, objective=jepa_config(distance="l2")), videos=videos(), folder=tmp_path / "run"
        )


@dataclass(frozen=True, kw_only=True)
class WarmConfig(ContrastiveConfig):
    """A registered objective.

    Attributes:
        warmth: Added to the loss.
    """

    kind: Literal["warm"] = "warm"  # type: ignore[assignment]
    warmth: float = 0.0


class Warm(Contrastive):
    """The contrastive objective with a constant added."""

    def __init__(self, encoder: EncoderConfig, predictor: MaskedPredictorConfig, config: WarmConfig) -> None:
        super().__init__(encoder, predictor, config)
        self.warmth = config.warmth

    def _metrics(self, video: Tensor, gray: Tensor) -> dict[str, Tensor]:
        metrics = super()._metrics(video, gray)
        return metrics | {"loss": metrics["loss"] + self.warmth}


def test_an_objective_is_registered_and_selected_by_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OBJECTIVES, "_own", dict(OBJECTIVES._own))
    register_objective("warm", config=WarmConfig)(Warm)
    composed = compose(
        "pretrain", PretrainConfig, ["data.path=clips", "objective.kind=warm", "objective.warmth=7"]
    )
    assert composed.objective == WarmConfig(warmth=7.0)
    plain = replace(CONFIG, objective=ContrastiveConfig())
    losses = [
        pretrain(config, videos=videos(), folder=tmp_path / name).metrics()[0]["loss"]
        for name, config in {"plain": plain, "warm": replace(CONFIG, objective=composed.objective)}.items()
    ]
    assert losses[1] - losses[0] == pytest.approx(7.0, abs=1e-5)
    with pytest.raises(RegistryError, match="the objective 'warm' is registered already"):
        register_objective("warm", config=WarmConfig)(Warm)
    with pytest.raises(
        ConfigError, match="'objective.warmth' is given, and objective.kind=jepa does not use it"
    ):
        compose("pretrain", PretrainConfig, ["data.path=clips", "objective.warmth=7"])


def test_options_of_no_objective_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ObjectiveConfig holds the options of no objective"):
        pretrain(
            replace(CONFIG, objective=ObjectiveConfig(kind="none")), videos=videos(), folder=tmp_path / "run"
        )
