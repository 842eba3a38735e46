from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from planners import CEM, GoalL1, Iteration, Plan, RandomShooting, StateGoal, make_generators
from tests.models.test_world_model import CONFIG, context, pictures, tiny_model
from vjepa_world.models.config import DecoderConfig, EmbodimentConfig, LatentsConfig
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.reports.plan.report import PlanShown, gather, plan_page
from vjepa_world.reports.plan.scene3d import HALF, HEIGHT, SCALE, STEPS, WIDTH, round_length, step_of
from vjepa_world.reports.plan.space import search_paths

REACH = 0.05


def model_of(**changes: object) -> LatentWorldModel:
    model = tiny_model(**changes)
    model.action_low.fill_(-REACH)
    model.action_high.fill_(REACH)
    return model


def planned(
    model: LatentWorldModel, objective: Any = None, *, horizon: int = 2, iterations: int = 3
) -> PlanShown:
    """Plan once, with 12 samples of which 3 are chosen."""
    objective = objective or GoalL1()
    seen, images = context(model, problems=1), pictures(2, seed=9)
    goal = model.encode_goal(images[1:])
    cem = CEM(
        model,
        energy=objective,
        horizon=horizon,
        num_samples=12,
        num_iterations=iterations,
        num_elites=3,
    )
    plan = cem.plan(seen, goal, generators=make_generators([0]))
    return gather(model, objective, seen, goal, plan, image=images[0], goal_image=images[1])


def page_of(shown: PlanShown, **settings: object) -> str:
    return plan_page("A <plan>", "now to goal", shown, settings, {"planner.kind": "cem"})


@pytest.fixture(scope="module")
def shown() -> PlanShown:
    return planned(model_of())


@pytest.fixture(scope="module")
def page(shown: PlanShown) -> str:
    return page_of(shown, seed=0, seconds=0.123456)


def rows(page: str, start: str) -> list[list[str]]:
    """Return the cells of the rows of tables whose first cell starts with a word."""
    found = [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]
    return [cells for cells in found if cells[0].startswith(start)]


def images(page: str) -> dict[str, np.ndarray]:
    """Return the pictures of a page by what is written above them."""
    found = re.findall(r'alt="([^"]*)" src="data:image/png;base64,([^"]+)"', page)
    return {name: np.array(Image.open(io.BytesIO(base64.b64decode(data)))) for name, data in found}


def scene(page: str) -> tuple[dict[str, Any], list[tuple[str, dict[str, str]]]]:
    """Return what the script draws, and the tags and attributes of what is drawn without it, in the same order."""
    found = re.search(r'<script type="application/json">(.*?)</script>', page)
    drawing = re.search(r'aria-label="samples of the search[^>]*><g>(.*?)</g>', page)
    assert found is not None and drawing is not None
    drawn = [
        (tag, dict(re.findall(r'([a-z]+)="([^"]*)"', attributes)))
        for tag, attributes in re.findall(r"<(path|text)([^>]*)>", drawing[1])
    ]
    data = json.loads(found[1])
    assert len(data["shapes"]) == len(drawn)
    return data, drawn


def places(page: str, style: str) -> list[np.ndarray]:
    """Return the lines `[L, 3]` of shapes whose class has all the words of `style`."""
    data, drawn = scene(page)
    words = set(style.split())
    return [
        np.array(line).reshape(-1, 3)
        for (_, _, lines), (_, attributes) in zip(data["shapes"], drawn, strict=True)
        if words <= set(attributes["class"].split())
        for line in lines
    ]


def test_energies_are_of_each_imagined_step_alone() -> None:
    model = model_of()
    shown = planned(model, GoalL1(discount=1.0), horizon=3)
    imagined = model.rollout(context(model, problems=1), shown.plan.actions[:, None])[0, 0]
    goal = model.encode_goal(pictures(2, seed=9)[1:])
    torch.testing.assert_close(shown.energies, (imagined - goal).abs().mean(dim=(1, 2)))
    now = (context(model, problems=1).features[0, 0] - goal).abs().mean()
    assert shown.energy_now == pytest.approx(float(now), rel=1e-5)
    # With a discount of 1 the plan's energy is the mean of the steps'.
    assert float(shown.plan.energy[0]) == pytest.approx(float(shown.energies.mean()), rel=1e-4)


