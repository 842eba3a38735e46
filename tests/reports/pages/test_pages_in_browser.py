"""Every kind of page opens in a browser without requests and errors, and fits a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from planners import GoalL1, RandomShooting, make_generators
from tests.browser import Visit, chromium
from tests.evaluation.pose_world import PoseModel
from tests.models.test_world_model import context, pictures
from tests.reports.pages.test_evaluation import write as write_episodes
from tests.reports.pages.test_open_loop import evaluated, source
from tests.reports.pages.test_plan import model_of, page_of, planned
from tests.reports.pages.test_run_report import config, write_run
from tests.reports.pages.test_run_report import home as home  # a fixture
from vjepa_world.data.video.writer import write_video
from vjepa_world.evaluation.closed_loop.episode_log import evaluated as evaluated_episodes
from vjepa_world.evaluation.closed_loop.episode_log import read_episodes
from vjepa_world.evaluation.imagined_plan import imagine_plan
from vjepa_world.models.config import EmbodimentConfig
from vjepa_world.reports.pages.evaluation import evaluation_page
from vjepa_world.reports.pages.open_loop import open_loop_page
from vjepa_world.reports.pages.run_report import run_page
from vjepa_world.runs import read_metrics

PAGES = (
    *("run", "plan", "plan_of_one_iteration", "plan_of_two_numbers"),
    *("open_loop", "open_loop_decoded", "evaluation"),
)

#: Waits until a video's size is known; fails with its error.
LOADED = """video => new Promise((resolve, reject) => {
    const tell = () => video.error ? reject(video.error.message) : resolve([video.videoWidth, video.videoHeight])
    if (video.error || video.readyState > 0) tell()
    else for (const event of ["error", "loadedmetadata"]) video.addEventListener(event, tell)
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def folder(browser: Any, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        run = write_run(home, config(name="a" * 200)).relative_to(home)
        pages = {"run": run_page(run, read_metrics(run), torch.device("cpu"))}
    pages["plan"] = page_of(planned(model_of()), seconds=0.1)
    pages["plan_of_one_iteration"] = random_plan()
    pages["plan_of_two_numbers"] = page_of(
        planned(model_of(embodiments=(EmbodimentConfig(action_dim=2, state_dim=2),)))
    )
    measured = evaluated(PoseModel())
    for name, decode in (("open_loop", False), ("open_loop_decoded", True)):
        pages[name] = open_loop_page("Open loop", "a model on its data", measured, source(decode))
    pages["evaluation"] = evaluation_page(write_evaluation(folder / "first"), folder / "evaluation.html")
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text)
    return folder


def write_evaluation(folder: Path) -> Path:
    """Write an evaluation whose episodes have videos."""
    write_episodes(folder)
    for line in evaluated_episodes(read_episodes(folder)):
        write_video(folder / line.video, np.zeros((3, 32, 48, 3), np.uint8), fps=4)
    return folder


def random_plan() -> str:
    model = model_of()
    seen, both = context(model, problems=1), pictures(2, seed=9)
    goal = model.encode_goal(both[1:])
    planner = RandomShooting(model, energy=GoalL1(), num_samples=9)
    plan = planner.plan(seen, goal, generators=make_generators([1]))
    return page_of(imagine_plan(model, GoalL1(), seen, goal, plan, image=both[0], goal_image=both[1]))


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("scheme", "width"), [("light", 1240), ("dark", 390)])
def test_a_page_opens_without_errors_and_requests(
    browser: Any, folder: Path, name: str, scheme: str, width: int
) -> None:
    visit = Visit(browser, folder / f"{name}.html", scheme=scheme, width=width)
    if name.startswith("plan"):
        visit.page.wait_for_selector(".scene .controls", state="visible")
        assert visit.page.locator(".interactive canvas").count() > 0
        assert not visit.page.locator(".still").is_visible()
    assert visit.errors == []
    assert visit.requests == []
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    for image in visit.page.locator("img").all():
        assert image.evaluate("image => image.naturalWidth") > 0
    for video in visit.page.locator("video").all():
        assert video.evaluate(LOADED) == [48, 32]
    unnamed = visit.page.locator("img:not([alt]), svg.plot:not([aria-label])").count()
    assert unnamed == 0
    visit.close()


@pytest.mark.parametrize("name", PAGES)
def test_drawings_and_text_change_with_the_theme(browser: Any, folder: Path, name: str) -> None:
    brightness = []
    for scheme in ("light", "dark"):
        visit = Visit(browser, folder / f"{name}.html", scheme=scheme, scripts=False)
        paper, text = (
            visit.page.locator(where).first.evaluate(f"e => getComputedStyle(e).{key}")
            for where, key in (("body", "backgroundColor"), ("svg.plot text", "fill"))
        )
        brightness.append([sum(map(int, colour[4:-1].split(","))) for colour in (paper, text)])
        visit.close()
    (light_paper, light_text), (dark_paper, dark_text) = brightness
    assert light_paper > light_text + 200 and dark_paper < dark_text - 200


def test_the_search_plot_can_be_stepped_and_rotated(browser: Any, folder: Path) -> None:
    visit = Visit(browser, folder / "plan.html")
    page = visit.page
    page.wait_for_selector(".scene .controls", state="visible")
    drawn = "() => document.querySelector('.interactive').data.filter(trace => trace.visible).length"
    everything = page.evaluate(drawn)
    assert page.locator(".summary").inner_text() == "all iterations"
    page.locator(".scene input").fill("2")
    page.wait_for_function(f"({drawn})() < {everything}")
    assert page.locator(".summary").inner_text().startswith("iteration 2 of 3: best energy")
    camera = "() => document.querySelector('.interactive')._fullLayout.scene.camera.eye.z"
    before = page.evaluate(camera)
    page.get_by_role("button", name="from above").click()
    page.wait_for_function(f"({camera})() > 1.9")
    assert before == pytest.approx(2 * 0.4067, abs=0.01)  # the sine of 24 degrees
    page.get_by_role("button", name="first view").click()
    page.wait_for_function(f"({camera})() < 1")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("() => document.querySelector('.interactive').layout.font.color === '#98a1ad'")
    assert visit.errors == []
    visit.close()


def test_without_scripts_the_still_drawing_is_shown(browser: Any, folder: Path) -> None:
    visit = Visit(browser, folder / "plan.html", scripts=False)
    assert visit.page.locator(".still svg").is_visible()
    assert not visit.page.locator(".interactive").is_visible()
    assert not visit.page.locator(".scene .controls").is_visible()
    visit.close()


def test_errors_and_requests_are_found(browser: Any, tmp_path: Path) -> None:
    page = tmp_path / "broken.html"
    page.write_text(
        "<img src='http://127.0.0.1:9/a.png'><script>console.error('one'); undefined_name();</script>"
    )
    visit = Visit(browser, page)
    visit.page.wait_for_load_state("load")
    assert visit.requests == ["http://127.0.0.1:9/a.png"]
    assert {"one", "undefined_name is not defined"} <= set(visit.errors)
    visit.close()
