"""`evaluate mode=open_loop`: a world model on recorded episodes that it was not trained on, without a simulator."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vjepa_world.cli.shared.common import SHIPPED
from vjepa_world.config.ranges import FPS
from vjepa_world.errors import CheckpointError, ConfigError, DataError
from vjepa_world.ops.convention import Convention
from vjepa_world.runs import write_json_atomic, write_text_atomic
from vjepa_world.system.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vjepa_world.cli.evaluate import Config
    from vjepa_world.data.corpus.bad_files import BadFiles
    from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
    from vjepa_world.data.trajectories.windows import EpisodeNumbers, WindowTable
    from vjepa_world.evaluation.open_loop.protocols import Progress
    from vjepa_world.evaluation.open_loop.windows import FrameEncoding, Windows
    from vjepa_world.models.config import EmbodimentConfig
    from vjepa_world.models.world_model import LatentWorldModel

logger = logging.getLogger(__name__)

REPORT, RESULT, BAD_EPISODES = "report.html", "result.json", "bad_episodes.csv"


@dataclass(frozen=True, kw_only=True)
class OpenLoopDataConfig:
    """The recorded episodes; of mode=open_loop alone.

    Attributes:
        path: A trajectory dataset of any known format.
        cameras: Cameras that are shown, as many as the model has views; () takes the first ones.
        convention: How the numbers are written, whole; nothing takes what the dataset declares or its format has.
        fps: Frames a second; 0 takes what the checkpoint was trained with, else every row.
        windows: Windows that are measured, drawn by the seed.
        split: held_out takes the episodes that the checkpoint was not trained on (all of an unknown dataset), all every
            one.
        embodiment: Which of the checkpoint's robots it is of; empty for the first.
        max_bad_fraction: Share of unusable episodes above which the run stops.
    """

    path: str = ""
    cameras: tuple[str, ...] = ()
    convention: Convention | None = None
    fps: float = field(default=0.0, metadata=FPS)
    windows: int = 256
    split: Literal["held_out", "all"] = "held_out"
    embodiment: str = ""
    max_bad_fraction: float = 0.2

    def __post_init__(self) -> None:
        if self.windows < 2:
            raise ConfigError(f"data.windows is {self.windows}; it must be at least 2.")
        if self.fps < 0:
            raise ConfigError(f"data.fps is {self.fps}; it must be more than 0, or 0 for the checkpoint's.")
        if not 0 <= self.max_bad_fraction < 1:
            raise ConfigError(
                f"data.max_bad_fraction is {self.max_bad_fraction}; it is a share, from 0 to below 1."
            )


def evaluate_open_loop(config: Config, make_folder: Callable[[], Path]) -> dict[str, Any]:
    """Judge, write `result.json` and `report.html`, print the assessment, and return what `result.json` holds.

    The folder is made once all inputs are found good.

    Raises:
        CheckpointError: If the checkpoint cannot be read or does not fit the data.
        ConfigError: If `data.path` is missing, or several steps are to be planned.
        DataError: If the data cannot be used.
    """
    from vjepa_world.data.trajectories.registry import open_trajectories
    from vjepa_world.evaluation.open_loop.windows import draw_windows, read_windows
    from vjepa_world.system.device import resolve_device, set_threads

    if not config.data.path:
        raise ConfigError("'data.path' is not given, and mode=open_loop needs it: give data.path=DATASET")
    if config.planner.horizon != 1:
        raise ConfigError(
            f"planner.horizon is {config.planner.horizon}, and an open loop looks for single actions; leave it at 1."
        )
    set_threads(config.threads)
    known = _provenance(config.checkpoint)
    convention, told = _convention(config, known)
    dataset = open_trajectories(config.data.path, convention=convention)
    model, planner, energy = config.planner.build(
        config.checkpoint, resolve_device(config.device), embodiment=config.data.embodiment or None
    )
    horizon, why = _horizon(config, model)
    table, bad, notes = _table(config, dataset, known, horizon)
    notes = [*told, *why, *notes]
    _check_fit(model, table, dataset)
    chosen = draw_windows(table, config.data.windows, config.seed)
    encoding = _encoding(config, dataset, model)
    folder = make_folder()
    with progress("reading", unit="window", total=len(chosen)) as bar:
        windows = read_windows(dataset, table, chosen, encoding, bad, bar.update)
    dataset.close()
    for warning in model.input_warnings(windows.frames[:, 0], windows.states[:, 0], "a picture of the data"):
        logger.warning("warning: %s", warning)
        notes = [*notes, f"Warning: {warning}"]
    metrics, page = _judge(config, model, planner, energy, windows, table, notes)
    result = {
        "mode": "open_loop",
        "checkpoint": config.checkpoint,
        "data": config.data.path,
        "split": config.data.split,
        "episodes": len(windows.episodes.unique()),
        "windows": len(windows),
        "fps": table.fps,
        "bad_episodes": len(bad),
        "notes": list(notes),
        **metrics,
    }
    write_json_atomic(folder / RESULT, result)
    write_text_atomic(folder / REPORT, page)
    if len(bad):
        bad.write(folder / BAD_EPISODES)
    print(table_of(result))
    print(f"{folder / REPORT}; metrics in {folder / RESULT}")
    return result


def table_of(result: dict[str, Any]) -> str:
    """Return the assessment as text, with what was measured below."""
    from vjepa_world.evaluation.open_loop.assessment import remarks_on, summary_table

    lines = [summary_table(result)]
    lines.append(
        f"{result['windows']} windows of {result['episodes']} episodes at {result['fps']:g} frames a second; "
        "in brackets: 95 % intervals over episodes"
    )
    return "\n".join([*lines, *remarks_on(result), *result["notes"]])


def _provenance(checkpoint: str) -> dict[str, Any]:
    from vjepa_world.pretrained import read_checkpoint, shipped_checkpoint

    details = read_checkpoint(shipped_checkpoint() if checkpoint == SHIPPED else checkpoint).details
    known = details.get("provenance")
    return known if isinstance(known, dict) else {}


def _convention(config: Config, known: dict[str, Any]) -> tuple[Convention | None, list[str]]:
    """Return how the data's numbers are written, None for what it declares, and what is to be said of that.

    Data that declares nothing is read as the training was told to read its own, if it was told.
    """
    from vjepa_world.data.trajectories.formats.lerobot.layout import DECLARED_PATH

    if config.data.convention is not None or (Path(config.data.path) / DECLARED_PATH).is_file():
        return config.data.convention, []
    settings = known.get("config")
    robot = config.data.embodiment
    words = trained_convention(settings, robot) if isinstance(settings, dict) else {}
    if not words:
        return None, []
    try:
        convention = Convention(**words)
    except (TypeError, ConfigError):
        return None, []  # of another version; what does not fit is found when sizes and meanings are compared
    note = "Numbers are read as in training, since neither the data nor data.convention says how they are written."
    logger.info("%s", note)
    return convention, [note]


def trained_convention(settings: dict[str, Any], robot: str) -> dict[str, Any]:
    """Return the keys of the convention that a training was told, of one robot's dataset; {} where it was told none.

    Args:
        settings: The training's configuration, by dotted keys.
        robot: The robot's name; empty for the only one, or the first source.
    """
    sources = dict.fromkeys(
        key.split(".")[2] for key in settings if key.startswith("data.sources.") and key.count(".") > 2
    )
    prefix = "data.convention."
    for name in sources:
        if robot in ("", name, settings.get(f"data.sources.{name}.embodiment")):
            prefix = f"data.sources.{name}.convention."
            break
    return {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}


def _horizon(config: Config, model: LatentWorldModel) -> tuple[int, list[str]]:
    """Return how many steps are imagined, and why no more than one: nothing tells the states after an action."""
    from vjepa_world.models.inference.rollout import rule_of

    robot, horizon = model.robot, config.open_loop.horizon
    rule = rule_of(robot.state_dim, robot.action_dim, robot)
    if horizon == 1 or rule != "none" or model.config.predictor.predict_state:
        return horizon, []
    note = (
        f"One step is imagined instead of {horizon}: states of size {robot.state_dim} cannot be advanced by actions of "
        f"size {robot.action_dim}. Fine-tune with predictor.predict_state=true for more."
    )
    logger.warning("%s", note)
    return 1, [note]


def _table(
    config: Config, dataset: TrajectoryDataset, known: dict[str, Any], horizon: int
) -> tuple[WindowTable, BadFiles, list[str]]:
    """Return the windows of the episodes that are to be judged on, and what a reader has to know about them."""
    from vjepa_world.data.trajectories.windows import WindowTable, read_episodes

    indices, notes = _by_path(config, known) if needs_paths(known) else (None, [])
    episodes, bad = read_episodes(dataset, max_bad_fraction=config.data.max_bad_fraction, indices=indices)
    if not needs_paths(known):
        episodes, notes = _unseen(config, episodes, known["episodes"])
    settings = known.get("config")
    trained = float(settings.get("data.fps", 0) or 0) if isinstance(settings, dict) else 0.0
    table = WindowTable(episodes, frames=horizon + 1, fps=config.data.fps or trained)
    return table, bad, notes


ALL_TAKEN = "All episodes were taken, those that the model may have been trained on as well."


def needs_paths(known: dict[str, Any]) -> bool:
    """Return whether a checkpoint's provenance knows episodes by the path of their dataset alone, as old ones do."""
    return not isinstance(known.get("episodes"), dict)