def test_maps_add_up_to_the_energy(shown: PlanShown) -> None:
    assert shown.distances is not None and shown.distances.shape == (3, 2, 2)
    expected = [shown.energy_now, *shown.energies.tolist()]
    torch.testing.assert_close(shown.distances.mean(dim=(1, 2)), torch.tensor(expected))


def test_an_objective_of_states_is_given_the_imagined_ones() -> None:
    model = model_of()
    wanted = torch.full((7,), 0.5)
    shown = planned(model, StateGoal(wanted, weights=torch.tensor([1.0, 1, 1, 0, 0, 0, 0])))
    start = context(model, problems=1).states[0, 0]
    ways = start[:3] + torch.cat([torch.zeros(1, 3), shown.plan.actions[0, :, :3].cumsum(dim=0)])
    expected = (ways - 0.5).abs().sum(dim=1) / 3
    ratio = torch.tensor([shown.energy_now, *shown.energies.tolist()]) / expected
    torch.testing.assert_close(ratio, ratio[:1].expand(3), rtol=1e-4, atol=0)


def test_the_table_has_the_actions_the_bounds_and_the_energies(shown: PlanShown, page: str) -> None:
    steps = rows(page, "step ")
    numbers = np.array([[float(cell) for cell in cells[1:]] for cells in steps])
    np.testing.assert_allclose(numbers[:, :7], shown.plan.actions[0].numpy(), atol=5.1e-5)
    np.testing.assert_allclose(numbers[:, 7], shown.energies.numpy(), atol=5.1e-5)
    assert [rows(page, end)[0][1] for end in ("lowest", "highest")] == ["-0.0500", "+0.0500"]
    assert "<th>dx [m]</th>" in page and "<th>yaw [rad]</th>" in page
    assert "-0.0000" not in page
    assert f"Energy {shown.energy_now:.4f} now, {float(shown.energies[-1]):.4f} imagined" in page


def test_settings_times_and_words_are_shown_and_escaped(page: str) -> None:
    assert rows(page, "seconds") == [["seconds", "0.1235"]]
    assert rows(page, "planner.kind") == [["planner.kind", "cem"]]
    assert "<h1>A &lt;plan&gt;</h1>" in page


def test_the_curves_are_the_searches(shown: PlanShown, page: str) -> None:
    last = shown.plan.iterations[-1]
    for name, value in (
        ("best sample", last.best_energy),
        ("mean of the samples", last.mean_energy),
        ("the plan", shown.plan.energy),
        ("spread [half-widths of the bounds]", last.spread),
    ):
        assert f"{name} <b>{float(value[0]):.4g}</b>" in page
    table = [cells for number in "123" for cells in rows(page, number)]
    expected = [
        [
            str(k),
            f"{float(i.best_energy[0]):.4f}",
            f"{float(i.mean_energy[0]):.4f}",
            f"{float(i.spread[0]):.3f}",
        ]
        + ["12", "3", "0"]
        for k, i in enumerate(shown.plan.iterations, start=1)
    ]
    assert table == expected


