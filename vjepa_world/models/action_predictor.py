"""The action-conditioned predictor: from the features of frames and the actions taken there to the next features.

Legend: B batch, T frames, N patch tokens per frame, D feature width, A action size, S state size, X extrinsics size;
M tokens per step: `[action, state, (extrinsics), patches]`, or with AdaLN the patches alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.errors import ConfigError, nearest
from vjepa_world.models.config import ActionPredictorConfig, EmbodimentConfig
from vjepa_world.models.embodiment import Embodiment, build_embodiments
from vjepa_world.models.transformer import (
    NORM_EPS,
    AdaLNBlock,
    Block,
    KeyValues,
    build_blocks,
    init_weights,
    run_block,
)
from vjepa_world.ops.rope import RotaryTable, grid_positions, rotary_table


class StepCache:
    """A predictor's KV cache: keys and values `[B, h, N, d]` of each layer, and the number of steps."""

    def __init__(self, layers: list[KeyValues], steps: int) -> None:
        self.layers, self.steps = layers, steps

    def repeat(self, samples: int) -> StepCache:
        """Return the cache of B problems as that of `samples` samples of each, which are next to each other."""
        return StepCache([layer.repeat(samples) for layer in self.layers], self.steps)


class _Steps(NamedTuple):
    """A predictor's input: `features [B, T, N, D]`, `actions [B, T, A]`, `states [B, T, S]`, `extrinsics [B, T, X]`."""

    features: Tensor
    actions: Tensor
    states: Tensor
    extrinsics: Tensor | None


