"""Planners and energies by name, each with the dataclass of its options.

A package adds its own with the decorators, without a change here:

@register_planner("mine", config=MyConfig)
class MyPlanner(MyConfig, Search[None]): ...

`MyConfig` is a frozen dataclass with the field `kind: Literal["mine"] = "mine"`. Free of torch: the classes of this
package are imported when they are first built.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from planners import config as options
from planners.errors import PlannerError

if TYPE_CHECKING:
    from planners.bounds import Fixed
    from planners.protocols import Energy, Planner, WorldModel

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A registered implementation.

    Attributes:
        target: The class or function, or its address `module:name`, which is imported at the first use.
        config: The dataclass of its options.
    """

    target: Callable[..., Any] | str
    config: type

    def load(self) -> Callable[..., Any]:
        """Return the class or function."""
        if not isinstance(self.target, str):
            return self.target
        module, _, name = self.target.partition(":")
        loaded: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return loaded


PLANNERS: dict[str, Entry] = {
    "cem": Entry("planners.algorithms.cem:CEM", options.CEMConfig),
    "categorical_cem": Entry(
        "planners.algorithms.categorical_cem:CategoricalCEM", options.CategoricalCEMConfig
    ),
    "icem": Entry("planners.algorithms.icem:ICEM", options.ICEMConfig),
    "mppi": Entry("planners.algorithms.mppi:MPPI", options.MPPIConfig),
    "gradient": Entry("planners.algorithms.gradient:GradientDescent", options.GradientDescentConfig),
    "predictive": Entry(
        "planners.algorithms.predictive_sampling:PredictiveSampling", options.PredictiveSamplingConfig
    ),
    "random": Entry("planners.algorithms.random_shooting:RandomShooting", options.RandomShootingConfig),
}
"""Name to planner: called as `planner(model, energy=..., fixed=..., **options)`."""

ENERGIES: dict[str, Entry] = {
    "l1": Entry("planners.energies.goal:GoalL1", options.GoalL1Config),
    "l2": Entry("planners.energies.goal:GoalL2", options.GoalL2Config),
    "cosine": Entry("planners.energies.goal:GoalCosine", options.GoalCosineConfig),
}
"""Name to energy: called as `energy(**options)`."""


def register_planner(name: str, *, config: type) -> Callable[[T], T]:
    """Return a decorator that registers a planner.

    Args:
        name: The name, `planner.kind=NAME` on a command line.
        config: The frozen dataclass of its options, with the field `kind: Literal[NAME] = NAME`.

    Raises:
        PlannerError: If the name is taken, or `config` is not such a dataclass.
    """
    return _register(PLANNERS, "planner", name, config)


def register_energy(name: str, *, config: type) -> Callable[[T], T]:
    """Return a decorator that registers an energy; arguments and errors as in `register_planner`."""
    return _register(ENERGIES, "energy", name, config)


def build_planner(config: Any, model: WorldModel, *, energy: Energy, fixed: Fixed | None = None) -> Planner:
    """Return the planner that a dataclass of options selects.

    Args:
        config: An instance of a registered dataclass, such as `CEMConfig(num_samples=128)`.
        model: The world model.
        energy: What is minimised.
        fixed: Action axes that are not searched, a scalar or `[K]` each, as in `planners.search_loop.Search`.

    Raises:
        PlannerError: If no planner is registered with this dataclass, or as the planner's constructor does.
    """
    planner: Planner = _entry_of(PLANNERS, "planner", config).load()(
        model, energy=energy, fixed=fixed, **_options_of(config)
    )
    return planner


def build_energy(config: Any) -> Energy:
    """Return the energy that a dataclass of options selects, such as `GoalL1Config(discount=1.0)`.

    Raises:
        PlannerError: If no energy is registered with this dataclass, or as the energy's constructor does.
    """
    energy: Energy = _entry_of(ENERGIES, "energy", config).load()(**_options_of(config))
    return energy


def _register(entries: dict[str, Entry], what: str, name: str, config: type) -> Callable[[T], T]:
    if name in entries:
        raise PlannerError(
            f"the {what} {name!r} is registered already ({', '.join(entries)} are). Choose another name."
        )
    if not dataclasses.is_dataclass(config) or getattr(config, "kind", None) != name:
        raise PlannerError(
            f"the {what} {name!r} has the options {config!r}; allowed is a dataclass with the field "
            f"kind: Literal[{name!r}] = {name!r}. Add that field."
        )

    def decorate(target: T) -> T:
        entries[name] = Entry(target, config)  # type: ignore[arg-type]
        return target

    return decorate


def _entry_of(entries: Mapping[str, Entry], what: str, config: Any) -> Entry:
    for entry in entries.values():
        if type(config) is entry.config:
            return entry
    allowed = ", ".join(entry.config.__name__ for entry in entries.values())
    raise PlannerError(
        f"{config!r} holds the options of no {what}; allowed are instances of {allowed}. Pass one, or register the "
        f"{what} with register_{what}."
    )


def _options_of(config: Any) -> dict[str, Any]:
    """Return the options as arguments of the constructor, without `kind`."""
    fields = (field.name for field in dataclasses.fields(config))
    return {name: getattr(config, name) for name in fields if name != "kind"}
