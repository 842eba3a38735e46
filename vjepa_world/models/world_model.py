"""A frozen encoder and an action-conditioned predictor as one model that a planner can imagine with.

Legend: B problems, T frames, C channels, H W pixels, V views, N0 tokens a frame as frozen, N as the predictor sees
them, D width, S samples, K horizon, A action size, X extrinsics size.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.config import EmbodimentConfig, WorldModelConfig
from vjepa_world.models.decoder import FrameDecoder
from vjepa_world.models.encoder import PixelEncoder, VideoEncoder
from vjepa_world.models.imagination import Imagination
from vjepa_world.models.inverse import InverseModel
from vjepa_world.models.latents import LearnedQueries, join_views, pool_tokens
from vjepa_world.models.rollout import Context, Imagined, advance_state, imagine_each, imagine_with_gradient
from vjepa_world.ops.pixels import normalize_video, resize_frames

__all__ = ["Context", "LatentWorldModel", "advance_state"]


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
        self._imagination = Imagination(self.predictor, torch.float32)

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

    @property
    def robot(self) -> EmbodimentConfig:
        """What the selected robot's numbers are."""
        return self.predictor.selected.config

    @property
    def action_type(self) -> Literal["delta", "absolute"] | None:
        """Whether the selected robot's actions are changes or targets; None where its data does not say."""
        types: dict[str, Literal["delta", "absolute"]] = {"delta": "delta", "target": "absolute"}
        return types.get(self.robot.action_meaning)

    @property
    def action_step(self) -> Tensor | None:
        """Largest change from one target to the next, `[A]`; None where the robot has no such limit.

        Changes have none: they are limited by their bounds.
        """
        steps = self.robot.action_step if self.action_type == "absolute" else ()
        return self.action_low.new_tensor(steps) if steps else None

    def hold_action(self, context: Context) -> Tensor | None:
        """Return the actions that leave the robots of a context where they are, `[B, A]`: zeros, or their joints.

        None where nobody says what an action is, or a state does not tell the targets.
        """
        low = self.action_low
        if self.action_type == "delta":
            return low.new_zeros(len(context.states), len(low))
        if self.action_type == "absolute" and self.robot.state_dim == self.robot.action_dim:
            return context.states[:, -1].to(low)
        return None

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
    def encode(
        self,
        frames: Tensor,
        states: Tensor | None,
        extrinsics: Tensor | None = None,
        actions: Tensor | None = None,
    ) -> Context:
        """Encode what is seen.

        Args:
            frames: `[B, T, C, H, V*W]` uint8.
            states: `[B, T, S]`.
            extrinsics: Cameras', `[B, T, X]`.
            actions: What was done between the frames, `[B, T-1, A]`; without them it is derived from the states where a
                predictor needs it.

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
        cameras, done = (
            None if part is None else part.to(self.device).float() for part in (extrinsics, actions)
        )
        return Context(features.float(), states.to(self.device).float(), cameras, done)

    @torch.no_grad()
    def encode_goal(self, frames: Tensor) -> Tensor:
        """Encode goal images: `[B, C, H, V*W]` uint8 to `[B, N, D]`."""
        return self.encode_frames(frames).float()

    def prepare(self, dtype: torch.dtype, *, compiled: bool = False) -> Self:
        """Choose how rollouts are computed from now on, and return this model.

        Args:
            dtype: float32, which is where a model begins, or bfloat16: predictions are then near the float32 ones, and
                energies are still summed in float32.
            compiled: Whether the predictor's blocks go through `torch.compile`, once for each number of samples and
                step, on a GPU as CUDA graphs. It takes seconds each time, and on a processor a C++ compiler, where it
                gained nothing over the packed weights that are used without it (`vjepa-world bench planner`).
        """
        self._imagination = Imagination(self.predictor, dtype, compiled=compiled)
        return self

    def rollout(self, context: Context, actions: Tensor) -> Tensor:
        """Imagine where actions lead from the last frame of the context.

        The past is remembered, not computed again, and shared by all samples; the state follows from the actions where
        a rule says so (:func:`advance_state`), or is predicted too. Problems are imagined one after another, so what
        is imagined of one does not depend on the others. The graph is kept where `actions` require a gradient.

        Args:
            context: B problems. A predictor with `context_frames=1` sees the last frame alone. The camera stays where
                it is in the last one.
            actions: `[B, S, K, A]`.

        Returns:
            Imagined features after each action, `[B, S, K, N, D]`.

        Raises:
            ConfigError: If several steps are asked for, no rule says how an action changes the state, and the predictor
                predicts no states; or as :meth:`Context.frames` does.
        """
        self._check_problems(context, actions)
        return torch.stack([self._rolled_out(context, b, part)[0] for b, part in enumerate(actions)])

    def rollout_with_states(self, context: Context, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Imagine features `[B, S, K, N, D]` and states `[B, S, K, P]` after each action; otherwise as `rollout`."""
        self._check_problems(context, actions)
        found = [self._rolled_out(context, b, part, states=True) for b, part in enumerate(actions)]
        features, states = zip(*found, strict=True)
        return torch.stack(features), torch.stack(states)

    @torch.no_grad()
    def imagine_each(self, context: Context, actions: Tensor) -> Tensor:
        """Imagine one sequence for each problem, all problems in one batch: `[B, K, A]` to `[B, K, N, D]`.

        For evaluations on many windows: quicker there than :meth:`rollout`, from the last frame alone, and not equal to
        the last bit whatever the batch is.
        """
        self.predictor.selected.check(actions, context.states)
        return imagine_each(self._imagination.predictor, context, actions)

    def samples_at_once(self, context: Context, horizon: int) -> int:
        """Return how many samples of a problem are imagined best in one call: by caches, or a GPU's memory."""
        return self._imagination.samples_at_once(context, horizon)

    @staticmethod
    def _check_problems(context: Context, actions: Tensor) -> None:
        if actions.ndim != 4 or len(actions) != len(context.features) or not actions.shape[2]:
            raise ConfigError(
                f"actions of shape {list(actions.shape)} came with a context of {len(context.features)} problems; give "
                "[B, S, K, A]: S sequences of at least one action for each problem."
            )

    def _rolled_out(
        self, context: Context, problem: int, actions: Tensor, *, states: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Return features `[S, K, N, D]` and, where asked for, states `[S, K, P]` of one problem's `[S, K, A]`."""
        self.predictor.selected.check(actions, context.states)
        steps: Iterable[Imagined]
        if actions.requires_grad and torch.is_grad_enabled():
            steps = imagine_with_gradient(self.predictor, context, problem, actions, states=states)
        else:
            steps = self._imagination(context, problem, actions, states=states)
        features, following = zip(*steps, strict=True)
        return torch.stack(features, dim=1), torch.stack(following, dim=1) if states else None

    @torch.no_grad()
    def propose(self, context: Context, goal: Tensor, horizon: int) -> Tensor:
        """Propose actions that lead from the last frame of the context to goals, as the inverse model sees it.

        Args:
            context: B problems.
            goal: From :meth:`encode_goal`, `[B, N, D]`.
            horizon: K. The inverse model proposes as many actions as it was trained for; further ones are zero (of
                targets the last one), or as near as the bounds allow.

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
        if self.action_type == "absolute":
            rest = actions[:, -1:].expand(-1, horizon - known, -1)  # it stays where the last target is
        else:
            rest = actions.new_zeros(len(actions), horizon - known, actions.shape[2])
        actions = torch.cat([actions, rest], dim=1)
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