class ActionPredictor(nn.Module):
    """A frame-causal transformer over the tokens of each step.

    Several robots share it. The maps, statistics and bounds of one robot's actions and states are an
    :class:`Embodiment`. Actions, states and extrinsics come in as tokens of each step, or modulate every block's
    LayerNorms (`config.condition`).

    Attributes:
        embodiments: The robots by name.
        recompute: Set it to trade time for memory in training.

    Args:
        config: Sizes and kinds.
        feature_dim: D.
        grid: Rows and columns of a frame's patch tokens.
        embodiments: The robots; the first is the default.

    Source: V-JEPA 2-AC (arXiv:2506.09985, section 3); AdaLN as in LeWM (arXiv:2603.19312). The residual, the
    standardisation and the predicted states are additions.
    """

    def __init__(
        self,
        config: ActionPredictorConfig,
        feature_dim: int,
        grid: tuple[int, int],
        embodiments: Sequence[EmbodimentConfig],
    ) -> None:
        super().__init__()
        self.config, self.grid = config, grid
        self.recompute = False
        dim = config.embed_dim
        self.predictor_embed = nn.Linear(feature_dim, dim)
        self.embodiments = build_embodiments(embodiments, dim, predict_state=config.predict_state)
        if config.extrinsics_dim:
            self.extrinsics_encoder = nn.Linear(config.extrinsics_dim, dim)
        kind = AdaLNBlock if config.condition == "adaln" else Block
        self.predictor_blocks = build_blocks(config.depth, dim, config.num_heads, config.mlp_ratio, kind=kind)
        self.predictor_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.predictor_proj = nn.Linear(dim, feature_dim)
        self._init_weights()

    def _init_weights(self) -> None:
        init_weights(self, self.predictor_blocks)
        for module in (*self.embodiments.values(), *self.predictor_blocks):
            if isinstance(module, Embodiment):
                module.init_weights()
            elif isinstance(module, AdaLNBlock):
                module.zero_modulation()
        if self.config.residual:
            nn.init.zeros_(self.predictor_proj.weight)

    @property
    def condition_tokens(self) -> int:
        """Number of a step's tokens that come before its patches."""
        if self.config.condition == "adaln":
            return 0
        return 3 if self.config.use_extrinsics else 2

    def robot(self, name: str | None = None) -> Embodiment:
        """Return the embodiment of a name, or the first one for None.

        Raises:
            ConfigError: If there is none of this name.
        """
        if name is not None and name not in self.embodiments:
            raise ConfigError(
                f"embodiment '{name}' is not known; {nearest(str(name), tuple(self.embodiments))}"
            )
        chosen = self.embodiments[next(iter(self.embodiments)) if name is None else name]
        assert isinstance(chosen, Embodiment)
        return chosen

    def forward(
        self,
        features: Tensor,
        actions: Tensor,
        states: Tensor,
        extrinsics: Tensor | None = None,
        *,
        embodiment: str | None = None,
    ) -> Tensor:
        """Predict each next frame's features from all frames up to it.

        Args:
            features: `[B, T*N, D]`.
            actions: Taken at each frame, `[B, T, A]`, in the data's units.
            states: Measured at each frame, `[B, T, S]`, in the data's units.
            extrinsics: Of the camera at each frame, `[B, T, X]`; needed with `config.use_extrinsics`.
            embodiment: Name of the robot whose actions and states these are; None for the first.

        Returns:
            `[B, T*N, D]`: entry t is the prediction of frame t + 1.

        Raises:
            ConfigError: If extrinsics are needed and missing, or given and not used, or a size is not the
                embodiment's.
        """
        x = self._run(features, actions, states, extrinsics, self.robot(embodiment))
        return self._predicted(features, x)

    def forward_with_state(
        self,
        features: Tensor,
        actions: Tensor,
        states: Tensor,
        extrinsics: Tensor | None = None,
        *,
        embodiment: str | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict each next frame's features and state; arguments as in :meth:`forward`.

        Returns:
            Features as :meth:`forward` gives them, and states `[B, T, S]` in the data's units: entry t is the
            prediction of frame t + 1.

        Raises:
            ConfigError: As :meth:`forward`, and if this predictor predicts no states.
        """
        robot = self.robot(embodiment)
        x = self._run(features, actions, states, extrinsics, robot)
        return self._predicted(features, x), self._next_states(states, actions, x, robot)

    def step(
        self,
        features: Tensor,
        action: Tensor,
        state: Tensor,
        extrinsics: Tensor | None = None,
        cache: StepCache | None = None,
        *,
        embodiment: str | None = None,
    ) -> tuple[Tensor, StepCache]:
        """Predict the frame after the newest one; earlier frames are read from the cache.

        Args:
            features: Of the newest frame, `[B, N, D]`.
            action: Taken there, `[B, A]`.
            state: Measured there, `[B, S]`.
            extrinsics: `[B, X]` or None.
            cache: The cache that the step before returned; None for the first step.
            embodiment: Name of the robot whose action and state these are; None for the first.

        Returns:
            `[B, N, D]`, as :meth:`forward` returns for this frame, and the cache for the next step; the given one stays
            valid.
        """
        robot = self.robot(embodiment)
        x, cache = self._run_step(_Steps(features, action, state, extrinsics), cache, robot)
        return self._predicted(features, x), cache

    def step_with_state(
        self,
        features: Tensor,
        action: Tensor,
        state: Tensor,
        extrinsics: Tensor | None = None,
        cache: StepCache | None = None,
        *,
        embodiment: str | None = None,
    ) -> tuple[Tensor, Tensor, StepCache]:
        """Predict the features `[B, N, D]` and state `[B, S]` after the newest frame; otherwise as :meth:`step`.

        Raises:
            ConfigError: If this predictor predicts no states.
        """
        robot = self.robot(embodiment)
        x, cache = self._run_step(_Steps(features, action, state, extrinsics), cache, robot)
        following = self._next_states(state.unsqueeze(1), action.unsqueeze(1), x, robot).squeeze(1)
        return self._predicted(features, x), following, cache

    def _run(
        self,
        features: Tensor,
        actions: Tensor,
        states: Tensor,
        extrinsics: Tensor | None,
        robot: Embodiment,
    ) -> Tensor:
        """Return the transformed tokens by step, `[B, T, M, width]`."""
        batch, frames = actions.shape[:2]
        given = _Steps(features.unflatten(1, (frames, -1)), actions, states, extrinsics)
        if self.config.context_frames == 1:  # steps that do not attend to each other are a batch
            given, frames = _as_single_steps(given), 1
        tokens, condition = self._tokens(given, robot)
        x, rotary = tokens.flatten(1, 2), self.rotary_table(0, frames, tokens.device)
        for block in self.predictor_blocks:
            x = run_block(block, x, rotary, frames, *condition, recompute=self.recompute)
        return x.unflatten(1, (frames, -1)).reshape(batch, actions.shape[1], *tokens.shape[2:])

    def _run_step(
        self, newest: _Steps, cache: StepCache | None, robot: Embodiment
    ) -> tuple[Tensor, StepCache]:
        """Return the newest step's transformed tokens, `[B, 1, M, width]`, and the cache with this step.

        Args:
            newest: The step, its tensors without an axis of time.
            cache: Of the steps before.
            robot: Whose numbers these are.
        """
        count = cache.steps if cache is not None and self.config.context_frames != 1 else 0
        features, action, state = (part.unsqueeze(1) for part in newest[:3])
        camera = None if newest.extrinsics is None else newest.extrinsics.unsqueeze(1)
        tokens, condition = self._tokens(_Steps(features, action, state, camera), robot)
        x, rotary = tokens.squeeze(1), self.rotary_table(count, 1, tokens.device)
        layers = []
        for index, block in enumerate(self.predictor_blocks):
            assert isinstance(block, Block | AdaLNBlock)
            past = cache.layers[index] if cache is not None and count else None
            x, cached = block.step(x, rotary, past, *condition)
            layers.append(cached)
        return x.unsqueeze(1), StepCache(layers, count + 1)

    def _tokens(self, given: _Steps, robot: Embodiment) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the embedded tokens by step, `[B, T, M, width]`, and the AdaLN condition, `[B, T, width]`, if any."""
        features = given.features.to(self.predictor_embed.weight.dtype)
        patches = self.predictor_embed(features.flatten(1, 2)).unflatten(1, features.shape[1:3])
        conditions = robot.embed(given.actions, given.states)
        self.check_extrinsics(given.extrinsics)
        if given.extrinsics is not None:
            conditions.append(self.extrinsics_encoder(given.extrinsics.to(features)))
        if self.config.condition == "adaln":
            return patches, (torch.stack(conditions).sum(dim=0),)
        return torch.cat([torch.stack(conditions, dim=2), patches], dim=2), ()

    def check_extrinsics(self, extrinsics: Tensor | None) -> None:
        """Check camera extrinsics `[..., X]`.

        Raises:
            ConfigError: If they are needed and missing, given and not used, or of another size.
        """
        if (extrinsics is not None) != self.config.use_extrinsics:
            need = "needs the camera's extrinsics" if extrinsics is None else "takes no extrinsics"
            raise ConfigError(f"this predictor {need}: use_extrinsics is {self.config.use_extrinsics}.")
        if extrinsics is not None and extrinsics.shape[-1] != self.config.extrinsics_dim:
            raise ConfigError(
                f"this predictor takes extrinsics of size {self.config.extrinsics_dim}, got "
                f"{extrinsics.shape[-1]}; give the camera's pose as in its training data."
            )

    def rotary_table(self, first: int, steps: int, device: torch.device | None) -> RotaryTable:
        """Return the rotary table of the tokens of `steps` steps, the first of them at time `first`: `[steps*M, d]`.

        Patches are embedded by time, row and column; condition tokens by time alone: their row and column are 0.
        """
        patches = grid_positions(steps, *self.grid, device).unflatten(0, (steps, -1))
        conditions = patches[:, :1].expand(-1, self.condition_tokens, -1)  # the patch at row 0, column 0
        positions = torch.cat([conditions, patches], dim=1).flatten(0, 1)
        positions = positions + positions.new_tensor([first, 0, 0])
        head_dim = self.config.embed_dim // self.config.num_heads
        return rotary_table(positions, head_dim, self.config.positions)

    def normalize_prediction(self, predicted: Tensor) -> Tensor:
        """Return a prediction `[..., D]` as losses and the next step take it: LayerNormed with `config.normalize`."""
        return F.layer_norm(predicted, predicted.shape[-1:]) if self.config.normalize else predicted

    def _predicted(self, features: Tensor, x: Tensor) -> Tensor:
        """Map transformed tokens `[B, T, M, width]` to predictions of the shape of `features`."""
        patches = x[:, :, self.condition_tokens :].flatten(1, 2)
        change: Tensor = self.predictor_proj(self.predictor_norm(patches))
        return features + change if self.config.residual else change

    def _next_states(self, states: Tensor, actions: Tensor, x: Tensor, robot: Embodiment) -> Tensor:
        """Return predicted states `[B, T, S]` after `actions [B, T, A]`, from transformed tokens `x [B, T, M, width]`.

        Raises:
            ConfigError: If this predictor predicts no states.
        """
        self.check_predicts_states()
        token = self.state_token(self.predictor_norm(x))
        return robot.next_states(states, actions, token, wrap=self.config.wrap_angles)

    def state_token(self, normal: Tensor) -> Tensor:
        """Return the token that the next state is read from, `[B, T, width]`: the state's, or with AdaLN the mean.

        Args:
            normal: Normalised tokens `[B, T, M, width]`.
        """
        return normal.mean(dim=2) if self.config.condition == "adaln" else normal[:, :, 1]

    def check_predicts_states(self) -> None:
        """Check that this predictor predicts states.

        Raises:
            ConfigError: If it has no head for them.
        """
        if not self.config.predict_state:
            raise ConfigError(
                "this predictor predicts no states; fine-tune one with predictor.predict_state=true."
            )


def _as_single_steps(given: _Steps) -> _Steps:
    """Return T steps of a batch of B as one step of a batch of B*T."""
    extrinsics = None if given.extrinsics is None else given.extrinsics.flatten(0, 1).unsqueeze(1)
    features, actions, states = (part.flatten(0, 1).unsqueeze(1) for part in given[:3])
    return _Steps(features, actions, states, extrinsics)
