"""A frozen encoder and an action-conditioned predictor as one model that a planner can imagine with.

Legend: B problems, T frames, C channels, H W pixels, V views, N0 tokens a frame as frozen, N as the predictor sees
them, D width, S samples, K horizon, A action size, X extrinsics size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.config import WorldModelConfig
from vjepa_world.models.decoder import FrameDecoder
from vjepa_world.models.encoder import PixelEncoder, VideoEncoder
from vjepa_world.models.inverse import InverseModel
from vjepa_world.models.latents import LearnedQueries, join_views, pool_tokens
from vjepa_world.ops.pixels import normalize_video, resize_frames
from vjepa_world.ops.pose import POSE_SIZE, apply_action


@dataclass(frozen=True)
class Context:
    """What a problem looks like now: `features [B, T, N, D]`, `states [B, T, S]`, cameras' `extrinsics [B, T, X]`."""

    features: Tensor
    states: Tensor
    extrinsics: Tensor | None = None


class LatentWorldModel(nn.Module):
    """Encodes pictures and imagines, in features, where actions lead.

    Satisfies `planners.protocols.WorldModel`.

    Attributes:
        encoder: Frozen.
        predictor: With the embodiments that it knows.
        latents: Learned tokens, where `config.latents.kind` is queries.
        inverse: Actions between two frames, where the configuration has one.
        decoder: Pictures of features, where the configuration has one.
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder: VideoEncoder | PixelEncoder
        if config.encoder_kind == "pixels":
            self.encoder = PixelEncoder(config.encoder)
            width = self.encoder.width
        else:
            self.encoder = VideoEncoder(config.encoder)
            width = config.encoder.embed_dim
        self.predictor = ActionPredictor(config.predictor, width, config.grid, config.embodiments)
        rows, columns = config.grid
        sizes = {robot.name: (robot.action_dim, robot.state_dim) for robot in config.embodiments}
        self.latents: LearnedQueries | None = None
        self.inverse: InverseModel | None = None
        self.decoder: FrameDecoder | None = None
        if config.latents.kind == "queries":
            self.latents = LearnedQueries(config.latents, width, config.frozen_side, config.views)
        if config.inverse.horizon:
            self.inverse = InverseModel(config.inverse, width, rows * columns, sizes)
        if config.decoder.image_size:
            self.decoder = FrameDecoder(config.decoder, width, config.grid)
        self.encoder.requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.action_low.device

    @property
    def feature_dim(self) -> int:
        """Width of the features, D."""
        return self.predictor.predictor_embed.in_features

    @property
    def embodiment(self) -> str:
        """The name of the robot whose states and actions are given; the first one until another is selected."""
        return self.predictor.embodiment

    def select(self, name: str) -> None:
        """Choose the robot whose states and actions are given from now on.

        Raises:
            ConfigError: If this model knows none of this name.
        """
        self.predictor.select(name)

    @property
    def action_low(self) -> Tensor:
        """The selected robot's lowest action, `[A]`."""
        return self.predictor.selected.action_low

    @property
    def action_high(self) -> Tensor:
        """The selected robot's highest action, `[A]`."""
        return self.predictor.selected.action_high

    def trained(self) -> nn.ModuleDict:
        """Return what is trained, by name: predictor, and latents, inverse and decoder where there are any."""
        parts = {name: getattr(self, name) for name in ("predictor", "latents", "inverse", "decoder")}
        return nn.ModuleDict({name: part for name, part in parts.items() if part is not None})

    @torch.no_grad()
    def frozen_features(self, frames: Tensor) -> Tensor:
        """Encode each picture alone: `[M, C, H, V*W]` uint8 to `[M, N0, D]`, LayerNormed, and pooled if so configured.

        Views stand side by side, in pixels as in tokens. Each is resized to the encoder's size by itself.

        Raises:
            ConfigError: If a frame's width does not divide into the model's views.

        Source: V-JEPA 2-AC encodes a frame as an image, repeated over a tubelet.
        """
        config = self.config
        if frames.shape[-1] % config.views:
            raise ConfigError(
                f"frames {frames.shape[-1]} pixels wide do not divide into {config.views} views; set the cameras' "
                "pictures, all of one size, side by side."
            )
        pictures = frames.unflatten(-1, (config.views, -1)).movedim(-2, 1).flatten(0, 1)
        return join_views(self.view_features(pictures), config.views, config.frozen_side)

    @torch.no_grad()
    def view_features(self, pictures: Tensor) -> Tensor:
        """Encode pictures of one view each: `[M, C, H, W]` uint8 to `[M, n, D]`; see :meth:`frozen_features`."""
        pictures = resize_frames(pictures.to(self.device), self.config.encoder.image_size)
        features = self.encoder(normalize_video(pictures).unsqueeze(1))
        if self.config.encoder_kind == "vjepa":
            features = F.layer_norm(features, features.shape[-1:])
        return pool_tokens(features, self.config.frozen_side)

    def compact(self, frozen: Tensor) -> Tensor:
        """Return frozen features `[M, N0, D]` as the predictor takes them, `[M, N, D]`: gathered by learned queries."""
        if self.latents is None:
            return frozen
        tokens: Tensor = self.latents(frozen)
        return tokens

    @torch.no_grad()
    def encode_frames(self, frames: Tensor) -> Tensor:
        """Encode each frame alone: `[M, C, H, V*W]` uint8 to `[M, N, D]`, as the predictor takes them."""
        return self.compact(self.frozen_features(frames))

    @torch.no_grad()
    def encode(self, frames: Tensor, states: Tensor | None, extrinsics: Tensor | None = None) -> Context:
        """Encode what is seen: `frames [B, T, C, H, V*W]` uint8, `states [B, T, S]`, cameras' `extrinsics [B, T, X]`.

        Raises:
            CheckpointError: If the state size is not the one this model was trained with.
            ConfigError: If extrinsics are needed and missing, not used, or of another size.
        """
        robot = self.predictor.selected.config
        if states is None or states.shape[-1] != robot.state_dim:
            got = "none" if states is None else str(states.shape[-1])
            raise CheckpointError(
                f"this model's embodiment '{robot.name}' (actions of size {robot.action_dim}) was trained with states "
                f"of size {robot.state_dim}, got {got}; give the robot's state in the training data's order, select "
                "another embodiment, or fine-tune on data of this robot."
            )
        self.predictor.check_extrinsics(extrinsics)
        features = self.encode_frames(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        cameras = None if extrinsics is None else extrinsics.to(self.device).float()
        return Context(features.float(), states.to(self.device).float(), cameras)

    @torch.no_grad()
    def encode_goal(self, frames: Tensor) -> Tensor:
        """Encode goal images: `[B, C, H, V*W]` uint8 to `[B, N, D]`."""
        return self.encode_frames(frames).float()

    @torch.no_grad()
    def rollout(self, context: Context, actions: Tensor) -> Tensor:
        """Imagine where actions lead from the last frame of the context.

        The state follows from the actions where a rule says so (:func:`advance_state`), or is predicted too.

        Args:
            context: B problems. Only the last frame is used; its camera stays where it is.
            actions: `[B, S, K, A]`.

        Returns:
            Imagined features after each action, `[B, S, K, N, D]`.

        Raises:
            ConfigError: If several steps are asked for, no rule says how an action changes the state, and the predictor
                predicts no states.
        """
        batch, samples, horizon, _ = actions.shape
        flat = actions.flatten(0, 1)
        seen = self.config.predictor.context_frames or horizon
        features = context.features[:, -1:].repeat_interleave(samples, dim=0)
        states = context.states[:, -1:].repeat_interleave(samples, dim=0)
        camera = context.extrinsics
        if camera is not None:
            camera = camera[:, -1:].repeat_interleave(samples, dim=0).expand(-1, horizon, -1)
        for step in range(horizon):
            past = slice(max(step + 1 - seen, 0), step + 1)
            cameras = None if camera is None else camera[:, past]
            newest, following = self._imagined(features[:, past], flat[:, past], states[:, past], cameras)
            features = torch.cat([features, newest], dim=1)
            if step + 1 < horizon:
                if following is None:
                    wrap = self.config.predictor.wrap_angles
                    following = advance_state(states[:, -1:], flat[:, step : step + 1], wrap=wrap)
                states = torch.cat([states, following], dim=1)
        return features[:, 1:].unflatten(0, (batch, samples))

    def _imagined(
        self, features: Tensor, actions: Tensor, states: Tensor, extrinsics: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the features `[B, 1, N, D]` after the newest step, and the state where no rule gives it."""
        given = features.flatten(1, 2), actions, states, extrinsics
        following = None
        if self.config.predictor.predict_state and not has_rule(states.shape[-1], actions.shape[-1]):
            predicted, after = self.predictor.forward_with_state(*given)
            following = after[:, -1:]
        else:
            predicted = self.predictor(*given)
        newest = predicted.unflatten(1, (actions.shape[1], -1))[:, -1:]
        return self.predictor.comparable(newest), following

    @torch.no_grad()
    def propose(self, context: Context, goal: Tensor, horizon: int) -> Tensor:
        """Propose actions that lead from the last frame of the context to goals, as the inverse model sees it.

        Args:
            context: B problems.
            goal: From :meth:`encode_goal`, `[B, N, D]`.
            horizon: K. The inverse model proposes as many actions as it was trained for; further ones are zero, or as
                near as the bounds allow.

        Returns:
            `[B, K, A]`, in the data's units and within the bounds.

        Raises:
            ConfigError: If there is no inverse model.
        """
        if self.inverse is None:
            raise ConfigError(
                "this model has no inverse model; fine-tune one with inverse.horizon of 1 or more."
            )
        robot = self.predictor.selected
        robot.check(None, context.states)
        known = min(horizon, self.config.inverse.horizon)
        steps = torch.full((len(goal),), known, device=goal.device)
        state = robot.standard_states(context.states[:, -1])
        proposed = self.inverse(context.features[:, -1], goal, state, steps, self.embodiment)[:, :known]
        actions = proposed * robot.action_std + robot.action_mean
        actions = F.pad(actions, (0, 0, 0, horizon - known))
        return actions.clamp(robot.action_low, robot.action_high)

    @torch.no_grad()
    def picture(self, features: Tensor) -> Tensor:
        """Return small pictures of features, to look at: `[..., N, D]` to uint8 `[..., 3, s, s*V]`.

        Raises:
            ConfigError: If there is no decoder.
        """
        if self.decoder is None:
            raise ConfigError("this model has no decoder; fine-tune one with decoder.image_size of 64, say.")
        pictures = self.decoder(features.reshape(-1, *features.shape[-2:]))
        return (pictures * 255).round().to(torch.uint8).reshape(*features.shape[:-2], *pictures.shape[1:])


def has_rule(state_dim: int, action_dim: int) -> bool:
    """Return whether :func:`advance_state` knows how such an action changes such a state."""
    return state_dim == action_dim


def advance_state(state: Tensor, action: Tensor, *, wrap: bool = False) -> Tensor:
    """Return the state that an action leads to: pose composition for 7 and 7, addition for other equal sizes.

    Args:
        state: `[..., S]`.
        action: `[..., A]`.
        wrap: Keep the angles of poses in [-pi, pi].

    Raises:
        ConfigError: If the sizes differ, since then only the data knows how an action changes the state.
    """
    if state.shape[-1] == POSE_SIZE and action.shape[-1] == POSE_SIZE:
        return apply_action(state, action, wrap=wrap)
    if has_rule(state.shape[-1], action.shape[-1]):
        return state + action
    raise ConfigError(
        f"states of size {state.shape[-1]} cannot be advanced by actions of size {action.shape[-1]}; "
        "imagining several steps needs equal sizes (or poses and pose deltas of size 7), or a predictor that predicts "
        "states: fine-tune one with predictor.predict_state=true."
    )