def test_what_is_imagined_stands_beside_the_decoded_goal(shown: PlanShown, page: str) -> None:
    model = model_of()
    found = images(page)
    assert list(found) == [
        "now, as the camera sees it",
        "goal, as the camera sees it",
        "now, decoded",
        "imagined after step 1",
        "imagined after step 2",
        "goal, decoded",
        "distance now",
        "distance after step 1",
        "distance after step 2",
        "scale",
    ]
    imagined = model.rollout(context(model, problems=1), shown.plan.actions[:, None])[0, 0]
    for name, decoded in (
        ("imagined after step 2", model.picture(imagined)[1]),
        ("goal, decoded", model.picture(model.encode_goal(pictures(2, seed=9)[1:]))[0]),
    ):
        small = Image.fromarray(decoded.permute(1, 2, 0).numpy())
        large = np.asarray(small.resize(found[name].shape[1::-1], Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(found[name], large)
    beneath = re.findall(r"<p><b>energy ([\d.]+)</b></p>", page)
    assert beneath == [f"{energy:.4f}" for energy in (shown.energy_now, *shown.energies.tolist())]


def test_without_a_decoder_it_says_so_and_keeps_the_rest() -> None:
    model = model_of(decoder=DecoderConfig(image_size=0))
    page = page_of(planned(model))
    assert "The model has no pixel decoder" in page
    assert not any("decoded" in name or "imagined" in name for name in images(page))
    assert len(re.findall(r"<p><b>energy [\d.]+</b></p>", page)) == 3


def test_learned_tokens_have_no_maps() -> None:
    page = page_of(
        planned(model_of(latents=LatentsConfig(kind="queries", side=2, embed_dim=16, num_heads=2)))
    )
    assert not any("distance" in name for name in images(page))
    assert "goal, decoded" in images(page)


def test_every_sample_and_the_plan_are_where_their_actions_lead(shown: PlanShown, page: str) -> None:
    data, _ = scene(page)
    metres = 2 * SCALE * data["bar"][0] / (2 * HALF)  # a place's unit
    start = places(page, "plan way")[0][0]
    assert data["bar"][2] == "m"

    def ways(actions: Tensor) -> np.ndarray:
        return np.asarray(actions[..., :3].cumsum(dim=-2).numpy() / metres)

    def close(drawn: np.ndarray, expected: np.ndarray) -> None:
        assert drawn.shape == expected.shape
        for one, other in zip(_sorted(drawn), _sorted(expected), strict=True):
            assert np.abs(one - other).max() <= 1.0  # rounded, twice

    close(places(page, "plan way")[0][None, 1:] - start, ways(shown.plan.actions))
    drawn = np.array([line[1:] - start for step in range(STEPS) for line in places(page, f"e{step} way")])
    tried = torch.cat([iteration.samples[0] for iteration in shown.plan.iterations])
    close(drawn, ways(tried))
    chosen = np.array([line - start for step in range(STEPS) for line in places(page, f"e{step} chosen end")])
    elites = torch.cat([iteration.samples[0][iteration.selected[0]] for iteration in shown.plan.iterations])
    close(chosen, ways(elites)[:, -1:])
    assert len(places(page, "ring")) == 3 * 3


def _sorted(lines: np.ndarray) -> np.ndarray:
    """Order lines by where they end, coarsely enough for rounded numbers."""
    return lines[np.argsort(lines[:, -1] @ np.array([1.0, math.sqrt(2), math.pi]))]


def test_paths_start_from_the_state_in_the_base_frame(shown: PlanShown) -> None:
    paths = search_paths(shown.plan, shown.state)
    assert paths is not None and paths.labels == ("x [m]", "y [m]", "z [m]")
    np.testing.assert_allclose(paths.plan[0], shown.state[:3].numpy())
    end = shown.state[:3] + shown.plan.actions[0, :, :3].sum(dim=0)
    np.testing.assert_allclose(paths.plan[-1], end.numpy(), atol=1e-6)
    assert "8" not in paths.about and paths.left_out == ""


def test_the_colour_is_the_energy(shown: PlanShown, page: str) -> None:
    samples = torch.cat([iteration.samples[0] for iteration in shown.plan.iterations])
    energies = torch.cat([iteration.energies[0] for iteration in shown.plan.iterations])
    data, _ = scene(page)
    unit_m = 2 * SCALE * data["bar"][0] / (2 * HALF)
    start = places(page, "plan way")[0][0]
    means = []
    for step in range(STEPS):
        lines = places(page, f"e{step} way")
        ends = np.array([(line[-1] - start) * unit_m for line in lines]).reshape(-1, 3)
        offsets = samples[:, :, :3].sum(dim=1).numpy()
        nearest = np.linalg.norm(ends[:, None] - offsets, axis=2).argmin(axis=1)
        means.append(float(energies[nearest].mean()) if len(lines) else math.nan)
    known = [mean for mean in means if not math.isnan(mean)]
    assert len(known) > 3
    assert known == sorted(known)


def test_steps_of_the_scale() -> None:
    values = np.array([0.0, 0.99, 1.0, 3.9, 4.0, 9.0])
    assert step_of(values, 0.0, 4.0).tolist() == [0, 1, 2, STEPS - 1, STEPS - 1, STEPS - 1]
    assert step_of(np.array([2.0]), 2.0, 2.0).tolist() == [0]


def test_without_a_script_the_first_view_is_drawn(page: str) -> None:
    """Against the rotation matrices: about z by the azimuth, then down to the elevation."""
    data, drawn = scene(page)
    azimuth, elevation = np.deg2rad(data["view"][:2])
    about_z = np.array(
        [[np.cos(azimuth), np.sin(azimuth), 0], [-np.sin(azimuth), np.cos(azimuth), 0], [0, 0, 1]]
    )
    about_y = np.array(
        [[np.cos(elevation), 0, np.sin(elevation)], [0, 1, 0], [-np.sin(elevation), 0, np.cos(elevation)]]
    )
    number = next(k for k, (_, attributes) in enumerate(drawn) if attributes["class"] == "plan way")
    [line] = data["shapes"][number][2]
    turned = np.array(line).reshape(-1, 3) @ (about_y @ about_z).T * SCALE / HALF
    expected = np.stack([WIDTH / 2 + turned[:, 1], HEIGHT / 2 - turned[:, 2]], axis=1)
    found = re.findall(r"[ML]([\d.]+) ([\d.]+)", drawn[number][1]["d"])
    np.testing.assert_allclose(np.array(found, dtype=float), expected, atol=0.051)


def test_three_walls_and_one_name_an_axis_are_seen(page: str) -> None:
    drawing = re.search(r'aria-label="samples of the search.*?</svg>', page)
    assert drawing is not None
    shapes = re.findall(r'<(?:path|text) class="(\w+)"([^>]*)>([^<]*)', drawing[0])
    seen = [(style, word) for style, attributes, word in shapes if "display:none" not in attributes]
    assert len([style for style, *_ in shapes if style == "wall"]) == 6
    assert len([style for style, _ in seen if style == "wall"]) == 3
    assert sorted(word for style, word in seen if style == "name") == ["now", "x [m]", "y [m]", "z [m]"]
    data, drawn = scene(page)
    azimuth, elevation = np.deg2rad(data["view"][:2])
    viewer = np.array(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    )
    for (_, _, lines), (_, attributes) in zip(data["shapes"], drawn, strict=True):
        if attributes["class"] == "wall":
            behind = np.mean([np.reshape(line, (-1, 3)).mean(axis=0) for line in lines], axis=0) @ viewer < 0
            assert behind == ("style" not in attributes)
    bar = re.search(
        r'<path class="scalebar" d="M16 [\d.]+v8m0 -4h([\d.]+)m0 -4v8"/><text[^>]*>([\d.]+) m<', page
    )
    assert bar is not None
    assert float(bar[1]) * data["bar"][0] == pytest.approx(float(bar[2]), rel=1e-3)


def test_round_lengths() -> None:
    assert [round_length(x) for x in (0.09, 0.05, 0.0499, 0.011, 7.0)] == [0.05, 0.05, 0.02, 0.01, 5.0]


def test_samples_without_an_energy_are_marked_and_left_out_of_the_scale() -> None:
    class Diverging(GoalL1):
        def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
            energy = super().__call__(predicted, goal, actions)
            return energy.where(actions[:, :, 0, 0] < 0.02, torch.nan)

    shown = planned(model_of(), Diverging())
    lost = sum(int(torch.isinf(iteration.energies).sum()) for iteration in shown.plan.iterations)
    assert lost > 3
    page = page_of(shown)
    assert len(places(page, "lost end")) == lost
    assert f"out of time ({lost})" in page
    counted = [int(cells[6]) for number in "123" for cells in rows(page, number)]
    assert sum(counted) == lost
    assert not math.isfinite(float(shown.energies[1])) and rows(page, "step 2")[0][-1] == "none"
    assert not re.search(r"\b(nan|inf|Infinity|NaN)\b", page)


def test_a_plan_that_leads_away_is_an_alarm(shown: PlanShown) -> None:
    worse = dataclasses.replace(shown, energy_now=0.5 * float(shown.energies[-1]))
    assert 'class="alarm"' in page_of(worse) and "(+100 %)" in page_of(worse)
    better = dataclasses.replace(shown, energy_now=2 * float(shown.energies[-1]))
    assert 'class="note good"' in page_of(better) and "(-50 %)" in page_of(better)


def test_other_actions_are_drawn_by_their_own_numbers() -> None:
    model = model_of(embodiments=(EmbodimentConfig(action_dim=2, state_dim=2),))
    shown = planned(model)
    page = page_of(shown)
    paths = search_paths(shown.plan, shown.state)
    assert paths is not None
    assert (paths.labels, paths.unit) == (("action 0", "action 1", "(none)"), "")
    np.testing.assert_allclose(paths.plan[0], [*shown.plan.actions[0, 0].tolist(), 0.0])
    assert "scalebar" not in page.split("</style>")[-1]
    assert "each axis has its own scale" in page
    assert not places(page, "plan way")  # places, no ways
    assert len(places(page, "plan end")) == 2  # and one of the halo


def test_without_a_pose_in_the_state_paths_start_from_zero() -> None:
    model = model_of(embodiments=(EmbodimentConfig(state_dim=9),))
    shown = planned(model, horizon=1)
    paths = search_paths(shown.plan, shown.state)
    assert paths is not None and paths.labels == ("dx [m]", "dy [m]", "dz [m]")
    assert paths.plan[0].tolist() == [0, 0, 0]
    assert "from where it is now" in paths.about


def test_a_search_of_one_iteration_has_a_table_and_no_slider() -> None:
    model = model_of()
    seen, both = context(model, problems=1), pictures(2, seed=9)
    goal = model.encode_goal(both[1:])
    plan = RandomShooting(model, energy=GoalL1(), num_samples=9).plan(
        seen, goal, generators=make_generators([1])
    )
    shown = gather(model, GoalL1(), seen, goal, plan, image=both[0], goal_image=both[1])
    page = page_of(shown)
    assert 'class="cards"' not in page and len(rows(page, "1")) == 1
    assert 'name="when"' not in page and 'name="zoom"' in page


def test_a_held_plan_has_no_search_to_show(shown: PlanShown) -> None:
    held = dataclasses.replace(shown, plan=dataclasses.replace(shown.plan, iterations=()))
    page = page_of(held)
    assert "was not searched for anew" in page and "application/json" not in page
    assert len(rows(page, "step ")) == 2


def large_plan(iterations: int, samples: int, horizon: int) -> Plan:
    generator = torch.Generator().manual_seed(0)
    trace = []
    for _ in range(iterations):
        actions = REACH * (2 * torch.rand(1, samples, horizon, 7, generator=generator) - 1)
        energies = actions[..., :3].sum(dim=2).norm(dim=2)
        chosen = energies <= energies.sort(dim=1).values[:, 9:10]
        best, mean = energies.min(dim=1).values, energies.mean(dim=1)
        trace.append(Iteration(best, mean, torch.ones(1), actions, energies, chosen))
    return Plan(trace[-1].samples[:, 0], trace[-1].energies[:, 0], tuple(trace))


@pytest.mark.parametrize(("iterations", "samples", "horizon"), [(10, 800, 4), (200, 16, 3), (1, 20_000, 1)])
def test_a_large_search_makes_a_small_page(iterations: int, samples: int, horizon: int) -> None:
    plan = large_plan(iterations, samples, horizon)
    shown = PlanShown(
        plan=plan,
        state=torch.zeros(7),
        bounds=torch.tensor([[-REACH] * 7, [REACH] * 7]),
        image=pictures(1, (480, 640))[0],
        goal_image=pictures(1, (480, 640))[0],
        energy_now=1.0,
        energies=torch.ones(horizon),
        distances=None,
        decoded=None,
    )
    page = page_of(shown)
    assert len(page.encode()) < 2_000_000
    drawn = sum(len(places(page, f"e{step} end")) for step in range(STEPS))
    assert f"{drawn} of {iterations * samples} samples are drawn" in page
    # All chosen ones of the iterations that are drawn, the last one's among them.
    assert len(places(page, "ring")) >= 10
    assert f"iteration {iterations} of {iterations}: best energy" in page


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    assert not re.search(r"https?:|@import|<link|<script[^>]* src=|url\(", page)
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r'src="([^"]*)"', page))


def test_the_data_of_the_script_cannot_leave_it(shown: PlanShown) -> None:
    data, _ = scene(page_of(shown))
    assert data["moments"][0] == "all iterations" and len(data["moments"]) == 4
    assert "3 of 12 samples chosen" in data["moments"][1]


def test_the_tiny_model_is_as_assumed() -> None:
    assert CONFIG.grid == (2, 2) and CONFIG.decoder.image_size == 8
