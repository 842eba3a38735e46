"""The inverse model: shapes, which weights learn, and that it finds the action that moved a scene."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vjepa_world.errors import ConfigError
from vjepa_world.models.config import InverseConfig
from vjepa_world.models.inverse_model import InverseModel

SMALL = InverseConfig(horizon=2, embed_dim=32, depth=2, num_heads=2)
EMBODIMENTS = {"arm": (7, 6), "cart": (2, 3)}
SIDE = 4


def small_model(config: InverseConfig = SMALL) -> InverseModel:
    torch.manual_seed(0)
    return InverseModel(config, 12, SIDE * SIDE, EMBODIMENTS)


def features(batch: int, seed: int) -> Tensor:
    return torch.randn(batch, SIDE * SIDE, 12, generator=torch.Generator().manual_seed(seed))


def scene(position: Tensor) -> Tensor:
    """Features `[B, 16, 12]` of a blob at `position [B, 2]` on the grid, mixed over the width by a fixed matrix."""
    cells = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).float()
    away = position.unsqueeze(1) - cells  # B N 2
    weight = torch.exp(-away.square().sum(dim=-1, keepdim=True) / 2)
    mix = torch.randn(3, 12, generator=torch.Generator().manual_seed(9))
    return torch.cat([weight, weight * away], dim=-1) @ mix


def moves(batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return start `[B, 2]`, the actions of two steps `[B, 2, 2]` (same each step) and how many are taken `[B]`."""
    start = 1 + torch.rand(batch, 2, generator=generator)
    action = (torch.rand(batch, 2, generator=generator) - 0.5).unsqueeze(1).expand(-1, 2, -1)
    return start, action, torch.randint(1, 3, (batch,), generator=generator)


@pytest.mark.parametrize("name", list(EMBODIMENTS))
def test_each_embodiment_has_actions_of_its_own_size(name: str) -> None:
    actions, states = EMBODIMENTS[name]
    out = small_model()(features(3, 0), features(3, 1), torch.zeros(3, states), torch.tensor([1, 2, 1]), name)
    assert out.shape == (3, 2, actions)


def test_an_entry_does_not_depend_on_the_batch() -> None:
    model = small_model().eval()
    now, then, state, steps = features(3, 0), features(3, 1), torch.randn(3, 3), torch.tensor([1, 2, 1])
    together = model(now, then, state, steps, "cart")
    alone = model(now[1:2], then[1:2], state[1:2], steps[1:2], "cart")
    torch.testing.assert_close(together[1:2], alone)


def test_order_of_frames_steps_and_state_matter() -> None:
    model = small_model().eval()
    now, then, state, steps = features(3, 0), features(3, 1), torch.randn(3, 3), torch.tensor([1, 1, 1])
    out = model(now, then, state, steps, "cart")
    for changed in ((then, now, state, steps), (now, then, state + 1, steps), (now, then, state, steps + 1)):
        assert (model(*changed, "cart") - out).abs().max() > 1e-4


def test_tokens_have_positions() -> None:
    """The same patches at other positions are another scene."""
    model = small_model().eval()
    now, then, state, steps = features(2, 0), features(2, 1), torch.randn(2, 3), torch.tensor([1, 1])
    out, moved = model(now, then, state, steps, "cart"), model(now, then.flip(1), state, steps, "cart")
    assert (moved - out).abs().max() > 1e-4


def test_only_the_head_of_the_named_embodiment_learns() -> None:
    model = small_model()
    model(features(3, 0), features(3, 1), torch.ones(3, 3), torch.tensor([1, 2, 1]), "cart").sum().backward()
    assert all(p.grad is None for p in model.heads["arm"].parameters())
    rest = {name: p.grad for name, p in model.named_parameters() if not name.startswith("heads.arm")}
    assert all(grad is not None and grad.abs().sum() > 0 for grad in rest.values())


def test_it_finds_the_action_that_moved_a_scene() -> None:
    """Held out: less than a tenth of the actions' variance is unexplained, with one step or two."""
    model, generator = small_model(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def proposed(batch: int) -> tuple[Tensor, Tensor, Tensor]:
        start, action, steps = moves(batch, generator)
        end = start + action[:, 0] * steps.unsqueeze(1)
        state = torch.cat([start, torch.ones(batch, 1)], dim=1)
        return model(scene(start), scene(end), state, steps, "cart"), action, steps

    for _ in range(200):
        guess, action, _ = proposed(64)
        loss = (guess - action).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        guess, action, steps = proposed(512)
    for count in (1, 2):
        chosen = steps == count
        left = (guess - action)[chosen].square().mean() / action[chosen].square().mean()
        assert left < 0.1


def test_it_is_small_at_the_default_sizes() -> None:
    model = InverseModel(InverseConfig(), 192, 16, {"default": (7, 7)})
    assert sum(p.numel() for p in model.parameters()) < 600_000


def test_mismatched_inputs_are_refused() -> None:
    model, frame, state, steps = small_model(), features(2, 0), torch.zeros(2, 3), torch.tensor([1, 2])
    with pytest.raises(ConfigError, match=r"embodiment 'kart' has no inverse model; did you mean 'cart'\?"):
        model(frame, frame, state, steps, "kart")
    with pytest.raises(
        ConfigError, match=r"got features of shape \[2, 9, 12\] for an inverse model of \[B, 16, 12\]"
    ):
        model(frame, frame[:, :9], state, steps, "cart")
    with pytest.raises(ConfigError, match=r"got states of size 3 for an inverse model of size 6"):
        model(frame, frame, state, steps, "arm")
    for wrong in (0, 3):
        with pytest.raises(ConfigError, match="for an inverse model of horizon 2; allowed: 1 to 2"):
            model(frame, frame, state, torch.tensor([1, wrong]), "cart")


def test_without_a_horizon_or_an_embodiment_there_is_no_inverse_model() -> None:
    with pytest.raises(ConfigError, match=r"horizon 0 for 2 embodiments cannot be built.*or build none"):
        InverseModel(InverseConfig(horizon=0), 12, 16, EMBODIMENTS)
    with pytest.raises(ConfigError, match="for 0 embodiments cannot be built"):
        InverseModel(SMALL, 12, 16, {})