def _unseen(
    config: Config, episodes: list[EpisodeNumbers], uses: dict[str, list[str]]
) -> tuple[list[EpisodeNumbers], list[str]]:
    """Return the episodes that were not trained on, known by their content, and what is to be said of that.

    Raises:
        DataError: If all were trained on.
    """
    if config.data.split == "all":
        return episodes, [ALL_TAKEN]
    trained, held_out = set(uses.get("trained", ())), set(uses.get("held_out", ()))
    left = [episode for episode in episodes if episode.fingerprint not in trained]
    known = [episode for episode in left if episode.fingerprint in held_out]
    if not left and episodes:
        raise DataError(
            f"all {len(episodes)} episodes of {config.data.path} were trained on; give the held-out ones or other "
            "data, or take them nevertheless with data.split=all."
        )
    if len(left) == len(episodes) and not known:
        note = f"All episodes were taken: the checkpoint was trained on none of those of {config.data.path}."
    elif len(known) < len(left):
        note = (
            f"{len(left)} of {len(episodes)} episodes were taken: {len(known)} that were held out of training, and "
            f"{len(left) - len(known)} that the checkpoint does not know; the others were trained on."
        )
    else:
        return left, []
    logger.info("%s", note)
    return left, [note]


def _by_path(config: Config, known: dict[str, Any]) -> tuple[list[int] | None, list[str]]:
    """Return the episodes to read, None for all, and what is to be said of that, by the dataset's path alone."""
    if config.data.split == "all":
        return None, [ALL_TAKEN]
    held_out = known.get("held_out") or {}
    here = Path(config.data.path).resolve()
    for path, episodes in held_out.items():
        if path == config.data.path or Path(path).resolve() == here:
            note = (
                f"The checkpoint does not know its episodes by their content: that those at {path} are the ones it was "
                "trained on is taken from the path. Fine-tune again to be sure."
            )
            logger.warning("%s", note)
            return [int(episode) for episode in episodes], [note]
    trained_on = ", ".join(held_out) or "datasets that it does not name"
    note = (
        f"All episodes were taken: the checkpoint was trained on {trained_on}, and {config.data.path} counts as "
        "unseen. It knows datasets by their path alone: a moved or copied one is not recognised."
    )
    logger.warning("%s", note)
    return None, [note]


