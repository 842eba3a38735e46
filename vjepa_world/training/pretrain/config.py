"""The configuration of a pretraining run and of its objective. Free of torch, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from vjepa_world.config.ranges import SEED
from vjepa_world.data.config import VideoDataConfig
from vjepa_world.errors import ConfigError
from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig
from vjepa_world.ops.masking.spec import VJEPA2_MASKS, MaskSpec
from vjepa_world.training.engine.config import TrainerConfig
from vjepa_world.training.pretrain.online_probe_config import OnlineProbeConfig

#: Keys that are shares, from 0 to 1.
_SHARES = ("image_fraction", "pair_fraction", "color_jitter", "gray_fraction")

#: Keys that are weights of a term, or sizes; at least 0.
_WEIGHTS = ("context_weight", "context_weight_image", "variance", "covariance", "sigreg")


@dataclass(frozen=True, kw_only=True)
class PretrainObjective:
    """What is minimised. The defaults are V-JEPA 2's; `configs/objective` has its relatives and the controls.

    Attributes:
        kind: jepa (predict hidden tokens' features), pixels (predict their pixels, as MAE does) or contrastive (tell
            clips apart, as SimCLR does).
        masking: blocks (V-JEPA, all frames alike), image (I-JEPA: several small targets, one large context) or tube
            (random places, all frames alike; VideoMAE).
        masks: Families of blocks; each gives a context and a target for every clip.
        image_masks: The same for single images; none given takes `masks`.
        mask_group: Clips that are masked together, cut to one number of visible tokens; each group is its own pass.
        mask_ratio: Share of the places that tube masking hides.
        distance: Between prediction and target: l1, l2 or smooth_l1 (jepa).
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
        sigreg_directions: Random directions that SIGReg looks along.
        image_fraction: Share of the steps on clips that train on their frames as images: planning needs images, and a
            corpus of videos has none (a quarter of V-JEPA 2's data are images).
        pair_fraction: Share of them that predict a frame from an earlier or later one and a few of its own tokens.
        pair_visible: Share of that frame's tokens that are seen.
        color_jitter: Largest random gain (1 +- this) and offset of each colour of a clip, in normalised units.
        gray_fraction: Share of the views without colour (contrastive).
        temperature: Of the contrastive loss.
        projection_dim: Width of the contrastive loss's embedding; its hidden layer is the encoder's width.
    """

    kind: Literal["jepa", "pixels", "contrastive"] = "jepa"
    masking: Literal["blocks", "image", "tube"] = "blocks"
    masks: tuple[MaskSpec, ...] = VJEPA2_MASKS
    image_masks: tuple[MaskSpec, ...] = ()
    mask_group: int = 24
    mask_ratio: float = 0.9
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
    image_fraction: float = 0.25
    pair_fraction: float = 0.0
    pair_visible: float = 0.15
    color_jitter: float = 0.0
    gray_fraction: float = 0.0
    temperature: float = 0.1
    projection_dim: int = 128

    def __post_init__(self) -> None:
        for name in _SHARES:
            self._check(name, 0 <= getattr(self, name) <= 1, "a share, from 0 to 1")
        for name in _WEIGHTS:
            self._check(name, getattr(self, name) >= 0, "at least 0")
        for name in ("pair_visible", "mask_ratio"):
            self._check(name, 0 < getattr(self, name) < 1, "a share above 0 and below 1")
        self._check("temperature", self.temperature > 0, "positive")
        for name in ("sigreg_directions", "projection_dim", "mask_group"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        self._check("masks", bool(self.masks), "at least one family")
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
        self._check_kind()

    @property
    def compares_clips(self) -> bool:
        """Whether a term is a statistic of the whole batch, which then cannot be cut."""
        return self.kind == "contrastive" or bool(self.variance or self.covariance or self.sigreg)

    def _check(self, name: str, good: bool, allowed: str) -> None:
        if not good:
            raise ConfigError(f"objective.{name} is {getattr(self, name)}; allowed: {allowed}.")

    def _check_kind(self) -> None:
        """Refuse keys that the kind would not read."""
        unread = {
            "jepa": {"gray_fraction", "temperature", "projection_dim"},
            "pixels": {
                "distance",
                "target",
                "ema",
                "pair_fraction",
                *_WEIGHTS,
                "gray_fraction",
                "temperature",
            },
            "contrastive": {"masking", "masks", "distance", "target", "ema", "pair_fraction", *_WEIGHTS[:2]},
        }[self.kind]
        given = [f.name for f in fields(self) if f.name in unread and getattr(self, f.name) != f.default]
        if given:
            raise ConfigError(
                f"objective.{given[0]} says nothing to objective.kind={self.kind}; leave it out, or change the kind."
            )
        if self.kind == "jepa" and self.masking != "blocks" and self.pair_fraction:
            raise ConfigError(f"objective.pair_fraction goes with masking=blocks, not with {self.masking}.")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """What to learn from.

    Attributes:
        name: The run goes to runs/pretrain/NAME.
        seed: Where all randomness comes from.
        resume: Go on with a run that was stopped.
        init: A run whose weights this one starts from (a cool-down with longer clips or larger images).
        device: auto, cpu, cuda or cuda:N.
        data: The clips.
        model: The encoder.
        predictor: The masked predictor, which is thrown away afterwards.
        objective: What is minimised.
        trainer: How long and how fast.
        probe: What is read off the features while they are learned, where the data has labels.
    """

    name: str = ""
    seed: int = field(default=0, metadata=SEED)
    resume: bool = False
    init: str = ""
    device: str = "auto"
    data: VideoDataConfig = field(default_factory=VideoDataConfig)
    model: EncoderConfig = field(default_factory=EncoderConfig)
    predictor: MaskedPredictorConfig = field(default_factory=MaskedPredictorConfig)
    objective: PretrainObjective = field(default_factory=PretrainObjective)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    probe: OnlineProbeConfig = field(default_factory=OnlineProbeConfig)
