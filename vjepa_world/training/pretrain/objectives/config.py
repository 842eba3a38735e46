"""The options of the pretraining objectives, one dataclass each. Free of torch, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vjepa_world.errors import ConfigError
from vjepa_world.ops.masking.spec import VJEPA2_MASKS, MaskSpec

StepInput = Literal["clips", "images", "pairs"]


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """What every pretraining objective has. The options of a new objective derive from it.

    Attributes:
        kind: Name of the objective.
        image_fraction: Share of the steps on clips that train on their frames as images: planning needs images, and a
            corpus of videos has none (a quarter of V-JEPA 2's data are images).
        color_jitter: Largest random gain (1 +- this) and offset of each colour of a clip, in normalised units.
    """

    kind: str
    image_fraction: float = 0.25
    color_jitter: float = 0.0

    def __post_init__(self) -> None:
        self._check_shares("image_fraction", "color_jitter")

    @property
    def compares_clips(self) -> bool:
        """Whether a term is a statistic of the whole batch, which then cannot be split into micro-batches."""
        return False

    def step_input(self, drawn: float) -> StepInput:
        """Return what a step on clips trains on, given a number that is drawn evenly from [0, 1)."""
        return "images" if drawn < self.image_fraction else "clips"

    def _check_shares(self, *names: str) -> None:
        for name in names:
            self._check(name, 0 <= getattr(self, name) <= 1, "a share, from 0 to 1")

    def _check(self, name: str, good: bool, allowed: str) -> None:
        if not good:
            raise ConfigError(f"objective.{name} is {getattr(self, name)}; allowed: {allowed}.")


@dataclass(frozen=True, kw_only=True)
class MaskedObjectiveConfig(ObjectiveConfig):
    """What the objectives have that predict hidden tokens.

    Attributes:
        masking: blocks (V-JEPA, all frames alike), image (I-JEPA: several small targets, one large context) or tube
            (random positions, all frames alike; VideoMAE).
        masks: Families of blocks; each gives a context and a target for every clip.
        image_masks: The same for single images; [] uses `masks`.
        mask_group: Clips that are masked together, cut to one number of visible tokens; each group is its own pass.
        mask_ratio: Share of the positions that tube masking hides.
    """

    masking: Literal["blocks", "image", "tube"] = "blocks"
    masks: tuple[MaskSpec, ...] = VJEPA2_MASKS
    image_masks: tuple[MaskSpec, ...] = ()
    mask_group: int = 24
    mask_ratio: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("masks", bool(self.masks), "at least one family")
        self._check("mask_group", self.mask_group >= 1, "at least 1")
        self._check("mask_ratio", 0 < self.mask_ratio < 1, "a share above 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class JEPAConfig(MaskedObjectiveConfig):
    """Predict the features of hidden tokens. The defaults are V-JEPA 2's; `configs/objective` has its relatives.

    Attributes:
        distance: Between prediction and target: l1, l2 or smooth_l1.
        target: What is predicted: ema (a moving average of the encoder), teacher (a frozen encoder) or online (the
            encoder itself, with gradients; needs a term against collapse).
        teacher: Checkpoint of the frozen teacher.
        ema: Momentum of the target encoder at the first and at the last step.
        context_weight: Weight of the loss on visible tokens of clips, over the root of their distance to the nearest
            hidden one (V-JEPA 2.1: 0.5); 0 has none.
        context_weight_image: The same for single images.
        context_ramp: Shares of the run between which these two weights rise from 0.
        variance: Weight of VICReg's variance term.
        covariance: Weight of VICReg's covariance term.
        sigreg: Weight of SIGReg.
        sigreg_directions: Random directions that SIGReg projects on.
        pair_fraction: Share of the steps on clips that predict a frame from an earlier or later one and a few of its
            own tokens.
        pair_visible: Share of that frame's tokens that are visible.
    """

    kind: Literal["jepa"] = "jepa"
    distance: Literal["l1", "l2", "smooth_l1"] = "l1"
    target: Literal["ema", "teacher", "online"] = "ema"
    teacher: str = ""
    ema: tuple[float, float] = (0.99925, 0.99925)
    context_weight: float = 0.0
    context_weight_image: float = 0.0
    context_ramp: tuple[float, float] = (0.0, 0.0)
    variance: float = 0.0
    covariance: float = 0.0
    sigreg: float = 0.0
    sigreg_directions: int = 256
    pair_fraction: float = 0.0
    pair_visible: float = 0.15

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_shares("pair_fraction")
        for name in ("context_weight", "context_weight_image", "variance", "covariance", "sigreg"):
            self._check(name, getattr(self, name) >= 0, "at least 0")
        self._check("pair_visible", 0 < self.pair_visible < 1, "a share above 0 and below 1")
        self._check("sigreg_directions", self.sigreg_directions >= 1, "at least 1")
        self._check("ema", 0 <= self.ema[0] <= self.ema[1] <= 1, "two momenta, 0 <= first <= last <= 1")
        low, high = self.context_ramp
        self._check("context_ramp", 0 <= low <= high <= 1, "two shares of the run, 0 <= first <= last <= 1")
        if self.image_fraction + self.pair_fraction > 1:
            raise ConfigError(
                f"objective.image_fraction {self.image_fraction} and objective.pair_fraction {self.pair_fraction} make "
                "more than 1; what they leave of the steps trains on clips."
            )
        if (self.target == "teacher") != bool(self.teacher):
            raise ConfigError(
                f"objective.target is {self.target} and objective.teacher is '{self.teacher}'; a teacher needs "
                "both: objective.target=teacher objective.teacher=CHECKPOINT."
            )
        if self.masking != "blocks" and self.pair_fraction:
            raise ConfigError(f"objective.pair_fraction goes with masking=blocks, not with {self.masking}.")

    @property
    def compares_clips(self) -> bool:
        """Whether there is a term against collapse, which is a statistic of the whole batch."""
        return bool(self.variance or self.covariance or self.sigreg)

    def step_input(self, drawn: float) -> StepInput:
        """Return what a step on clips trains on, given a number that is drawn evenly from [0, 1)."""
        if self.image_fraction <= drawn < self.image_fraction + self.pair_fraction:
            return "pairs"
        return super().step_input(drawn)


@dataclass(frozen=True, kw_only=True)
class PixelsConfig(MaskedObjectiveConfig):
    """Predict the pixels of hidden tokens, as MAE does: a control."""

    kind: Literal["pixels"] = "pixels"


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig(ObjectiveConfig):
    """Distinguish clips by two views of each, as SimCLR does: a control.

    Attributes:
        gray_fraction: Share of the views without colour.
        temperature: Of the contrastive loss.
        projection_dim: Width of the embedding; its hidden layer has the encoder's width.
    """

    kind: Literal["contrastive"] = "contrastive"
    gray_fraction: float = 0.0
    temperature: float = 0.1
    projection_dim: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_shares("gray_fraction")
        self._check("temperature", self.temperature > 0, "positive")
        self._check("projection_dim", self.projection_dim >= 1, "at least 1")

    @property
    def compares_clips(self) -> bool:
        """Every clip is compared with all others of the batch."""
        return True