def _check_fit(model: LatentWorldModel, table: WindowTable, dataset: TrajectoryDataset) -> None:
    robot = model.robot
    _check_meaning(robot, dataset)
    for what, got, expected in (
        ("actions", table.action_dim, robot.action_dim),
        ("states", table.state_dim, robot.state_dim),
    ):
        if len(table) and got != expected:
            raise CheckpointError(
                f"the {what} of {dataset.path} have {got} numbers, those of the checkpoint's robot '{robot.name}' "
                f"{expected}; choose data.embodiment or data.fps, or fine-tune on this data."
            )


def _check_meaning(robot: EmbodimentConfig, dataset: TrajectoryDataset) -> None:
    """Check that states and actions are to the dataset what they are to the checkpoint.

    Raises:
        CheckpointError: If one has joints or targets where the other has not, or their names or units differ.
    """
    convention = dataset.convention
    if robot.numbers != "joints" and not convention.has_joints:
        return
    if not robot.numbers:  # a checkpoint from before meanings were kept
        return
    kind = "target" if convention.absolute_actions else "given" if convention.actions == "given" else "delta"
    names = tuple(dataset.state_names)
    joints = (
        tuple(names[index] for index in convention.joint_indices(len(names))) if convention.has_joints else ()
    )
    units = convention.units_of_joints(len(joints))
    pairs = (
        ("states", "joints" if convention.has_joints else "no joints", robot.numbers),
        ("actions", kind, robot.action_meaning),
        ("joints", ", ".join(joints), ", ".join(robot.state_names)),
        *(
            (("units", ", ".join(units), ", ".join(robot.state_units)),)
            if any(units) and any(robot.state_units)
            else ()
        ),
    )
    for what, got, expected in pairs:
        if got != expected:
            raise CheckpointError(
                f"the {what} of {dataset.path} are {got}, those of the checkpoint's robot '{robot.name}' {expected}; "
                "give data.convention as in training (data.convention.joints, .actions, .joint_units), or fine-tune on "
                "this data."
            )


