"""The latent world model: a frozen encoder and an action-conditioned predictor, for planners to roll out.

Legend: B problems, T frames, C channels, H W pixels, V views, N0 tokens per frame of the frozen features, N in the
predictor, D feature width, S samples, K horizon, A action size, P state size, X extrinsics size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.config import EmbodimentConfig, WorldModelConfig
from vjepa_world.models.context import Context, check_same_frames
from vjepa_world.models.decoder import FrameDecoder
from vjepa_world.models.embodiment import ActionType, Embodiment
from vjepa_world.models.encoder import PixelEncoder, VideoEncoder
from vjepa_world.models.encoders.preprocessing import Preprocessing
from vjepa_world.models.encoders.registered import NoEncoder, RegisteredEncoder
from vjepa_world.models.frozen_tokens import image_tokens, normalised_tokens
from vjepa_world.models.goal_reader import GoalReader
from vjepa_world.models.inference.cached_rollout import CachedRollout
from vjepa_world.models.input_range import image_warnings, state_warnings
from vjepa_world.models.inverse_model import InverseModel
from vjepa_world.models.latents import LearnedQueries, join_views, pool_tokens
from vjepa_world.models.state_transition import transition_rule
from vjepa_world.ops.tensor_checks import check_format, check_frames, check_numbers, check_tokens

#: The parts that fine-tuning trains, where a model has them.
_TRAINED = ("predictor", "latents", "inverse", "goal_reader", "decoder")


class LatentWorldModel(nn.Module):
    """Encodes images, and predicts the features that follow from actions.

    Satisfies `planners.protocols.WorldModel`.

    Attributes:
        encoder: Frozen.
        predictor: Trained; with an embodiment for each robot.
        latents: Learned tokens, if `config.latents.kind` is queries.
        inverse: From two frames' features to the actions between them, if configured.
        goal_reader: From the present frame's and a goal's features to the goal's state, if configured.
        decoder: From features to small images, if configured.
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _encoder_of(config)
        width = self.encoder.width if isinstance(self.encoder, PixelEncoder) else config.encoder.embed_dim
        self.predictor = ActionPredictor(config.predictor, width, config.grid, config.embodiments)
        rows, columns = config.grid
        sizes = {robot.name: (robot.action_dim, robot.state_dim) for robot in config.embodiments}
        self.latents: LearnedQueries | None = None
        self.inverse: InverseModel | None = None
        self.goal_reader: GoalReader | None = None
        self.decoder: FrameDecoder | None = None
        if config.latents.kind == "queries":
            self.latents = LearnedQueries(config.latents, width, config.frozen_side, config.views)
        if config.inverse.horizon:
            self.inverse = InverseModel(config.inverse, width, rows * columns, sizes)
        if config.goal_reader.depth:
            states = {robot.name: robot.state_dim for robot in config.embodiments}
            self.goal_reader = GoalReader(config.goal_reader, width, config.grid, states)
        if config.decoder.image_size:
            self.decoder = FrameDecoder(config.decoder, width, config.grid)
        self.encoder.requires_grad_(False)
        self._rollout = CachedRollout(self.predictor, torch.float32)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.action_low.device

    @property
    def preprocessing(self) -> Preprocessing:
        """How one view's frames become the encoder's input."""
        return self.encoder.preprocessing

    @property
    def feature_dim(self) -> int:
        """Width of the features, D."""
        return self.predictor.predictor_embed.in_features

    @property
    def embodiment(self) -> str:
        """Name of the default robot: the first one of the configuration."""
        return self.robot.name

    @property
    def action_low(self) -> Tensor:
        """The default robot's lowest action, `[A]`, in the data's units; of others see :meth:`for_context`."""
        return self.predictor.robot().action_low

    @property
    def action_high(self) -> Tensor:
        """The default robot's highest action, `[A]`, in the data's units."""
        return self.predictor.robot().action_high

    @property
    def robot(self) -> EmbodimentConfig:
        """Sizes, names and units of the default robot's states and actions."""
        return self.predictor.robot().config

    @property
    def action_type(self) -> ActionType | None:
        """Whether the default robot's actions are changes, targets or choices; None if its data does not declare it."""
        return self.predictor.robot().action_type

    @property
    def action_step(self) -> Tensor | None:
        """Largest change of the default robot's targets from step to step, `[A]`; None without a limit."""
        return self.predictor.robot().action_step

    @property
    def state_spread(self) -> Tensor:
        """Standard deviation of the default robot's states in the training data, `[P]`."""
        return self.predictor.robot().state_std

    @property
    def views(self) -> int:
        """V, how many cameras' pictures a frame holds side by side."""
        return self.config.views

    @property
    def knows_next_state(self) -> bool:
        """Whether the default robot's state after an action is known, by a rule or a prediction: rollouts need it."""
        robot = self.robot
        rule = transition_rule(robot.state_dim, robot.action_dim, robot)
        return rule != "none" or self.config.predictor.predict_state

    def hold_action(self, context: Context) -> Tensor | None:
        """Return the actions that keep the robots of a context where they are, `[B, A]`: zeros, or their joints.

        None if the meaning of actions is not known, or targets cannot be read from a state.
        """
        return self.robot_of(context).hold_action(context.states[:, -1])

    def robot_of(self, context: Context) -> Embodiment:
        """Return the embodiment of a context's robot.

        Raises:
            ConfigError: If this model knows no robot of this name, or `context` is not a :class:`Context`.
        """
        _check_context(context)
        return self.predictor.robot(context.embodiment)

    def input_warnings(
        self,
        frames: Tensor,
        states: Tensor,
        what: str = "the picture",
        *,
        embodiment: str | None = None,
    ) -> list[str]:
        """Return warnings about inputs that are far from the training data: units, order of numbers, pictures.

        Args:
            frames: uint8 `[..., C, H, V*W]`.
            states: `[..., S]`, in the data's units.
            what: What the frames are called in a warning.
            embodiment: Name of the robot; None for the first.
        """
        views = torch.stack(frames.chunk(self.config.views, dim=-1))
        images = image_warnings(self.config.images, views, what)
        return state_warnings(self.predictor.robot(embodiment), states) + images

    def for_context(self, context: Context) -> RobotModel:
        """Return this model with the action bounds of a context's robot."""
        return RobotModel(self, self.robot_of(context))

    def trained(self) -> nn.ModuleDict:
        """Return the trained modules by name: predictor, and the others that are configured."""
        parts = {name: getattr(self, name) for name in _TRAINED}
        return nn.ModuleDict({name: part for name, part in parts.items() if part is not None})

    @torch.no_grad()
    def frozen_features(self, frames: Tensor) -> Tensor:
        """Encode each image alone: `[M, C, H, V*W]` uint8 to `[M, N0, D]`, LayerNormed, and pooled if configured.

        Views are side by side, in pixels as in tokens. Each is fitted to the encoder's input separately.

        Raises:
            ConfigError: If the frames are not uint8 of these axes, or their width does not divide into the views.
        """
        config = self.config
        frames = check_frames(frames, _axes("M", config.views), views=config.views)
        images = frames.unflatten(-1, (config.views, -1)).movedim(-2, 1).flatten(0, 1)
        return join_views(self.view_features(images), config.views, config.frozen_side)

    @torch.no_grad()
    def view_features(self, images: Tensor) -> Tensor:
        """Encode images of one view each: `[M, C, H, W]` uint8 to `[M, n, D]`; see :meth:`frozen_features`."""
        images = check_frames(images, "[M, C, H, W]", name="images")
        tokens = image_tokens(self.encoder, images.to(self._filled_device()))
        return pool_tokens(tokens, self.config.frozen_side)

    def frozen_tokens(self, encoded: Tensor) -> Tensor:
        """Return an encoder's tokens of one view `[M, n, D]`, LayerNormed (but for pixels), pooled if so configured."""
        return pool_tokens(normalised_tokens(self.encoder, encoded), self.config.frozen_side)

    @torch.no_grad()
    def goal_features(self, features: Tensor) -> Tensor:
        """Return goals as the planner compares them, from features that were computed elsewhere.

        Args:
            features: The encoder's tokens of one view, `[..., n, D]`; they are LayerNormed here.

        Returns:
            `[..., N, D]`, as :meth:`encode_goal` returns them.

        Raises:
            ConfigError: If they are of another number of tokens or another width.
        """
        wanted = [self.config.encoder.grid_size**2, self.feature_dim]
        if list(features.shape[-2:]) != wanted or self.config.views != 1:
            raise ConfigError(
                f"features have {list(features.shape[-2:])} tokens and channels for {self.config.views} views; "
                f"expected {wanted} of one view."
            )
        rows = features.to(self._filled_device()).float().reshape(-1, *wanted)
        tokens = self.compact(self.frozen_tokens(rows)).float()
        return tokens.reshape(*features.shape[:-2], *tokens.shape[1:])

    def compact(self, frozen: Tensor) -> Tensor:
        """Return the predictor's tokens `[M, N, D]` of frozen features `[M, N0, D]`: the same, or learned queries'."""
        if self.latents is None:
            return frozen
        tokens: Tensor = self.latents(frozen)
        return tokens

    @torch.no_grad()
    def encode_frames(self, frames: Tensor) -> Tensor:
        """Encode each frame alone to the predictor's tokens: `[M, C, H, V*W]` uint8 to `[M, N, D]`."""
        return self.compact(self.frozen_features(frames))

    @torch.no_grad()
    def encode(
        self,
        frames: Tensor,
        states: Tensor | None,
        extrinsics: Tensor | None = None,
        actions: Tensor | None = None,
        *,
        embodiment: str | None = None,
    ) -> Context:
        """Encode observations of B problems.

        Args:
            frames: `[B, T, C, H, V*W]` uint8, red green blue; floats are refused, since their scale is ambiguous.
            states: `[B, T, S]`, in the data's units; None for a robot without a state.
            extrinsics: Of the camera at each frame, `[B, T, X]`.
            actions: Taken between the frames, `[B, T-1, A]`; None derives them from the states if the predictor needs
                them.
            embodiment: Name of the robot whose states and actions these are; None for the first.

        Returns:
            The context, on the model's device. It stores the robot's name.

        Raises:
            CheckpointError: If the state size is not the one this model was trained with.
            ConfigError: If an argument is not a tensor of these axes and types, is not finite, or has another number of
                problems or frames; if extrinsics are needed and missing, not used, or of another size; if there is no
                such embodiment; if the weights are on the meta device.
        """
        frames = check_frames(frames, _axes("B, T", self.config.views), views=self.config.views)
        robot = self._checked_robot(frames.shape[:2], states, extrinsics, actions, embodiment)
        features = self.encode_frames(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return self._context(features, states, extrinsics, actions, robot)

    @torch.no_grad()
    def encode_features(
        self,
        features: Tensor,
        states: Tensor | None,
        extrinsics: Tensor | None = None,
        actions: Tensor | None = None,
        *,
        embodiment: str | None = None,
    ) -> Context:
        """Return the context of B problems from features that were computed elsewhere.

        Args:
            features: The encoder's tokens of one view, `[B, T, n, D]`; they are LayerNormed here.
            states: `[B, T, S]`, in the data's units; the further arguments are those of :meth:`encode`.
            extrinsics: Of the camera at each frame, `[B, T, X]`.
            actions: Taken between the frames, `[B, T-1, A]`.
            embodiment: Name of the robot; None for the first.

        Raises:
            CheckpointError: As :meth:`encode`.
            ConfigError: As :meth:`encode` and :meth:`goal_features`.
        """
        robot = self._checked_robot(features.shape[:2], states, extrinsics, actions, embodiment)
        return self._context(self.goal_features(features), states, extrinsics, actions, robot)

    def _checked_robot(
        self,
        shape: Sequence[int],
        states: Tensor | None,
        extrinsics: Tensor | None,
        actions: Tensor | None,
        embodiment: str | None,
    ) -> Embodiment:
        """Check what is observed besides `[B, T]` frames, and return the robot."""
        given = {"states": states, "extrinsics": extrinsics, "actions": actions}
        for name, part in given.items():
            if part is not None:
                check_numbers(name, part, f"[B, T{'-1' if name == 'actions' else ''}, size]")
        robot = self.predictor.robot(embodiment)
        if states is not None or robot.config.state_dim:
            _check_states(robot.config, states)
        self.predictor.check_extrinsics(extrinsics)
        robot.check(actions, None)
        check_same_frames(given, *shape)
        return robot

    def _context(
        self,
        features: Tensor,
        states: Tensor | None,
        extrinsics: Tensor | None,
        actions: Tensor | None,
        robot: Embodiment,
    ) -> Context:
        if states is None:  # of a robot without a state
            states = features.new_zeros(*features.shape[:2], 0)
        cameras, taken = (
            None if part is None else part.to(self.device).float() for part in (extrinsics, actions)
        )
        measured = states.to(self.device).float()
        return Context(features.float(), measured, cameras, taken, embodiment=robot.config.name)

    def _filled_device(self) -> torch.device:
        """Return the device of the weights, if tensors have values there."""
        if self.device.type == "meta":
            raise ConfigError(
                "the model's weights are on the meta device, where tensors hold no numbers; load it on cpu or cuda."
            )
        return self.device

    @torch.no_grad()
    def encode_goal(self, frames: Tensor) -> Tensor:
        """Encode goal images: `[B, C, H, V*W]` uint8 to `[B, N, D]`.

        Raises:
            ConfigError: If the frames have another type or other axes; see :meth:`encode`.
        """
        views = self.config.views
        return self.encode_frames(
            check_frames(frames, _axes("B", views), name="goal frames", views=views)
        ).float()

    def prepare(self, dtype: torch.dtype, *, compiled: bool = False, batched: bool | None = None) -> Self:
        """Choose how rollouts are computed from now on, and return this model.

        Args:
            dtype: float32, which is the default, or bfloat16: predictions are then near the float32 ones, and energies
                are still summed in float32. float16 and float64 are computed too, not faster.
            compiled: Whether the predictor's blocks go through `torch.compile`, once for each number of samples and
                step, on a GPU as CUDA graphs. It takes seconds each time, and on a CPU a C++ compiler, where it gained
                nothing over the packed weights that are used without it (`vjepa-world bench planner`).
            batched: Whether the problems of a context are computed together; their predictions may then depend on the
                other problems in the last bits. None does so on a GPU alone: on a CPU in float32 a problem's
                predictions are the same bit by bit whatever else is in the context.

        Raises:
            ConfigError: If there is no such format.
        """
        dtype = check_format("dtype", dtype)
        self._rollout = CachedRollout(self.predictor, dtype, compiled=compiled, batched=batched)
        return self

    @property
    def _cached_rollout(self) -> CachedRollout:
        """The rollout of the predictor that this model has now, which may have been replaced."""
        if self._rollout.predictor is not self.predictor:
            state = {**self._rollout.__getstate__(), "predictor": self.predictor}
            self._rollout = CachedRollout(**state)
        return self._rollout

    def rollout(self, context: Context, actions: Tensor) -> Tensor:
        """Predict the features after each action, from the last frame of the context on.

        The context's keys and values are cached and shared by all samples. The state is the predicted one if the
        predictor predicts states, or follows by a rule (:func:`advance_state`). On a CPU problems are computed one
        after another, so that none depends on the others; on a GPU together (see :meth:`prepare`). The graph is kept
        where `actions` require a gradient.

        Args:
            context: B problems. A predictor with `context_frames=1` attends to the last frame alone. The camera stays
                where it is in the last one.
            actions: `[B, S, K, A]`, real numbers of any format, in the data's units; at least one sample and one step.

        Returns:
            Predicted features after each action, `[B, S, K, N, D]`.

        Raises:
            ConfigError: If the actions have other axes, or the context is on another device; if several steps are
                asked for, no rule gives the next state, and the predictor predicts no states; or as
                :meth:`Context.step_inputs` does.
        """
        return self._rolled_out(context, actions)[0]

    def rollout_with_states(self, context: Context, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Predict features `[B, S, K, N, D]` and states `[B, S, K, P]` after each action; otherwise as `rollout`."""
        features, states = self._rolled_out(context, actions, states=True)
        assert states is not None
        return features, states

    def rollout_sequences(self, context: Context, actions: Tensor) -> Tensor:
        """Predict one sequence for each problem, all problems in one batch: `[B, K, A]` to `[B, K, N, D]`.

        For evaluations on many windows: faster there than :meth:`rollout`, and a problem's predictions may depend on
        the others in the last bits on every device. Arguments and errors as in :meth:`rollout`.
        """
        return self._cached_rollout.sequences(context, self._checked(context, actions, "[B, K, A]"))

    def samples_at_once(self, context: Context, horizon: int) -> int:
        """Return how many samples of each problem are best given to one `rollout` of `horizon` steps: at least 1."""
        _check_context(context)
        return self._cached_rollout.samples_at_once(context, horizon)

    def _checked(self, context: Context, actions: Tensor, axes: str = "[B, S, K, A]") -> Tensor:
        """Return actions on the device, and in the number format, of the rollout.

        Raises:
            ConfigError: If they have other axes, or do not belong to the context.
        """
        _check_context(context)
        check_numbers("actions", actions, axes)
        if len(actions) != len(context.features) or not all(actions.shape):
            raise ConfigError(
                f"got actions of shape {list(actions.shape)} with a context of {len(context.features)} problems; give "
                f"{axes}: at least one sequence of at least one action for each problem."
            )
        if context.features.device != self._filled_device():
            raise ConfigError(
                f"the context is on {context.features.device}, and the model on {self.device}; encode again after "
                "moving the model."
            )
        rows, columns = self.config.grid
        wanted = [rows * columns, self.feature_dim]
        if list(context.features.shape[2:]) != wanted:
            raise ConfigError(
                f"the context's features have {list(context.features.shape[2:])} tokens and channels, and this model's "
                f"{wanted}; encode with this model."
            )
        self.robot_of(context).check(actions, context.states)
        weights = self.predictor.predictor_embed.weight
        wide = self._keeps_graph(actions) and weights.dtype == torch.float64
        return actions.to(self.device, torch.float64 if wide else torch.float32)

    @staticmethod
    def _keeps_graph(actions: Tensor) -> bool:
        return actions.requires_grad and torch.is_grad_enabled()

    def _rolled_out(
        self, context: Context, actions: Tensor, *, states: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Return features `[B, S, K, N, D]` and, where asked for, states `[B, S, K, P]`."""
        actions = self._checked(context, actions)
        keep_graph = self._keeps_graph(actions)
        return self._cached_rollout(context, actions, states=states, keep_graph=keep_graph)

    @torch.no_grad()
    def propose(self, context: Context, goal: Tensor, horizon: int) -> Tensor:
        """Return the inverse model's actions from the last frame of the context to goals.

        On a CPU the problems are computed one at a time, so that no result depends on the batch.

        Args:
            context: B problems.
            goal: From :meth:`encode_goal`, `[B, N, D]`.
            horizon: K. The inverse model gives as many actions as it was trained for. Further ones are zero (for
                targets, the last one), or as near as the bounds allow.

        Returns:
            `[B, K, A]`, in the data's units and within the bounds.

        Raises:
            ConfigError: If there is no inverse model, or an argument has another size.
        """
        if self.inverse is None:
            raise ConfigError(
                "this model has no inverse model; fine-tune one with inverse.horizon of 1 or more."
            )
        if isinstance(horizon, bool) or not isinstance(horizon, int) or horizon < 1:
            raise ConfigError(f"horizon is {horizon!r}; give a whole number of at least 1.")
        robot = self.robot_of(context)
        robot.check(None, context.states)
        known = min(horizon, self.config.inverse.horizon)
        steps = torch.full((len(goal),), known, device=goal.device)
        state = robot.standard_states(context.states[:, -1])
        inputs = (context.features[:, -1], goal, state, steps)
        parts = [self.inverse(*part, robot.config.name) for part in _separate(*inputs)]
        proposed = torch.cat(parts)[:, :known].float()
        actions = proposed * robot.action_std + robot.action_mean
        if robot.action_type == "absolute":
            rest = actions[:, -1:].expand(-1, horizon - known, -1)  # the robot stays at the last target
        else:
            rest = actions.new_zeros(len(actions), horizon - known, actions.shape[2])
        actions = torch.cat([actions, rest], dim=1)
        return actions.clamp(robot.action_low, robot.action_high)

    @torch.no_grad()
    def read_goal_states(self, context: Context, goal: Tensor) -> Tensor:
        """Return the robots' states that goals show, `[B, P]`, in the data's units.

        Args:
            context: B problems; the state is read relative to the last frame's.
            goal: `[B, N, D]`, from :meth:`encode_goal`.

        Raises:
            ConfigError: If there is no goal reader, or an argument has another size.
        """
        if self.goal_reader is None:
            raise ConfigError(
                "this model has no goal reader; fine-tune one with goal_reader.depth of 1 or more."
            )
        robot = self.robot_of(context)
        now = context.states[:, -1]
        robot.check(None, now)
        inputs = (context.features[:, -1], goal, robot.standard_states(now))
        change = torch.cat([self.goal_reader(*part, robot.config.name) for part in _separate(*inputs)])
        return now + change.float() * robot.state_std

    @torch.no_grad()
    def picture(self, features: Tensor) -> Tensor:
        """Decode features to small images, to look at: `[..., N, D]` to uint8 `[..., 3, s, s*V]`.

        Raises:
            ConfigError: If there is no decoder, or the features have another width.
        """
        if self.decoder is None:
            raise ConfigError("this model has no decoder; fine-tune one with decoder.image_size of 64, say.")
        axes = [*(f"D{axis}" for axis in range(1, getattr(features, "ndim", 3) - 1)), "N", "D"]
        check_tokens("features", features, self.feature_dim, f"[{', '.join(axes)}]")
        images = self.decoder(features.reshape(-1, *features.shape[-2:]))
        return (images * 255).round().to(torch.uint8).reshape(*features.shape[:-2], *images.shape[1:])


def _encoder_of(config: WorldModelConfig) -> VideoEncoder | PixelEncoder | NoEncoder:
    if config.encoder_kind == "pixels":
        return PixelEncoder(config.encoder)
    if config.encoder_kind == "registered":
        return RegisteredEncoder(config.encoder_name, config.encoder, config.encoder_options)
    return NoEncoder(config.encoder) if config.encoder_kind == "features" else VideoEncoder(config.encoder)


@dataclass(frozen=True)
class RobotModel:
    """A world model with the action bounds of one of its robots; satisfies `planners.protocols.WorldModel`.

    Attributes:
        model: The world model.
        robot: The embodiment of the robot.
    """

    model: LatentWorldModel
    robot: Embodiment

    @property
    def action_low(self) -> Tensor:
        """The robot's lowest action, `[A]`."""
        return self.robot.action_low

    @property
    def action_high(self) -> Tensor:
        """The robot's highest action, `[A]`."""
        return self.robot.action_high

    @property
    def action_type(self) -> ActionType | None:
        """Whether its actions are changes or targets; None if its data does not declare it."""
        return self.robot.action_type

    @property
    def action_step(self) -> Tensor | None:
        """Largest change from one target to the next, `[A]`; None without a limit."""
        return self.robot.action_step

    def hold_action(self, context: Context) -> Tensor | None:
        """Return the actions that keep the robots of a context where they are, `[B, A]`, or None."""
        return self.model.hold_action(context)

    def encode(self, frames: Tensor, states: Tensor | None) -> Context:
        """Encode observations of this robot: uint8 `[B, T, C, H, V*W]` and states `[B, T, S]`."""
        return self.model.encode(frames, states, embodiment=self.robot.config.name)

    def encode_goal(self, frames: Tensor) -> Tensor:
        """Encode goal images: uint8 `[B, C, H, V*W]` to `[B, N, D]`."""
        return self.model.encode_goal(frames)

    def rollout(self, context: Context, actions: Tensor) -> Tensor:
        """Predict the features after each action: `[B, S, K, A]` to `[B, S, K, N, D]`."""
        return self.model.rollout(context, actions)


def _separate(*inputs: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Return inputs `[B, ...]` one problem at a time on a CPU, where rounding in a batch would depend on its size."""
    on_cpu = inputs[0].device.type == "cpu"
    return zip(*(part.split(1) for part in inputs), strict=True) if on_cpu else [inputs]


def _check_context(context: object) -> None:
    if not isinstance(context, Context):
        raise ConfigError(
            f"the context is a {type(context).__name__}; give what this model's encode returned."
        )


def _check_states(robot: EmbodimentConfig, states: Tensor | None) -> None:
    if states is None or states.shape[-1] != robot.state_dim:
        got = "none" if states is None else str(states.shape[-1])
        raise CheckpointError(
            f"this model's embodiment '{robot.name}' (actions of size {robot.action_dim}) was trained with states "
            f"of size {robot.state_dim}, got {got}; give the robot's state in the training data's order, name "
            "another embodiment, or fine-tune on data of this robot."
        )


def _axes(first: str, views: int) -> str:
    """Return the axes of frames as an error shows them; with one view without the factor."""
    return f"[{first}, 3, H, {'W' if views == 1 else f'{views}*W'}]"
