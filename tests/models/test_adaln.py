"""AdaLN: blocks that are initialised as the identity, and a predictor whose tokens are the patches alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.models import reference
from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.config import ActionPredictorConfig, EmbodimentConfig
from vjepa_world.models.transformer import AdaLNBlock

T, SIDE, D, WIDTH = 3, 2, 10, 24
N = SIDE * SIDE


def predictor(seed: int | None = 0, **changes: object) -> ActionPredictor:
    words = {"embed_dim": WIDTH, "depth": 2, "num_heads": 2, "condition": "adaln", "context_frames": 0}
    config = ActionPredictorConfig(**{**words, **changes})  # type: ignore[arg-type]
    made = ActionPredictor(config, D, (SIDE, SIDE), [EmbodimentConfig()])
    if seed is not None:
        reference.randomise(made, seed)
    return made.requires_grad_(False)


def inputs(seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = ((2, T * N, D), (2, T, 7), (2, T, 7))
    features, actions, states = (torch.randn(*size, generator=generator) for size in sizes)
    return features, actions, states


def plain_norm(x: Tensor) -> Tensor:
    centred = x - x.mean()
    return centred / math.sqrt(float((centred**2).mean()) + 1e-6)


def test_a_block_is_the_equation_token_by_token() -> None:
    block = AdaLNBlock(WIDTH, 2, 2.0).double()
    reference.randomise(block, seed=3)
    weights = reference.float64_weights(block)
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(T * N, WIDTH, generator=generator, dtype=torch.float64)
    condition = torch.randn(T, WIDTH, generator=generator, dtype=torch.float64)
    steps = [i // N for i in range(T * N)]

    def parts(i: int) -> tuple[Tensor, ...]:
        c = condition[steps[i]]
        return reference.linear(c / (1 + torch.exp(-c)), weights, "modulation").view(6, WIDTH).unbind()

    normal = [plain_norm(x[i]) * (1 + parts(i)[1]) + parts(i)[0] for i in range(T * N)]
    attended = reference.attention(
        normal, weights, "attn", 2, [(0.0, 0.0, 0.0)] * (T * N), lambda i, j: steps[j] <= steps[i], "tiled"
    )
    middle = [x[i] + parts(i)[2] * attended[i] for i in range(T * N)]
    expected = []
    for i in range(T * N):
        hidden = reference.gelu(
            reference.linear(plain_norm(middle[i]) * (1 + parts(i)[4]) + parts(i)[3], weights, "mlp.fc1")
        )
        expected.append(middle[i] + parts(i)[5] * reference.linear(hidden, weights, "mlp.fc2"))
    found = block(x[None], None, T, condition[None])[0]
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-9, rtol=1e-9)


def test_a_block_is_initialised_as_the_identity() -> None:
    torch.manual_seed(0)
    block, x = AdaLNBlock(WIDTH, 2, 2.0), torch.randn(2, T * N, WIDTH)
    assert torch.equal(block(x, None, T, torch.randn(2, T, WIDTH)), x)


@pytest.mark.parametrize("residual", [True, False])
def test_an_untrained_predictor_ignores_actions(residual: bool) -> None:
    """With the residual it copies the last frame; without, it is a map of each token alone."""
    model, given = predictor(seed=None, residual=residual), inputs()
    predicted = model(*given)
    assert torch.equal(predicted, model(given[0], given[1] + 1, given[2] - 2))
    if residual:
        assert torch.equal(predicted, given[0])
    else:
        changed = given[0].clone()
        changed[:, 0] += 1
        assert torch.equal(model(changed, *given[1:])[:, 1:], predicted[:, 1:])
        assert not torch.equal(predicted, given[0])


def test_the_first_gradients_reach_the_gates_and_then_the_actions() -> None:
    torch.manual_seed(0)
    model = predictor(seed=None, residual=False).requires_grad_(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    reached = []
    for _ in range(2):
        optimizer.zero_grad()
        model(*inputs()).square().mean().backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        gates = gradients["predictor_blocks.0.modulation.weight"]
        actions = gradients["embodiments.default.action_encoder.weight"]
        reached.append((bool(gates.any()), bool(actions.any())))
        optimizer.step()
    assert reached == [(True, False), (True, True)]


@pytest.mark.parametrize("context_frames", [0, 1])
def test_predictions_depend_on_conditions_and_past_but_not_on_the_future(context_frames: int) -> None:
    model, given = predictor(context_frames=context_frames), inputs()
    before = model(*given).unflatten(1, (T, N))
    for which in range(3):
        changed = [part.clone() for part in given]
        changed[which].unflatten(1, (T, -1))[:, 1] += 1.0
        after = model(*changed).unflatten(1, (T, N))
        assert torch.equal(after[:, 0], before[:, 0])
        assert (after[:, 1] - before[:, 1]).abs().max() > 1e-3
        assert torch.equal(after[:, 2], before[:, 2]) == (context_frames == 1)


def test_activation_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for recompute in (False, True):
        model = predictor().requires_grad_(True)
        model.recompute = recompute
        model(*inputs()).square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


def test_adaln_tokens_are_only_the_patches() -> None:
    assert predictor().condition_tokens == 0
    assert predictor(condition="tokens").condition_tokens == 2
    sizes = [
        sum(p.numel() for p in predictor(condition=c).predictor_blocks.parameters())
        for c in ("adaln", "tokens")
    ]
    norms, modulation = 2 * 2 * WIDTH, 6 * WIDTH * (WIDTH + 1)
    assert sizes[0] - sizes[1] == 2 * (modulation - norms)
