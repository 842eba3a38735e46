"""Pretraining objectives by name: `objective.kind=NAME` selects one, and a user's package registers more.

```python
@dataclass(frozen=True, kw_only=True)
class MyConfig(ObjectiveConfig):
    kind: Literal["mine"] = "mine"
    strength: float = 1.0


@register_objective("mine", config=MyConfig)
class MyObjective: ...  # see `protocol.Objective`
```

Free of torch: our own objectives are imported when they are built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from vjepa_world.registry import Registry
from vjepa_world.training.pretrain.objectives.config import (
    ContrastiveConfig,
    JEPAConfig,
    ObjectiveConfig,
    PixelsConfig,
)

if TYPE_CHECKING:
    from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig
    from vjepa_world.training.pretrain.objectives.protocol import Objective

C = TypeVar("C", bound=type)

OBJECTIVES: Registry[Callable[..., Objective]] = Registry("objective", group="vjepa_world.objectives")

_HERE = "vjepa_world.training.pretrain.objectives"
OBJECTIVES.add("jepa", f"{_HERE}.jepa:JEPA", config=JEPAConfig)
OBJECTIVES.add("pixels", f"{_HERE}.pixels:MaskedPixels", config=PixelsConfig)
OBJECTIVES.add("contrastive", f"{_HERE}.contrastive:Contrastive", config=ContrastiveConfig)


def register_objective(name: str, *, config: type[ObjectiveConfig]) -> Callable[[C], C]:
    """Return a decorator that registers a class as the objective `name`.

    The class is called as `cls(encoder, predictor, config)` with the configurations of the encoder and of the masked
    predictor, and an instance of `config`; its instances are :class:`.protocol.Objective`.

    Args:
        name: What `objective.kind` selects it by.
        config: The dataclass of its options, with a field `kind: Literal[NAME] = NAME`.

    Raises:
        RegistryError: If the name is taken, or `kind` is another.
    """
    return OBJECTIVES.register(name, config=config)


def build_objective(
    encoder: EncoderConfig, predictor: MaskedPredictorConfig, objective: ObjectiveConfig, *, seed: int
) -> Objective:
    """Return the objective with new modules, whose weights are drawn from `seed`.

    Raises:
        ConfigError: If the architectures and the objective do not fit together, or the dataclass is of no objective.
        CheckpointError: If a teacher cannot be read.
    """
    from vjepa_world.system.seeding import seeded

    build = OBJECTIVES[OBJECTIVES.name_of(objective)]
    with seeded(seed):
        return build(encoder, predictor, objective)
