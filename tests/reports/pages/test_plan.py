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
from vjepa_world.evaluation.imagined_plan import ImaginedPlan, imagine_plan
from vjepa_world.models.config import DecoderConfig, EmbodimentConfig, LatentsConfig
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.reports.pages.plan import plan_page
from vjepa_world.reports.plots.search_paths import SearchPaths, search_paths
from vjepa_world.reports.plots.search_scene import AZIMUTH_DEG, ELEVATION_DEG, camera, interactive
from vjepa_world.reports.theme import SCALE_STEPS, css_variables

REACH = 0.05


def model_of(**changes: object) -> LatentWorldModel:
    model = tiny_model(**changes)
    model.action_low.fill_(-REACH)
    model.action_high.fill_(REACH)
    return model


def planned(
    model: LatentWorldModel, objective: Any = None, *, horizon: int = 2, iterations: int = 3
) -> ImaginedPlan:
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
    return imagine_plan(model, objective, seen, goal, plan, image=images[0], goal_image=images[1])


def page_of(shown: ImaginedPlan, **settings: object) -> str:
    return plan_page("A <plan>", "now to goal", shown, settings, {"planner.kind": "cem"})


@pytest.fixture(scope="module")
def shown() -> ImaginedPlan:
    return planned(model_of())


@pytest.fixture(scope="module")
def page(shown: ImaginedPlan) -> str:
    return page_of(shown, seed=0, seconds=0.123456)


def rows(page: str, start: str) -> list[list[str]]:
    """Return the cells of the rows of tables whose first cell starts with a word."""
    found = [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]
    return [cells for cells in found if cells[0].startswith(start)]


def images(page: str) -> dict[str, np.ndarray]:
    """Return the images of a page by their captions."""
    found = re.findall(r'alt="([^"]*)" src="data:image/png;base64,([^"]+)"', page)
    return {name: np.array(Image.open(io.BytesIO(base64.b64decode(data)))) for name, data in found}


def paths_of(shown: ImaginedPlan) -> SearchPaths:
    paths = search_paths(shown.plan, shown.state, shown.action_space)
    assert paths is not None
    return paths


def traces(shown: ImaginedPlan, name: str) -> list[Any]:
    """Return the traces of the interactive plot of a name, in the order of iterations."""
    return [trace for trace in interactive(paths_of(shown)).data if trace.name == name]


def lines(shown: ImaginedPlan, name: str) -> np.ndarray:
    """Return the lines `[S, L, 3]` of traces, which are separated by gaps; single points `[S, 1, 3]`."""
    found = []
    for trace in traces(shown, name):
        points = np.stack([trace.x, trace.y, trace.z], axis=1)
        gaps = np.isnan(points[:, 0]).nonzero()[0]
        if trace.mode == "markers":
            found += list(points[:, None])
        else:
            found += [part[~np.isnan(part[:, 0])] for part in np.split(points, gaps) if len(part) > 1]
    return np.array(found)


def data_of(page: str, name: str) -> Any:
    """Return the JSON that the page's script reads."""
    [text] = re.findall(rf'<script type="application/json" class="{name}">(.*?)</script>', page)
    return json.loads(text)


def test_each_energy_is_that_of_a_single_imagined_step() -> None:
    model = model_of()
    shown = planned(model, GoalL1(discount=1.0), horizon=3)
    imagined = model.rollout(context(model, problems=1), shown.plan.actions[:, None])[0, 0]
    goal = model.encode_goal(pictures(2, seed=9)[1:])
    torch.testing.assert_close(shown.energies, (imagined - goal).abs().mean(dim=(1, 2)))
    now = (context(model, problems=1).features[0, 0] - goal).abs().mean()
    assert shown.energy_now == pytest.approx(float(now), rel=1e-5)
    # With a discount of 1 the plan's energy is the mean of the steps'.
    assert float(shown.plan.energy[0]) == pytest.approx(float(shown.energies.mean()), rel=1e-4)


def test_maps_add_up_to_the_energy(shown: ImaginedPlan) -> None:
    assert shown.distances is not None and shown.distances.shape == (3, 2, 2)
    expected = [shown.energy_now, *shown.energies.tolist()]
    torch.testing.assert_close(shown.distances.mean(dim=(1, 2)), torch.tensor(expected))