def _encoding(config: Config, dataset: TrajectoryDataset, model: LatentWorldModel) -> FrameEncoding:
    from vjepa_world.evaluation.action_axes import space_of
    from vjepa_world.evaluation.open_loop.windows import FrameEncoding

    return FrameEncoding(
        model.encode_frames,
        model.config.encoder.image_size,
        _cameras(dataset, config.data.cameras, model.config.views),
        extrinsics=model.config.predictor.use_extrinsics,
        space=space_of(model),
    )


def _cameras(dataset: TrajectoryDataset, wanted: tuple[str, ...], views: int) -> tuple[str, ...]:
    cameras = wanted or dataset.cameras[:views]
    missing = [name for name in cameras if name not in dataset.cameras]
    if missing or len(cameras) != views:
        raise DataError(
            f"data.cameras is {', '.join(cameras) or 'empty'}, and the model sees {views} of the cameras of "
            f"{dataset.path}: {', '.join(dataset.cameras) or 'none'}. Name as many."
        )
    return cameras


def _judge(
    config: Config,
    model: LatentWorldModel,
    planner: Any,
    energy: Any,
    windows: Windows,
    table: WindowTable,
    notes: Sequence[str],
) -> tuple[dict[str, Any], str]:
    """Return the figures and the report."""
    from vjepa_world.evaluation.open_loop.energy_landscape import WindowEnergy
    from vjepa_world.evaluation.open_loop.measurements import measure
    from vjepa_world.reports.open_loop.report import open_loop_page
    from vjepa_world.reports.open_loop.strips import Shown

    bars = _Bars()
    measured = measure(
        model, planner, energy, windows, config.open_loop, seed=config.seed, progress_bar=bars.open
    )
    bars.close()
    places = _evenly(len(windows), config.open_loop.pictures)
    material = Shown(
        energy=WindowEnergy(model, energy, config.open_loop.rollouts),
        windows=windows,
        places=places,
        grid=model.config.grid,
        are_places=model.config.latents.kind != "queries",
        decode=model.picture if model.decoder is not None else None,
        seconds=1 / table.fps,
    )
    subtitle = (
        f"{config.checkpoint} on {config.data.path}: {len(windows)} windows of "
        f"{len(windows.episodes.unique())} episodes, {windows.horizon} steps at {table.fps:g} frames a second"
    )
    return measured.metrics, open_loop_page("Open loop", subtitle, measured, material, notes)


def _evenly(count: int, wanted: int) -> list[int]:
    """Return `wanted` places among `count`, far from one another."""
    return sorted({(2 * k + 1) * count // (2 * wanted) for k in range(min(wanted, count))})


class _Bars:
    """Progress bars, one after the other."""

    def __init__(self) -> None:
        self._bar: Any = None

    def open(self, what: str, total: int) -> Progress:
        """Close the bar before and open one."""
        self.close()
        self._bar = progress(what, unit="window", total=total)
        return lambda count: self._bar.update(count)

    def close(self) -> None:
        """Close the open bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
