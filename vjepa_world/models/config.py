"""The typed configurations of the models. Imports no torch, so that `--help` is fast."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from vjepa_world.errors import ConfigError, nearest
from vjepa_world.files.validation import short

ENCODER_KINDS = ("vjepa", "pixels", "registered", "features")
PROBE_KINDS = ("attentive", "linear")
ROPE_CONVENTIONS = ("tiled", "interleaved")
POSITIONS = (*ROPE_CONVENTIONS, "sincos")

LatentKind = Literal["none", "pool", "queries"]
ConditionKind = Literal["tokens", "adaln"]

#: Options for which 0 means none, or the default.
_MAY_BE_ZERO = ("rope_span", "extrinsics_dim", "output_dim", "state_dim")


#: Upper bounds: a hundred times the largest of any model of the family, and small enough that no single one fills a
#: machine's memory. Options that are not listed have the bound `_MOST`.
_MOST = 2**20
_MOST_TOKENS = 2**22
_LIMITS = {
    "depth": 2**10,
    "image_size": 2**14,
    "patch_size": 2**14,
    "num_frames": 2**16,
    "tubelet_size": 2**12,
    "rope_span": 2**14,
    "side": 2**12,
    "views": 2**8,
    "horizon": 2**12,
    "input_levels": 2**10,
    "num_mask_tokens": 2**12,
    "mlp_ratio": 2**10,
    "norm_eps": 1,
}


def _check_numbers(config: AnyConfig, may_be_zero: tuple[str, ...] = _MAY_BE_ZERO) -> None:
    """Refuse values of another type than the field's, and numbers that are not finite or out of bounds.

    Values come from config.json files and from callers as well as from the command line, which checks types itself.
    """
    for item in fields(config):
        value = getattr(config, item.name)
        if item.type == "bool" and not isinstance(value, bool):
            raise ConfigError(f"{item.name} is {short(value)}; it must be true or false.")
        if item.type in ("str", "LatentKind", "ConditionKind") and not isinstance(value, str):
            raise ConfigError(f"{item.name} is {short(value)}; it must be a word.")
        if item.type in ("int", "float"):
            _check_number(item.name, value, is_whole=item.type == "int", may_be_zero=item.name in may_be_zero)


def _check_number(name: str, value: object, *, is_whole: bool, may_be_zero: bool) -> None:
    kinds = (int,) if is_whole else (int, float)
    if not isinstance(value, kinds) or isinstance(value, bool) or not math.isfinite(value):
        expected = "whole number" if is_whole else "finite number"
        raise ConfigError(f"{name} is {short(value)}; it must be a {expected}.")
    if name == "context_frames":  # its two values are checked where it is
        return
    if value < 0 or (value == 0 and not may_be_zero):
        least = "at least 0" if may_be_zero else "more than 0"
        raise ConfigError(f"{name} is {short(value)}; it must be {least}.")
    most = _LIMITS.get(name, _MOST)
    if value > most:
        raise ConfigError(f"{name} is {short(value)}; it must be at most {most}.")


def _whole_numbers(name: str, values: object) -> tuple[int, ...]:
    """Return a list as a tuple, which JSON does not have."""
    if not isinstance(values, list | tuple) or not all(type(value) is int for value in values):
        raise ConfigError(f"{name} is {short(values)}; it must be a list of whole numbers.")
    return tuple(values)


def _check_positions(got: str, allowed: tuple[str, ...]) -> None:
    if got not in allowed:
        raise ConfigError(f"positions '{got}' is not known; {nearest(got, allowed)}")


def _check_heads(config: _WithHeads) -> None:
    if config.embed_dim % (2 * config.num_heads):
        raise ConfigError(
            f"embed_dim {config.embed_dim} does not give {config.num_heads} heads of an even width; change either."
        )
    ratio = getattr(config, "mlp_ratio", 1.0)
    if round(config.embed_dim * ratio) < 1:
        raise ConfigError(
            f"mlp_ratio {ratio} of embed_dim {config.embed_dim} leaves MLPs without a width; raise it."
        )


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Architecture of a video encoder.

    Attributes:
        image_size: Height and width of a frame [pixels].
        patch_size: Height and width of a patch [pixels].
        num_frames: Frames of a training clip.
        tubelet_size: Frames of a token.
        embed_dim: Width.
        depth: Blocks.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over the width.
        positions: tiled (rotary, V-JEPA 2), interleaved (rotary, V-JEPA 2.1) or sincos (added; V-JEPA 1, I-JEPA).
        rope_span: 0, or the rows and columns that rotary positions are stretched to (V-JEPA 2.1: 16).
        image_embed: Own patch embedding for single images, and modality embeddings (V-JEPA 2.1).
        levels: Blocks, from 0, with an output norm each, the last one last (V-JEPA 2.1); [] has one norm at the end.
        norm_eps: Of every LayerNorm.
    """

    image_size: int = 128
    patch_size: int = 16
    num_frames: int = 16
    tubelet_size: int = 2
    embed_dim: int = 192
    depth: int = 6
    num_heads: int = 4
    mlp_ratio: float = 4.0
    positions: str = "tiled"
    rope_span: int = 0
    image_embed: bool = False
    levels: tuple[int, ...] = ()
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        _check_numbers(self)
        if self.image_size % self.patch_size:
            raise ConfigError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}; change either."
            )
        if self.num_frames % self.tubelet_size:
            raise ConfigError(
                f"num_frames {self.num_frames} is not a multiple of tubelet_size {self.tubelet_size}; change either."
            )
        tokens = self.num_frames // self.tubelet_size * self.grid_size**2
        if tokens > _MOST_TOKENS:
            raise ConfigError(
                f"{self.num_frames} frames of {self.image_size} pixels in patches of {self.patch_size} are {tokens} "
                f"tokens; at most {_MOST_TOKENS} are allowed: give fewer frames or larger patches."
            )
        _check_heads(self)
        _check_positions(self.positions, POSITIONS)
        object.__setattr__(self, "levels", _whole_numbers("levels", self.levels))
        if self.levels and (
            list(self.levels) != sorted(set(self.levels)) or self.levels[-1] != self.depth - 1
        ):
            raise ConfigError(
                f"levels {self.levels} must rise and end with the last block, {self.depth - 1}; blocks count from 0."
            )

    @property
    def grid_size(self) -> int:
        """Tokens along one side of a frame."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, kw_only=True)
class MaskedPredictorConfig:
    """Architecture of a masked predictor.

    Attributes:
        embed_dim: Width.
        depth: Blocks.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over the width.
        positions: Rotary convention, tiled or interleaved.
        num_mask_tokens: Mask tokens that are learned; mask family i takes token i modulo their number.
        input_levels: Encoder levels that come in side by side (V-JEPA 2.1: 4, or 1 when distilled).
        output_dim: Width of a prediction; 0 for the input's (all levels).
        context_output: A second projection that predicts the context tokens too (V-JEPA 2.1).
        image_embed: Modality embeddings for images and video (V-JEPA 2.1).
        rope_span: 0, or the rows and columns that rotary positions are stretched to (V-JEPA 2.1: 16).
    """

    embed_dim: int = 96
    depth: int = 4
    num_heads: int = 3
    mlp_ratio: float = 4.0
    positions: str = "tiled"
    num_mask_tokens: int = 3
    input_levels: int = 1
    output_dim: int = 0
    context_output: bool = False
    image_embed: bool = False
    rope_span: int = 0

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_heads(self)
        _check_positions(self.positions, ROPE_CONVENTIONS)


@dataclass(frozen=True, kw_only=True)
class ActionPredictorConfig:
    """Architecture of an action-conditioned predictor.

    Attributes:
        embed_dim: Width.
        depth: Blocks.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over the width.
        residual: Predict the change of the features, zero at the start (V-JEPA 2-AC's weights have none).
        context_frames: 1: a prediction attends to its own frame; 0: to all frames up to it, as in V-JEPA 2-AC.
        positions: Rotary convention, tiled or interleaved.
        extrinsics_dim: Size of the camera's extrinsics that can be given; 0 has no weights for them (V-JEPA 2-AC: 6).
        use_extrinsics: Put them into each step as a third condition token (V-JEPA 2-AC's release does not).
        normalize: LayerNorm a prediction before it is fed back or compared, as V-JEPA 2-AC does.
        wrap_angles: Keep the angles of predicted poses in [-pi, pi], as V-JEPA 2-AC does; else they are continuous.
        condition: How actions and states are given: as tokens next to the patches (V-JEPA 2-AC), or by modulating
            every block's LayerNorms (adaln), so that the patches are the only tokens.
        predict_state: Predict the next state too: what a rule gives from the action where numbers have a known
            meaning, or the present state, plus a learned change that is zero at the start.
    """

    embed_dim: int = 192
    depth: int = 4
    num_heads: int = 4
    mlp_ratio: float = 4.0
    residual: bool = True
    context_frames: int = 1
    positions: str = "tiled"
    extrinsics_dim: int = 0
    use_extrinsics: bool = False
    normalize: bool = False
    wrap_angles: bool = False
    condition: ConditionKind = "tokens"
    predict_state: bool = False

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_heads(self)
        _check_positions(self.positions, ROPE_CONVENTIONS)
        if self.condition not in get_args(ConditionKind):
            raise ConfigError(
                f"condition '{self.condition}' is not known; {nearest(self.condition, get_args(ConditionKind))}"
            )
        if self.use_extrinsics and not self.extrinsics_dim:
            raise ConfigError(
                "use_extrinsics is on and extrinsics_dim is 0; give their size, 6 for a camera pose."
            )
        if self.context_frames not in (0, 1):
            # Stacked blocks would attend further back than a window of two, and a rollout must attend to the same.
            raise ConfigError(f"context_frames is {self.context_frames}; allowed: 0 (all frames) and 1.")


#: What the numbers of a state may mean, and those of an action.
STATE_MEANINGS = ("pose", "joints", "given")
ACTION_MEANINGS = ("delta", "target", "given", "choice")

#: Numbers of a pose, and of the change of one.
POSE_SIZE = 7


@dataclass(frozen=True, kw_only=True)
class EmbodimentConfig:
    """One robot: sizes, meaning, names and units of its actions and states.

    Attributes:
        name: Letters, digits, `_` and `-`; it is part of the weights' names.
        action_dim: Size of an action.
        state_dim: Size of a state; 0 for a robot without one.
        numbers: What a state is: pose (x y z [m], Euler angles [rad], closure), joints, or given (not known). Empty, as
            in older checkpoints, is a pose if state and action have 7 numbers, else given.
        actions: What an action is: delta, target, choice (one of `action_dim`, one-hot), or given (not known). Empty is
            delta for poses, else given.
        state_names: Names of a state's numbers; () if they are not known.
        state_units: Their units; an empty one is not known.
        action_names: Names of an action's numbers.
        action_units: Their units.
        action_step: Largest change of each number from one target to the next, and from the robot's state to the
            first target; () for no limit.
    """

    name: str = "default"
    action_dim: int = 7
    state_dim: int = 7
    numbers: str = ""
    actions: str = ""
    state_names: tuple[str, ...] = ()
    state_units: tuple[str, ...] = ()
    action_names: tuple[str, ...] = ()
    action_units: tuple[str, ...] = ()
    action_step: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_numbers(self)
        self._check_meaning()
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise ConfigError(
                f"'{self.name}' cannot name an embodiment; allowed: letters, digits, '_' and '-', at least one."
            )

    @property
    def state_angles(self) -> tuple[int, ...]:
        """Indices of the state's numbers that are angles of a rotation, 2 pi being the same as 0: those of a pose."""
        return (3, 4, 5) if self.state_meaning == "pose" else ()

    def _check_meaning(self) -> None:
        """Check meaning, names and units, and convert lists to tuples, which JSON does not have."""
        for key, allowed in (("numbers", STATE_MEANINGS), ("actions", ACTION_MEANINGS)):
            value = getattr(self, key)
            if value not in ("", *allowed):
                raise ConfigError(
                    f"embodiment '{self.name}' has {key} '{value}'; {nearest(str(value), allowed)}"
                )
        for key in ("state_names", "state_units", "action_names", "action_units", "action_step"):
            values = tuple(getattr(self, key))
            object.__setattr__(self, key, values)
            size = self.state_dim if key.startswith("state") else self.action_dim
            kind = int | float if key == "action_step" else str
            if len(values) not in (0, size) or not all(isinstance(value, kind) for value in values):
                raise ConfigError(
                    f"embodiment '{self.name}' has {key} {list(values)}; give {size} entries, one for each number, or "
                    "none."
                )
        if not all(0 <= step < float("inf") for step in self.action_step):
            raise ConfigError(
                f"embodiment '{self.name}' has action_step {list(self.action_step)}; give numbers of at least 0."
            )

    @property
    def state_meaning(self) -> str:
        """What a state is: pose, joints or given; by its size if it is not declared."""
        return self.numbers or ("pose" if self.action_dim == self.state_dim == POSE_SIZE else "given")

    @property
    def action_meaning(self) -> str:
        """What an action is: delta, target, choice or given."""
        return self.actions or ("delta" if self.state_meaning == "pose" else "given")


@dataclass(frozen=True, kw_only=True)
class LatentsConfig:
    """The stage between the frozen features and the predictor, which reduces a frame's tokens.

    Attributes:
        kind: none (the encoder's grid), pool (its mean over side x side areas) or queries (learned tokens that attend
            to it, trained together with the predictor to reconstruct it).
        side: Tokens along each side of a view; not used with none. Must divide the encoder's grid for pool.
        embed_dim: Width of the attention (queries); tokens have the features' width.
        depth: Blocks of cross-attention in each direction (queries).
        num_heads: Attention heads (queries).
    """

    kind: LatentKind = "pool"
    side: int = 4
    embed_dim: int = 192
    depth: int = 1
    num_heads: int = 4

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_heads(self)
        if self.kind not in get_args(LatentKind):
            raise ConfigError(
                f"kind '{self.kind}' of latents is not known; {nearest(self.kind, get_args(LatentKind))}"
            )
        if self.embed_dim % 4:
            raise ConfigError(
                f"embed_dim {self.embed_dim} of latents is not a multiple of 4, as positions need; change it."
            )


@dataclass(frozen=True, kw_only=True)
class InverseConfig:
    """Architecture of an inverse model: which actions lead from one frame to a later one.

    Attributes:
        horizon: The furthest later frame [steps]; 0: no inverse model.
        embed_dim: Width.
        depth: Blocks.
        num_heads: Attention heads.
    """

    horizon: int = 2
    embed_dim: int = 128
    depth: int = 2
    num_heads: int = 4

    def __post_init__(self) -> None:
        _check_numbers(self, may_be_zero=("horizon",))
        _check_heads(self)


@dataclass(frozen=True, kw_only=True)
class GoalReaderConfig:
    """Architecture of a goal reader: which state of the robot a goal image shows.

    Attributes:
        depth: Convolutions; 0: no goal reader.
        embed_dim: Channels, a multiple of 8.
    """

    depth: int = 0
    embed_dim: int = 128

    def __post_init__(self) -> None:
        _check_numbers(self, may_be_zero=("depth",))
        if self.embed_dim % 8:
            raise ConfigError(f"embed_dim of a goal reader is {self.embed_dim}; it must be a multiple of 8.")


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Architecture of a decoder from features to small images, to look at predictions.

    Attributes:
        image_size: Height and width of a view's image [pixels]; 0: no decoder.
        embed_dim: Width.
        depth: Blocks.
        num_heads: Attention heads.
    """

    image_size: int = 64
    embed_dim: int = 128
    depth: int = 2
    num_heads: int = 4

    def __post_init__(self) -> None:
        _check_numbers(self, may_be_zero=("image_size",))
        _check_heads(self)


_PARTS = {
    "encoder": EncoderConfig,
    "predictor": ActionPredictorConfig,
    "latents": LatentsConfig,
    "inverse": InverseConfig,
    "goal_reader": GoalReaderConfig,
    "decoder": DecoderConfig,
}


@dataclass(frozen=True, kw_only=True)
class ImageStatistics:
    """Statistics of the training images, by colour (red, green, blue) from 0 black to 1 white; () if not known.

    Attributes:
        mean: Brightness of a frame, averaged over frames.
        mean_spread: Its standard deviation between frames.
        contrast: Standard deviation of a frame's pixels, averaged over frames.
        contrast_spread: Its standard deviation between frames.
        detail: Mean difference of neighbouring pixels, averaged over frames; noise has much, a blurred image little.
        detail_spread: Its standard deviation between frames.
    """

    mean: tuple[float, ...] = ()
    mean_spread: tuple[float, ...] = ()
    contrast: tuple[float, ...] = ()
    contrast_spread: tuple[float, ...] = ()
    detail: tuple[float, ...] = ()
    detail_spread: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        counts = set()
        for item in fields(self):
            values = tuple(getattr(self, item.name))
            object.__setattr__(self, item.name, values)  # JSON has no tuples
            counts.add(len(values))
            numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
            if len(values) not in (0, 3) or not numbers or not all(0 <= v <= 1 for v in values):
                raise ConfigError(
                    f"{item.name} of images is {list(values)}; give three numbers from 0 to 1, or none."
                )
        if len(counts) > 1:
            raise ConfigError(
                "some of the statistics of images are given and some are not; give all or none."
            )

    @property
    def known(self) -> bool:
        """Whether the statistics are known."""
        return bool(self.mean)


@dataclass(frozen=True, kw_only=True)
class WorldModelConfig:
    """Architecture of a latent world model.

    Attributes:
        encoder: The frozen encoder.
        predictor: The action-conditioned predictor.
        encoder_kind: vjepa; pixels for the raw-pixel control; registered for one of others; features for none: the
            features were computed elsewhere.
        encoder_name: Name of the registered encoder: `transformers`, `module:function`, ...
        encoder_options: What the registered encoder is made with, as JSON has it.
        latents: How the encoder's tokens are reduced before the predictor.
        embodiments: The robots, each with its own sizes, statistics and bounds; the first is the default.
        views: Camera images in a frame, side by side, all of one size.
        inverse: From two frames' features to the actions between them; horizon=0 for none.
        goal_reader: From the present frame's and a goal's features to the goal's state; depth=0 for none.
        decoder: From features to small images; image_size=0 for none.
        images: Statistics of the training images.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    predictor: ActionPredictorConfig = field(default_factory=ActionPredictorConfig)
    encoder_kind: str = "vjepa"
    encoder_name: str = ""
    encoder_options: dict[str, Any] = field(default_factory=dict)
    latents: LatentsConfig = field(default_factory=LatentsConfig)
    embodiments: tuple[EmbodimentConfig, ...] = (EmbodimentConfig(),)
    views: int = 1
    inverse: InverseConfig = field(default_factory=InverseConfig)
    goal_reader: GoalReaderConfig = field(default_factory=GoalReaderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    images: ImageStatistics = field(default_factory=ImageStatistics)

    def __post_init__(self) -> None:
        _check_numbers(self)
        if self.encoder_kind not in ENCODER_KINDS:
            raise ConfigError(
                f"encoder_kind '{self.encoder_kind}' is not known; allowed: {', '.join(ENCODER_KINDS)}."
            )
        if (self.encoder_kind == "registered") != bool(self.encoder_name):
            raise ConfigError(
                f"encoder_kind is {self.encoder_kind} and encoder_name is '{self.encoder_name}'; a registered encoder "
                "needs both, others have no name."
            )
        if not isinstance(self.encoder_options, dict) or (self.encoder_options and not self.encoder_name):
            raise ConfigError(
                f"encoder_options are {short(self.encoder_options)}; give names and values for a registered encoder."
            )
        for name, kind in _PARTS.items():
            if not isinstance(getattr(self, name), kind):
                raise ConfigError(f"{name} is {short(getattr(self, name))}; it must be a {kind.__name__}.")
        object.__setattr__(self, "embodiments", tuple(self.embodiments))  # JSON has no tuples
        names = [embodiment.name for embodiment in self.embodiments]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"embodiments are {names}; at least one is needed, and each name once.")
        size, side = self.encoder.grid_size, self.latents.side
        if self.latents.kind == "pool" and (side > size or size % side):
            raise ConfigError(
                f"latents.side {side} does not divide the {size} tokens along a side; choose a divisor, "
                "or latents.kind=none."
            )
        if self.latents.kind == "queries" and side > size:
            raise ConfigError(
                f"latents.side {side} is more than the {size} tokens along a side; choose fewer queries."
            )

    def with_default(self, name: str) -> WorldModelConfig:
        """Return this configuration with an embodiment moved to the front.

        Raises:
            ConfigError: If there is none of this name.
        """
        robots = {robot.name: robot for robot in self.embodiments}
        if name not in robots:
            raise ConfigError(f"embodiment '{name}' is not known; {nearest(name, tuple(robots))}")
        first = robots.pop(name)
        return replace(self, embodiments=(first, *robots.values()))

    @property
    def frozen_side(self) -> int:
        """Tokens along a side of one view of the frozen features, after pooling."""
        return self.latents.side if self.latents.kind == "pool" else self.encoder.grid_size

    @property
    def side(self) -> int:
        """Tokens along a side of one view in the predictor."""
        return self.encoder.grid_size if self.latents.kind == "none" else self.latents.side

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a frame's tokens in the predictor; views are side by side."""
        return self.side, self.side * self.views


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """Architecture of a probe on a frozen encoder's tokens.

    Attributes:
        kind: attentive (self-attention blocks, then one query attends to all tokens) or linear (mean of the tokens).
        embed_dim: Width of the features.
        num_heads: Attention heads (attentive).
        depth: Blocks of self-attention plus the one of cross-attention (attentive).
        mlp_ratio: Hidden width of the MLPs over the width (attentive).
        num_outputs: Classes, or numbers that are regressed.
        norm_eps: Of every LayerNorm; the released probes have PyTorch's 1e-5, transformers' 1e-6.
    """

    kind: str = "attentive"
    embed_dim: int = 192
    num_heads: int = 4
    depth: int = 4
    mlp_ratio: float = 4.0
    num_outputs: int = 2
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.kind not in PROBE_KINDS:
            raise ConfigError(
                f"kind '{self.kind}' of a probe is not known; {nearest(self.kind, PROBE_KINDS)}"
            )
        _check_numbers(self)
        _check_heads(self)


_WithHeads = (
    EncoderConfig
    | MaskedPredictorConfig
    | ActionPredictorConfig
    | LatentsConfig
    | InverseConfig
    | DecoderConfig
    | ProbeConfig
)
AnyConfig = _WithHeads | GoalReaderConfig | EmbodimentConfig | WorldModelConfig
