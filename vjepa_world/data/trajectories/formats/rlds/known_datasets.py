"""Rate, state and convention of RLDS datasets that are recognised by name, since the files do not contain them."""

from __future__ import annotations

from dataclasses import dataclass

from vjepa_world.ops.convention import PLAIN, Convention


@dataclass(frozen=True, kw_only=True)
class KnownDataset:
    """Properties of a dataset.

    Attributes:
        name: Beginning of the dataset's name, or of its files' names.
        fps: Observations per second.
        state: Features that form the state, without `steps/`.
        action: Features that form the action.
        state_size: Size of the state for which `convention` is valid.
        convention: How states and actions are written.
        reason: Explanation, for reports.
    """

    name: str
    fps: float
    state: tuple[str, ...] = ("observation/state",)
    action: tuple[str, ...] = ("action",)
    state_size: int = 0
    convention: Convention = PLAIN
    reason: str


#: Other datasets: numbers as they are, at the most frequent rate in Open X-Embodiment.
UNKNOWN = KnownDataset(name="", fps=5.0, reason="assumed, the name is not known: give fps= and convention=")

KNOWN = (
    # Its actions are commands, which the arm follows late and by about four fifths (correlation with the differences
    # between states 0.7 to 0.9 by axis), and their seventh number is the gripper itself. So actions are derived.
    KnownDataset(
        name="bridge",
        fps=5.0,
        state_size=7,
        convention=Convention(gripper_open=1.0, gripper_closed=0.0, actions="derived"),
        reason="BridgeData V2, by its name: 5 Hz, x y z [m], xyz Euler [rad], gripper 1 open; actions from states",
    ),
    KnownDataset(
        name="droid",
        fps=15.0,
        state=("observation/cartesian_position", "observation/gripper_position"),
        state_size=7,
        convention=Convention(),
        reason="DROID, by its name: 15 Hz, x y z [m], xyz Euler [rad], gripper 1 closed; actions from states",
    ),
)


def find_known_dataset(name: str) -> KnownDataset:
    """Return the properties of the dataset with this name, or with files of this name."""
    return next((dataset for dataset in KNOWN if name.lower().startswith(dataset.name)), UNKNOWN)