def test_an_energy_of_states_gets_the_imagined_ones() -> None:
    model = model_of()
    wanted = torch.full((7,), 0.5)
    shown = planned(model, StateGoal(wanted, weights=torch.tensor([1.0, 1, 1, 0, 0, 0, 0])))
    start = context(model, problems=1).states[0, 0]
    way = start[:3] + torch.cat([torch.zeros(1, 3), shown.plan.actions[0, :, :3].cumsum(dim=0)])
    expected = (way - 0.5).abs().sum(dim=1) / 3
    ratio = torch.tensor([shown.energy_now, *shown.energies.tolist()]) / expected
    torch.testing.assert_close(ratio, ratio[:1].expand(3), rtol=1e-4, atol=0)


def test_the_table_has_the_actions_the_bounds_and_the_energies(shown: ImaginedPlan, page: str) -> None:
    steps = rows(page, "step ")
    numbers = np.array([[float(cell) for cell in cells[1:]] for cells in steps])
    np.testing.assert_allclose(numbers[:, :7], shown.plan.actions[0].numpy(), atol=5.1e-5)
    np.testing.assert_allclose(numbers[:, 7], shown.energies.numpy(), atol=5.1e-5)
    assert [rows(page, end)[0][1] for end in ("lowest", "highest")] == ["-0.0500", "+0.0500"]
    assert "<th>dx [m]</th>" in page and "<th>yaw [rad]</th>" in page
    assert "-0.0000" not in page
    assert f"Energy {shown.energy_now:.4f} now, {float(shown.energies[-1]):.4f} imagined" in page


def test_settings_times_and_names_are_shown_and_escaped(page: str) -> None:
    assert rows(page, "seconds") == [["seconds", "0.1235"]]
    assert rows(page, "planner.kind") == [["planner.kind", "cem"]]
    assert "<h1>A &lt;plan&gt;</h1>" in page


def test_the_curves_show_the_energies_of_the_search(shown: ImaginedPlan, page: str) -> None:
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


