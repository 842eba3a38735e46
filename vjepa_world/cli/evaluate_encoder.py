"""`evaluate-encoder`: measure what frozen encoders are worth for planning, without a predictor."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from planners.config import EnergyConfig, GoalL1Config
from vjepa_world.cli.shared.common import refuse_taken_run
from vjepa_world.config import flatten
from vjepa_world.config.ranges import SEED, THREADS
from vjepa_world.environments.config import EnvConfig
from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.files.atomic import write_json_atomic, write_text_atomic
from vjepa_world.ops.convention import Convention
from vjepa_world.planning.config import SHIPPED
from vjepa_world.planning.registry import ENERGIES
from vjepa_world.runs import RESULT_FILE, open_run
from vjepa_world.system.progress import progress
from vjepa_world.training.finetune.config import PIXELS, UNTRAINED

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from vjepa_world.evaluation.encoder.frames import GoalFrames
    from vjepa_world.evaluation.encoder.tokens import Encoder

REPORT = "report.html"


@dataclass(frozen=True, kw_only=True)
class RecordedConfig:
    """Recorded episodes, whose frames are used instead of those of an environment.

    Attributes:
        path: A trajectory dataset of any known format; empty takes the environment.
        cameras: Cameras that are shown; [] takes the first one.
        convention: How the numbers are written, whole; nothing takes what the dataset declares or its format has.
        distance: Between two frames of an episode: steps (rows apart), or position (of the end effector, in metres).
        steps: Largest distances to the goal's row, with distance=steps.
    """

    path: str = ""
    cameras: tuple[str, ...] = ()
    convention: Convention | None = None
    distance: Literal["steps", "position"] = "steps"
    steps: tuple[int, ...] = (30, 10)

    def __post_init__(self) -> None:
        if not self.steps or min(self.steps) < 2:
            raise ConfigError(f"data.steps is {list(self.steps)}; give numbers of steps of at least 2.")

    def unused(self) -> dict[str, str]:
        """Return the keys that are not used, as the frames are chosen."""
        if not self.path:
            return dict.fromkeys(
                ("cameras", "convention", "distance", "steps"), "a measurement without data.path"
            )
        return {"steps": "data.distance=position"} if self.distance == "position" else {}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which encoders to measure, and on which frames.

    Attributes:
        name: The run goes to runs/evaluate_encoder/NAME.
        seed: Draws scenes and states.
        resume: Run again in the same folder; the measurement starts over.
        device: auto, cpu, cuda or cuda:N.
        encoder: A pretrain or finetune run, a checkpoint, a hub id or folder of transformers, a registered encoder or
            module:function; shipped is that of the package's model.
        others: Further encoders on the same frames, as `encoder`. The controls, an untrained encoder and raw pixels,
            are always measured.
        tokens: Tokens of one camera's picture that a predictor would see, square numbers; a world model has its own.
        scenes: Scenes of the environment, or recorded episodes.
        states: States around each goal.
        radii_m: Largest distances to the goal [m].
        env: The environment; train scenes, unless env.variation=test.
        data: Recorded episodes instead of an environment.
        energy: The distance of features to the goal's that planning minimises.
        threads: Threads of torch; 0 takes one a core.
    """

    name: str = ""
    seed: int = field(default=0, metadata=SEED)
    resume: bool = False
    device: str = "auto"
    encoder: str = SHIPPED
    others: tuple[str, ...] = ()
    tokens: tuple[int, ...] = (16, 64)
    scenes: int = field(default=15, metadata={"range": (2, 10**5)})
    states: int = field(default=30, metadata={"range": (3, 10**4)})
    radii_m: tuple[float, ...] = (0.25, 0.08)
    env: EnvConfig = field(default_factory=EnvConfig)
    data: RecordedConfig = field(default_factory=RecordedConfig)
    energy: Annotated[EnergyConfig, ENERGIES] = field(default_factory=GoalL1Config)
    threads: int = field(default=0, metadata=THREADS)

    def __post_init__(self) -> None:
        if not self.radii_m or min(self.radii_m) <= 0:
            raise ConfigError(
                f"radii_m is {list(self.radii_m)}; give distances above 0 [m], such as [0.25,0.08]."
            )
        if not self.tokens or any(count < 1 or round(count**0.5) ** 2 != count for count in self.tokens):
            raise ConfigError(
                f"tokens is {list(self.tokens)}; give square numbers, the tokens of one picture, such as [16,64]."
            )

    def unused(self) -> dict[str, str]:
        """Return the keys that are not used, as the frames are chosen."""
        goals = "a measurement without episodes"
        found = {
            f"env.{key}": goals for key in ("max_steps", "fps", "goal", "goal_data", "goal_steps", "success")
        }
        if self.data.path:
            found = {"env": "data.path=DATASET"}
            if self.data.distance == "steps":
                found["radii_m"] = "data.distance=steps"
        return found


