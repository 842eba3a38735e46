"""`pretrain`: learn a video encoder from unlabeled clips by masked latent prediction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vjepa_world.errors import ConfigError
from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig
from vjepa_world.runs import run_folder
from vjepa_world.training.config import PretrainObjective, TrainerConfig
from vjepa_world.verbs.common import provenance

if TYPE_CHECKING:
    from vjepa_world.data.clips import ClipDataset

#: Videos that a loader process keeps open: opening one costs as much as decoding several clips.
OPEN_VIDEOS = 256


@dataclass(frozen=True, kw_only=True)
class VideoDataConfig:
    """Where clips come from and how they are cut.

    Attributes:
        path: A folder (searched through), a glob, a CSV list, a video file, or a LeRobot dataset.
        fps: Frames a second that a clip shows, whatever the file's rate.
        crop_scale: Range of the crop's share of the frame's area.
        crop_ratio: Range of the crop's aspect ratio.
        flip: Probability of a horizontal flip.
        max_bad_fraction: Share of unreadable files above which the run stops.
        memory_gb: Memory that each loader process may spend on keeping whole videos decoded [GB].
    """

    path: str = field(metadata={"example": "data.path=FOLDER"})
    fps: float = 4.0
    crop_scale: tuple[float, float] = (0.3, 1.0)
    crop_ratio: tuple[float, float] = (0.75, 1.35)
    flip: float = 0.5
    max_bad_fraction: float = 0.2
    memory_gb: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.max_bad_fraction <= 1:
            raise ConfigError(
                f"data.max_bad_fraction is {self.max_bad_fraction}; it is a share, from 0 to 1."
            )


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to learn from.

    Attributes:
        name: The run goes to runs/pretrain/NAME.
        seed: Where all randomness comes from.
        resume: Go on with a run that was stopped.
        device: auto, cpu, cuda or cuda:N.
        data: The clips.
        model: The encoder.
        predictor: The masked predictor, which is thrown away afterwards.
        objective: What is minimised.
        trainer: How long and how fast.
    """

    name: str = ""
    seed: int = 0
    resume: bool = False
    device: str = "auto"
    data: VideoDataConfig
    model: EncoderConfig = field(default_factory=EncoderConfig)
    predictor: MaskedPredictorConfig = field(default_factory=MaskedPredictorConfig)
    objective: PretrainObjective = field(default_factory=PretrainObjective)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


def run(config: Config) -> None:
    """Train, write checkpoints, and say where they are."""
    from vjepa_world.training.hardware import resolve_device, set_threads
    from vjepa_world.training.pretrain import PretrainTask
    from vjepa_world.training.trainer import Trainer

    device = resolve_device(config.device)
    clips = clip_dataset(config)
    folder = run_folder("pretrain", config.name, config.resume, config=config)
    set_threads(config.trainer.threads)
    task = PretrainTask(
        clips,
        config.model,
        config.predictor,
        config.objective,
        config.trainer,
        seed=config.seed,
        device=device,
        provenance=provenance("pretrain", config),
    )
    Trainer(task, config.trainer, folder, device).fit(config.resume)
    print(f"encoder in {folder}; freeze it with: vjepa-world finetune encoder={folder} data.path=DATASET")


def clip_dataset(config: Config) -> ClipDataset:
    """Return the clips; raises before anything is written if there are none or too many are bad."""
    from vjepa_world.data.clips import ClipConfig, ClipDataset

    return ClipDataset(
        ClipConfig(
            path=config.data.path,
            fps=config.data.fps,
            frames_per_clip=config.model.num_frames,
            image_size=config.model.image_size,
            crop_scale=config.data.crop_scale,
            crop_ratio=config.data.crop_ratio,
            flip=config.data.flip,
            max_bad_fraction=config.data.max_bad_fraction,
        ),
        seed=config.seed,
        open_videos=OPEN_VIDEOS,
        memory_bytes=round(config.data.memory_gb * 1e9),
    )
