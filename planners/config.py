"""The options of every planner and goal energy: names, defaults, meanings and checks, defined here and nowhere else.

A planner inherits its dataclass, so `CEM(model, energy=..., num_samples=128)` takes these options; a configuration
file or a command line makes the dataclass, and `planners.registry.build_planner` the planner from it. Free of torch, so
that help on the options is quick. `metadata["range"]` is the range that a command line accepts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from planners.number_checks import (
    check_at_least,
    check_choice,
    check_count,
    check_fraction,
    check_fractions,
    check_positive,
    check_positive_fraction,
    is_sequence,
    to_python,
)

_COUNT: dict[str, Any] = {"range": (1, 10**6)}  # samples, iterations and steps are held in memory
_FRACTION: dict[str, Any] = {"range": (0.0, 1.0)}
_FACTOR: dict[str, Any] = {"range": (0.0, 1e6)}
_POSITIVE: dict[str, Any] = {"range": (1e-6, 1e6)}

PerAxis: TypeAlias = float | tuple[float, ...] | list[float]
"""One number, or one for each of the A action axes."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """The options that all planners have.

    Attributes:
        kind: Name of the planner; planner=NAME selects another.
        horizon: K, steps planned ahead, at least 1.
        num_samples: S, action sequences evaluated in an iteration, at least 1.
        num_iterations: Iterations of the search, at least 1.
        slice_size: Samples imagined in one call of the world model; null takes as many as the model rolls out
            best at once, or all samples if it declares no such number.

    Raises:
        PlannerError: If an option has a value that is not allowed.
    """

    kind: str
    horizon: int = field(default=1, metadata={"range": (1, 10**4)})
    num_samples: int = field(default=64, metadata=_COUNT)
    num_iterations: int = field(default=4, metadata=_COUNT)
    slice_size: int | None = field(default=None, metadata=_COUNT)

    def __post_init__(self) -> None:
        for name in ("horizon", "num_samples", "num_iterations"):
            check_count(name, getattr(self, name))
        if self.slice_size is not None:
            check_count("slice_size", self.slice_size)


@dataclass(frozen=True, kw_only=True)
class GaussianSearchConfig(SearchConfig):
    """The options of planners that sample from a Gaussian.

    Attributes:
        initial_std: First standard deviation, in half-widths of the action bounds, above 0.
    """

    initial_std: float = field(default=1.0, metadata=_POSITIVE)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("initial_std", self.initial_std)


@dataclass(frozen=True, kw_only=True)
class EliteSearchConfig(GaussianSearchConfig):
    """The options of planners that fit their Gaussian to the best samples.

    Attributes:
        num_elites: E, best samples that the Gaussian is fitted to, from 1 to `num_samples`.
        momentum_mean: Weight of the old mean in the update, in [0, 1]: a number, or one for each of the A action axes.
        momentum_std: Weight of the old standard deviation in the update, likewise.
    """

    num_elites: int = field(default=8, metadata=_COUNT)
    momentum_mean: PerAxis = field(default=0.1, metadata=_FRACTION)
    momentum_std: PerAxis = field(default=0.1, metadata=_FRACTION)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("num_elites", self.num_elites, most=self.num_samples, most_name="num_samples")
        for name in ("momentum_mean", "momentum_std"):
            got = getattr(self, name)
            fractions = check_fractions(name, got)
            object.__setattr__(self, name, fractions if is_sequence(to_python(got)) else fractions[0])


@dataclass(frozen=True, kw_only=True)
class CEMConfig(EliteSearchConfig):
    """Options of the cross-entropy method, `CEM`.

    Attributes:
        answer: "best" returns the better of the last mean and the best sample; "mean" returns the last mean.
    """

    kind: Literal["cem"] = "cem"
    answer: Literal["best", "mean"] = "best"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("answer", self.answer, ("best", "mean"))


@dataclass(frozen=True, kw_only=True)
class CategoricalCEMConfig(SearchConfig):
    """Options of the cross-entropy method for discrete actions, `CategoricalCEM`.

    Attributes:
        num_elites: E, best samples that the probabilities are fitted to, from 1 to `num_samples`.
        momentum: Weight of the old probabilities in the update, in [0, 1].
        exploration: Share of each step's probability that all choices have alike, in [0, 1].
    """

    kind: Literal["categorical_cem"] = "categorical_cem"
    horizon: int = field(default=3, metadata={"range": (1, 10**4)})
    num_elites: int = field(default=8, metadata=_COUNT)
    momentum: float = field(default=0.1, metadata=_FRACTION)
    exploration: float = field(default=0.1, metadata=_FRACTION)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("num_elites", self.num_elites, most=self.num_samples, most_name="num_samples")
        check_fraction("momentum", self.momentum)
        check_fraction("exploration", self.exploration)


@dataclass(frozen=True, kw_only=True)
class ICEMConfig(EliteSearchConfig):
    """Options of the improved cross-entropy method, `ICEM`.

    Attributes:
        num_samples: S of the first iteration.
        noise_exponent: Exponent beta of the noise spectrum, at least 0: larger values give smoother sequences, 0 gives
            white noise. It has no effect at a horizon of 1.
        sample_decay: Factor gamma, at least 1: iteration i has max(S * gamma**-i, 2 E) samples.
        reused_elites: Fraction of the elites that are reused in the next iteration and the next search, in [0, 1].
    """

    kind: Literal["icem"] = "icem"
    num_samples: int = field(default=32, metadata=_COUNT)
    num_iterations: int = field(default=3, metadata=_COUNT)
    initial_std: float = field(default=0.5, metadata=_POSITIVE)
    noise_exponent: float = field(default=2.0, metadata=_FACTOR)
    sample_decay: float = field(default=1.25, metadata={"range": (1.0, 1e6)})
    reused_elites: float = field(default=0.3, metadata=_FRACTION)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("noise_exponent", self.noise_exponent, 0.0)
        check_at_least("sample_decay", self.sample_decay, 1.0)
        check_fraction("reused_elites", self.reused_elites)


@dataclass(frozen=True, kw_only=True)
class MPPIConfig(GaussianSearchConfig):
    """Options of model-predictive path integral control, `MPPI`.

    Attributes:
        temperature: Temperature lambda, above 0: the smaller it is, the more the best samples count.
        temperature_of: Unit of the temperature: "spread" for the standard deviation of an iteration's finite
            energies, "energy" for the energy itself.
        std_decay: Factor of the standard deviation after an iteration, above 0 and at most 1.
    """

    kind: Literal["mppi"] = "mppi"
    initial_std: float = field(default=0.5, metadata=_POSITIVE)
    temperature: float = field(default=0.1, metadata=_POSITIVE)
    temperature_of: Literal["spread", "energy"] = "spread"
    std_decay: float = field(default=0.6, metadata={"range": (1e-6, 1.0)})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("temperature", self.temperature)
        check_choice("temperature_of", self.temperature_of, ("spread", "energy"))
        check_positive_fraction("std_decay", self.std_decay)


@dataclass(frozen=True, kw_only=True)
class GradientDescentConfig(SearchConfig):
    """Options of gradient descent through the world model, `GradientDescent`.

    Attributes:
        num_samples: S, starting points.
        num_iterations: Steps of Adam.
        lr: Learning rate of Adam, in half-widths of the action bounds, above 0.
    """

    kind: Literal["gradient"] = "gradient"
    num_samples: int = field(default=8, metadata=_COUNT)
    num_iterations: int = field(default=20, metadata=_COUNT)
    lr: float = field(default=0.1, metadata=_POSITIVE)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("lr", self.lr)


@dataclass(frozen=True, kw_only=True)
class PredictiveSamplingConfig(GaussianSearchConfig):
    """Options of predictive sampling, `PredictiveSampling`.

    Attributes:
        num_iterations: Iterations of the search; the published method has one for each action.
        initial_std: Standard deviation of all iterations, in half-widths of the action bounds, above 0.
    """

    kind: Literal["predictive"] = "predictive"
    initial_std: float = field(default=0.4, metadata=_POSITIVE)


@dataclass(frozen=True, kw_only=True)
class RandomShootingConfig(SearchConfig):
    """Options of random shooting, `RandomShooting`.

    Attributes:
        num_iterations: Iterations, all alike; the deadline is checked between them.
    """

    kind: Literal["random"] = "random"
    num_samples: int = field(default=256, metadata=_COUNT)
    num_iterations: int = field(default=1, metadata=_COUNT)


@dataclass(frozen=True, kw_only=True)
class EnergyConfig:
    """The options that all energies have.

    Attributes:
        kind: Name of the energy; energy=NAME selects another.
    """

    kind: str


@dataclass(frozen=True, kw_only=True)
class GoalEnergyConfig(EnergyConfig):
    """The options of energies that compare predicted features with those of a goal.

    Attributes:
        discount: In [0, 1]: with 0 only the last step counts, with 1 all steps count alike.
    """

    discount: float = field(default=0.0, metadata=_FRACTION)


@dataclass(frozen=True, kw_only=True)
class GoalL1Config(GoalEnergyConfig):
    """Mean absolute difference of the features, `GoalL1`."""

    kind: Literal["l1"] = "l1"


@dataclass(frozen=True, kw_only=True)
class GoalL2Config(GoalEnergyConfig):
    """Mean squared difference of the features, `GoalL2`."""

    kind: Literal["l2"] = "l2"


@dataclass(frozen=True, kw_only=True)
class GoalCosineConfig(GoalEnergyConfig):
    """Mean cosine distance of the features, `GoalCosine`."""

    kind: Literal["cosine"] = "cosine"