def run(config: Config) -> None:
    """Render the frames, score the encoders, write `result.json` and `report.html`, and print the table.

    Raises:
        CheckpointError: If an encoder cannot be read.
        ConfigError: If a number of tokens, a device or an energy is not possible.
        EvaluationError: If the environment has no states around its goals.
        DataError: If recorded episodes cannot be used.
        MissingLibraryError: If a library that makes the report is not installed.
    """
    import planners
    from vjepa_world.evaluation.encoder.evaluate import evaluate_encoders
    from vjepa_world.evaluation.encoder.table import table
    from vjepa_world.reports.pages.encoder import encoder_report
    from vjepa_world.reports.theme import require
    from vjepa_world.system.device import resolve_device, set_threads

    require()
    device = resolve_device(config.device)
    set_threads(config.threads)
    refuse_taken_run("evaluate_encoder", config)
    encoders = _encoders(config, device)
    frames = _recorded(config) if config.data.path else _rendered(config)
    with open_run("evaluate_encoder", config, outputs=(RESULT_FILE, REPORT)) as folder:
        with progress("energies", unit="set", total=len(encoders) * len(frames)) as bar:
            found = evaluate_encoders(
                encoders,
                frames,
                tokens=config.tokens,
                energy=planners.build_energy(config.energy),
                device=device,
                on_set=bar.update,
            )
        result = {"mode": "encoder", **_about(config), **found.metrics()}
        write_json_atomic(folder / RESULT_FILE, result)
        write_text_atomic(folder / REPORT, encoder_report(found, _subject(config)))
        print(table(result))
        print(f"{folder / REPORT}; metrics in {folder / RESULT_FILE}")


def _encoders(config: Config, device: torch.device) -> dict[str, Encoder]:
    """Return the encoders and the controls by name.

    Raises:
        CheckpointError: If one cannot be read.
    """
    from vjepa_world.models.config import EncoderConfig
    from vjepa_world.models.encoder import PixelEncoder, VideoEncoder, untrained_encoder
    from vjepa_world.models.encoders.registered import RegisteredEncoder
    from vjepa_world.models.world_model import LatentWorldModel
    from vjepa_world.pretrained.loading import load_encoder_or_world_model
    from vjepa_world.pretrained.shipped import checkpoint_path

    names = list(dict.fromkeys([config.encoder, *config.others]))
    loaded: dict[str, Encoder] = {}
    for name in names:
        if name not in (UNTRAINED, PIXELS):
            source = checkpoint_path(name)
            try:
                loaded[name] = load_encoder_or_world_model(source, device=device)
            except CheckpointError as error:
                raise CheckpointError(
                    f"{error} Controls are encoder={UNTRAINED} and encoder={PIXELS}."
                ) from error
    inner = [entry.encoder if isinstance(entry, LatentWorldModel) else entry for entry in loaded.values()]
    own = [e.config for e in inner if isinstance(e, VideoEncoder) and not isinstance(e, RegisteredEncoder)]
    architecture = own[0] if own else EncoderConfig()
    loaded[UNTRAINED] = untrained_encoder(architecture, config.seed).to(device)
    loaded[PIXELS] = PixelEncoder(architecture)
    return {name: loaded[name] for name in dict.fromkeys([*names, UNTRAINED, PIXELS])}


def _rendered(config: Config) -> Sequence[GoalFrames]:
    from vjepa_world.evaluation.encoder.frames import goal_frames

    with (
        closing(config.env.make()) as env,
        progress("frames", unit="scene", total=config.scenes) as bar,
    ):
        return goal_frames(
            env,
            scenes=config.scenes,
            states=config.states,
            radii_m=config.radii_m,
            seed=config.seed,
            on_scene=bar.update,
        )


def _recorded(config: Config) -> Sequence[GoalFrames]:
    from vjepa_world.data.trajectories.registry import open_trajectories
    from vjepa_world.evaluation.encoder.recorded_frames import recorded_frames

    data = config.data
    with (
        closing(open_trajectories(data.path, convention=data.convention)) as dataset,
        progress("frames", unit="episode", total=min(config.scenes, dataset.num_episodes)) as bar,
    ):
        return recorded_frames(
            dataset,
            episodes=config.scenes,
            states=config.states,
            within=data.steps if data.distance == "steps" else config.radii_m,
            distance=data.distance,
            cameras=data.cameras,
            seed=config.seed,
            on_episode=bar.update,
        )


def _about(config: Config) -> dict[str, Any]:
    """Return what the metrics depend on besides the encoders."""
    shown = {"seed": config.seed, "states": config.states, "energy": flatten(config.energy)}
    if config.data.path:
        return shown | {"data": flatten(config.data)}
    return shown | {"environment": config.env.identity()}


def _subject(config: Config) -> str:
    where = config.data.path or f"{config.env.id}, {config.env.variation} scenes"
    return f"{', '.join([config.encoder, *config.others])} on {where}"