def test_decoded_predictions_are_shown_next_to_the_decoded_goal(shown: ImaginedPlan, page: str) -> None:
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
    ]
    imagined = model.rollout(context(model, problems=1), shown.plan.actions[:, None])[0, 0]
    for name, decoded in (
        ("imagined after step 2", model.picture(imagined)[1]),
        ("goal, decoded", model.picture(model.encode_goal(pictures(2, seed=9)[1:]))[0]),
    ):
        small = Image.fromarray(decoded.permute(1, 2, 0).numpy())
        large = np.asarray(small.resize(found[name].shape[1::-1], Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(found[name], large)
    assert shown.distances is not None
    assert f'L1 distance of a token: 0<i class="scale"></i>{float(shown.distances.max()):.3g}' in page
    for name, plane in zip(("now", "after step 1", "after step 2"), shown.distances, strict=True):
        pixels = found[f"distance {name}"]
        assert pixels.shape[:2] == plane.shape
        assert pixels.sum(axis=2).argmax() == int(plane.argmax())
    beneath = re.findall(r"<b>energy ([\d.]+)</b>", page)
    assert beneath == [f"{energy:.4f}" for energy in (shown.energy_now, *shown.energies.tolist())]


def test_without_a_decoder_there_is_a_note_and_the_rest() -> None:
    model = model_of(decoder=DecoderConfig(image_size=0))
    page = page_of(planned(model))
    assert "The model has no pixel decoder" in page
    assert not any("decoded" in name or "imagined" in name for name in images(page))
    assert len(re.findall(r"<b>energy [\d.]+</b>", page)) == 3


def test_learned_tokens_have_no_maps() -> None:
    page = page_of(
        planned(model_of(latents=LatentsConfig(kind="queries", side=2, embed_dim=16, num_heads=2)))
    )
    assert not any("distance" in name for name in images(page))
    assert "goal, decoded" in images(page)


def test_every_sample_and_the_plan_are_where_their_actions_lead(shown: ImaginedPlan) -> None:
    start = shown.state[:3].numpy()

    def reached(actions: Tensor) -> np.ndarray:
        return np.asarray(start + actions[..., :3].cumsum(dim=-2).numpy())

    def close(drawn: np.ndarray, expected: np.ndarray) -> None:
        assert drawn.shape == expected.shape
        np.testing.assert_allclose(_sorted(drawn), _sorted(expected), atol=1e-6)

    [plan] = traces(shown, "the plan")
    close(np.stack([plan.x, plan.y, plan.z], axis=1)[None, 1:], reached(shown.plan.actions))
    drawn = np.concatenate([lines(shown, "tried paths"), lines(shown, "chosen paths")])
    np.testing.assert_allclose(drawn[:, 0], np.broadcast_to(start, drawn[:, 0].shape), atol=1e-6)
    tried = torch.cat([iteration.samples[0] for iteration in shown.plan.iterations])
    close(drawn[:, 1:], reached(tried))
    elites = torch.cat([iteration.samples[0][iteration.selected[0]] for iteration in shown.plan.iterations])
    close(lines(shown, "chosen ends"), reached(elites)[:, -1:])
    close(lines(shown, "chosen rings"), reached(elites)[:, -1:])
    assert len(elites) == 3 * 3
    steps = lines(shown, "steps of the plan")
    close(steps.swapaxes(0, 1), reached(shown.plan.actions))


def test_the_slider_has_the_samples_of_each_iteration(shown: ImaginedPlan, page: str) -> None:
    figure = data_of(page, "figure")
    of_iterations = [trace.get("meta") for trace in figure["data"] if trace["name"] == "chosen ends"]
    assert of_iterations == [1, 2, 3]
    summaries = data_of(page, "summaries")
    assert summaries[0] == "all iterations" and len(summaries) == 4
    assert "3 of 12 samples chosen" in summaries[1]
    assert '<input type="range" min="0" max="3" value="0">' in page


def test_the_plan_has_a_shadow_on_the_floor(shown: ImaginedPlan) -> None:
    paths = paths_of(shown)
    shadow = lines(shown, "shadow of the plan")
    uprights, floor = shadow[: len(paths.plan)], shadow[len(paths.plan) :]
    np.testing.assert_allclose(uprights[:, 0], paths.plan, atol=1e-6)
    np.testing.assert_allclose(uprights[:, 1, :2], paths.plan[:, :2], atol=1e-6)
    np.testing.assert_allclose(floor[..., 2], paths.limits[2, 0], atol=1e-6)


def _sorted(lines: np.ndarray) -> np.ndarray:
    """Order lines by where they end, coarsely enough for rounded numbers."""
    return lines[np.argsort(lines[:, -1] @ np.array([1.0, math.sqrt(2), math.pi]))]


def test_paths_start_from_the_state_in_the_base_frame(shown: ImaginedPlan) -> None:
    paths = search_paths(shown.plan, shown.state)
    assert paths is not None and paths.labels == ("x [m]", "y [m]", "z [m]")
    np.testing.assert_allclose(paths.plan[0], shown.state[:3].numpy())
    end = shown.state[:3] + shown.plan.actions[0, :, :3].sum(dim=0)
    np.testing.assert_allclose(paths.plan[-1], end.numpy(), atol=1e-6)
    assert "8" not in paths.description and paths.omitted == ""


def test_the_colour_is_the_energy(shown: ImaginedPlan) -> None:
    for kind, is_chosen in (("tried", False), ("chosen", True)):
        for iteration, trace in zip(shown.plan.iterations, traces(shown, f"{kind} ends"), strict=True):
            rows = iteration.selected[0] == is_chosen
            np.testing.assert_allclose(trace.marker.color, iteration.energies[0][rows], rtol=1e-6)
            ends = shown.state[:3] + iteration.samples[0][rows][..., :3].sum(dim=1)
            np.testing.assert_allclose(np.stack([trace.x, trace.y, trace.z], axis=1), ends, atol=1e-6)
        for path, end in zip(traces(shown, f"{kind} paths"), traces(shown, f"{kind} ends"), strict=True):
            np.testing.assert_array_equal(
                path.line.color, np.repeat(end.marker.color, 4)
            )  # 3 points and a gap
    scale = interactive(paths_of(shown)).layout.coloraxis
    energies = torch.cat([iteration.energies[0] for iteration in shown.plan.iterations]).double().numpy()
    assert (scale.cmin, scale.cmax) == pytest.approx((energies.min(), np.quantile(energies, 0.98)))
    assert [position for position, _ in scale.colorscale] == pytest.approx(
        np.linspace(0, 1, SCALE_STEPS).tolist()
    )


def test_low_energies_stand_out_on_light_and_on_dark_paper() -> None:
    for dark in (False, True):
        scale = [bytes.fromhex(css_variables(dark)[f"scale-{step}"][1:]) for step in range(SCALE_STEPS)]
        paper = int(css_variables(dark)["card"][1:3], 16)
        contrast = [abs(sum(colour) / 3 - paper) for colour in scale]
        assert contrast == sorted(contrast, reverse=True)


def test_axes_have_one_scale_and_contain_everything(shown: ImaginedPlan) -> None:
    figure, limits = interactive(paths_of(shown)), paths_of(shown).limits
    scene = figure.layout.scene
    axes = (scene.xaxis, scene.yaxis, scene.zaxis)
    assert [axis.title.text for axis in axes] == ["x [m]", "y [m]", "z [m]"]
    np.testing.assert_allclose([axis.range for axis in axes], limits)
    assert np.ptp(limits[:, 1] - limits[:, 0]) < 1e-9
    assert len({scene.aspectratio.x, scene.aspectratio.y, scene.aspectratio.z}) == 1
    assert scene.camera.projection.type == "orthographic"
    for trace in figure.data:
        for values, (low, high) in zip((trace.x, trace.y, trace.z), limits, strict=True):
            assert np.nanmin(values) >= low - 1e-6 and np.nanmax(values) <= high + 1e-6


def test_the_camera_follows_azimuth_and_elevation() -> None:
    """Against rotation matrices: from the x axis up to the elevation, then about z by the azimuth."""
    azimuth, elevation = np.deg2rad([AZIMUTH_DEG, ELEVATION_DEG])
    about_z = np.array(
        [[np.cos(azimuth), -np.sin(azimuth), 0], [np.sin(azimuth), np.cos(azimuth), 0], [0, 0, 1]]
    )
    up = np.array(
        [[np.cos(elevation), 0, -np.sin(elevation)], [0, 1, 0], [np.sin(elevation), 0, np.cos(elevation)]]
    )
    eye = camera(AZIMUTH_DEG, ELEVATION_DEG)["eye"]
    expected = about_z @ up @ np.array([1.0, 0, 0])
    np.testing.assert_allclose(np.array([eye[k] for k in "xyz"]) / 2, expected, atol=1e-12)


def test_without_a_script_the_first_view_is_drawn(page: str) -> None:
    [still] = re.findall(r'<div class="still">(<svg.*?</svg>)</div>', page)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", still)
    assert {"x [m]", "y [m]", "z [m]", "now"} <= set(texts)
    layers = re.findall(r'href="data:image/png;base64,([^"]*)"', still)
    opacity = sum(
        int((np.array(Image.open(io.BytesIO(base64.b64decode(layer))))[..., 3] > 0).sum()) for layer in layers
    )
    assert opacity > 1000
    assert "var(--alarm)" in still


def test_samples_without_an_energy_are_marked_and_left_out_of_the_scale() -> None:
    class Diverging(GoalL1):
        def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
            energy = super().__call__(predicted, goal, actions)
            return energy.where(actions[:, :, 0, 0] < 0.02, torch.nan)

    shown = planned(model_of(), Diverging())
    lost = sum(int(torch.isinf(iteration.energies).sum()) for iteration in shown.plan.iterations)
    assert lost > 3
    page = page_of(shown)
    assert len(lines(shown, "diverged ends")) == len(lines(shown, "diverged paths")) == lost
    assert len(lines(shown, "tried ends")) + len(lines(shown, "chosen ends")) == 36 - lost
    assert f"out of time ({lost})" in page
    counted = [int(cells[6]) for number in "123" for cells in rows(page, number)]
    assert sum(counted) == lost
    assert not math.isfinite(float(shown.energies[1])) and rows(page, "step 2")[0][-1] == "none"
    text = re.sub(r'<script type="text/plain".*?</script>', "", page, flags=re.DOTALL)
    assert not re.search(r"\b(nan|inf|Infinity|NaN)\b", text)


def test_a_plan_that_moves_away_from_the_goal_gives_a_warning(shown: ImaginedPlan) -> None:
    worse = dataclasses.replace(shown, energy_now=0.5 * float(shown.energies[-1]))
    assert 'class="note alarm"' in page_of(worse) and "(+100 %)" in page_of(worse)
    better = dataclasses.replace(shown, energy_now=2 * float(shown.energies[-1]))
    assert 'class="note good"' in page_of(better) and "(-50 %)" in page_of(better)


def test_actions_without_a_pose_are_drawn_by_their_values() -> None:
    model = model_of(embodiments=(EmbodimentConfig(action_dim=2, state_dim=2),))
    shown = planned(model)
    page = page_of(shown)
    paths = search_paths(shown.plan, shown.state)
    assert paths is not None
    assert (paths.labels, paths.unit) == (("action 0", "action 1", "(none)"), "")
    np.testing.assert_allclose(paths.plan[0], [*shown.plan.actions[0, 0].tolist(), 0.0])
    assert "each axis has its own scale" in page
    assert not traces(shown, "the plan") and not traces(shown, "tried paths")  # points, no paths
    assert len(lines(shown, "steps of the plan")) == 1


def test_without_a_pose_in_the_state_paths_start_from_zero() -> None:
    model = model_of(embodiments=(EmbodimentConfig(state_dim=9),))
    shown = planned(model, horizon=1)
    paths = search_paths(shown.plan, shown.state)
    assert paths is not None and paths.labels == ("dx [m]", "dy [m]", "dz [m]")
    assert paths.plan[0].tolist() == [0, 0, 0]
    assert "relative to its position now" in paths.description


def test_a_search_of_one_iteration_has_a_table_and_no_slider() -> None:
    model = model_of()
    seen, both = context(model, problems=1), pictures(2, seed=9)
    goal = model.encode_goal(both[1:])
    plan = RandomShooting(model, energy=GoalL1(), num_samples=9).plan(
        seen, goal, generators=make_generators([1])
    )
    shown = imagine_plan(model, GoalL1(), seen, goal, plan, image=both[0], goal_image=both[1])
    page = page_of(shown)
    assert 'class="cards"' not in page and len(rows(page, "1")) == 1
    assert "<input" not in page and '<button type="button" name="from above">' in page
    assert len(data_of(page, "summaries")) == 2


def test_a_plan_without_a_search_has_no_search_section(shown: ImaginedPlan) -> None:
    held = dataclasses.replace(shown, plan=dataclasses.replace(shown.plan, iterations=()))
    page = page_of(held)
    assert "was not searched for again" in page and "<script" not in page
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
    shown = ImaginedPlan(
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
    library = re.search(r'<script type="text/plain" class="library">(.*?)</script>', page)
    assert library is not None
    assert len(page.encode()) - len(library[1]) < 2_000_000
    assert len(library[1]) < 2_200_000
    drawn = len(lines(shown, "tried ends")) + len(lines(shown, "chosen ends"))
    assert f"{drawn} of {iterations * samples} samples are drawn" in page
    # All chosen ones of the iterations that are drawn, the last one's among them.
    assert len(lines(shown, "chosen rings")) >= 10
    assert f"iteration {iterations} of {iterations}: best energy" in page


def test_the_page_is_self_contained(page: str) -> None:
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", page)  # names, not addresses
    assert not re.search(r"https?:|@import|<link|<script[^>]* src=|url\((?!#)", text)
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert sources and all(re.match(r"data:image/png;base64,|#", source) for source in sources)


def test_the_data_of_the_script_is_escaped(shown: ImaginedPlan) -> None:
    figure = data_of(page_of(shown), "figure")
    assert {"data", "layout"} <= set(figure)
    space = dataclasses.replace(
        shown.action_space,
        axes=tuple(dataclasses.replace(axis, name="</script><b>") for axis in shown.action_space.axes),
        is_pose=False,
    )
    page = page_of(dataclasses.replace(shown, space=space))
    assert "<b>" not in data_of(page, "figure") and page.count("</script>") == page.count("<script")


def test_the_tiny_model_has_the_assumed_sizes() -> None:
    assert CONFIG.grid == (2, 2) and CONFIG.decoder.image_size == 8
