"""What RLDS files do not say of themselves, for the datasets whose names are known: rate, state, convention."""

from __future__ import annotations

from dataclasses import dataclass

from vjepa_world.ops.convention import PLAIN, Convention


@dataclass(frozen=True, kw_only=True)
class KnownDataset:
    """What holds for every file of a dataset.

    Attributes:
        name: What the dataset's name, or its files' names, begin with.
        fps: Observations a second.
        state: Features that make the state, without `steps/`.
        action: Features that make the action.
        state_size: Numbers of the state for which `convention` holds.
        convention: How they are written.
        reason: What this rests on, for people.
    """

    name: str
    fps: float
    state: tuple[str, ...] = ("observation/state",)
    action: tuple[str, ...] = ("action",)
    state_size: int = 0
    convention: Convention = PLAIN
    reason: str


#: Where a dataset is not known: numbers as they are, at the rate of the most of Open X-Embodiment's robots.
UNKNOWN = KnownDataset(name="", fps=5.0, reason="assumed, the name is not known: give fps= and convention=")

KNOWN = (
    # Its actions are what was commanded: the arm follows them late and by about four fifths (correlation with the
    # differences between states 0.7 to 0.9 by axis), and their seventh number is the gripper itself. What was
    # reached is told by the states.
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
    """Return what is known of the dataset of that name, or of files called so."""
    return next((dataset for dataset in KNOWN if name.lower().startswith(dataset.name)), UNKNOWN)
