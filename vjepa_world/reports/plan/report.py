"""The page of one plan: what to do, what the model imagines of it, and how the search found it.

Legend: K horizon, A action size, P state size, N tokens a frame, D width, H W pixels, s pixels of a decoded picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from planners.protocols import Energy, Iteration, Plan, evaluate_energy, needs_states
from vjepa_world.evaluation.action_axes import ActionSpace, action_space, space_of
from vjepa_world.models.context import Context
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.ops.token_error import token_error
from vjepa_world.reports import page as html
from vjepa_world.reports.open_loop.pictures import shown_frames
from vjepa_world.reports.plan.space import search_paths, space_section
from vjepa_world.reports.plot_panel import colour_bar, colours
from vjepa_world.reports.training_curves import Chart, Point

#: Height of a picture [pixels].
TILE = 168

_POSE_HEAD = ("dx [m]", "dy [m]", "dz [m]", "roll [rad]", "pitch [rad]", "yaw [rad]", "gripper closure")


@dataclass(frozen=True, eq=False)
class Decoded:
    """Pictures of features: `now` and `goal` `[3, s, s]`, `imagined [K, 3, s, s]`; uint8, on the CPU."""

    now: Tensor
    goal: Tensor
    imagined: Tensor


@dataclass(frozen=True, eq=False)
class PlanShown:
    """What the page of one plan is drawn from.

    Attributes:
        plan: Of one problem.
        state: Where the robot is, `[P]`.
        bounds: Lowest and highest action, `[2, A]`.
        image: What the camera sees, uint8 `[3, H, W]`.
        goal_image: What it should see, uint8 `[3, H, W]`.
        energy_now: Of what is seen.
        energies: Of what is imagined after each step alone, `[K]`.
        distances: Of each token to the goal's, L1, now and after each step, `[K + 1, rows, columns]`; None where tokens
            are no places in the picture.
        decoded: Pictures of the features; None without a decoder.
        space: What actions are; None goes by their number.
    """

    plan: Plan
    state: Tensor
    bounds: Tensor
    image: Tensor
    goal_image: Tensor
    energy_now: float
    energies: Tensor
    distances: Tensor | None
    decoded: Decoded | None
    space: ActionSpace | None = None

    @property
    def action_space(self) -> ActionSpace:
        """What actions are."""
        return self.space or action_space(self.plan.actions.shape[2])


@torch.no_grad()
def gather(
    model: LatentWorldModel,
    energy: Energy,
    context: Context,
    goal: Tensor,
    plan: Plan,
    *,
    image: Tensor,
    goal_image: Tensor,
) -> PlanShown:
    """Imagine a plan once more, step by step, and gather what its page shows.

    Args:
        model: What planned.
        energy: What was minimised.
        context: One problem.
        goal: Its goal, `[1, N, D]`.
        plan: Its plan.
        image: What the camera sees, uint8 `[3, H, W]`.
        goal_image: What it should see, uint8 `[3, H, W]`.
    """
    now, actions = context.features[:, -1], plan.actions[:, None]
    imagined, states = _imagined(model, energy, context, actions)
    distances = None
    if model.config.latents.kind != "queries":
        seen = torch.cat([now, imagined[0, 0]])
        distances = token_error(seen, goal).unflatten(-1, model.config.grid).cpu()
    return PlanShown(
        plan=plan,
        state=context.states[0, -1].cpu(),
        bounds=torch.stack([model.action_low, model.action_high]).float().cpu(),
        image=image,
        goal_image=goal_image,
        energy_now=energy_now(energy, context, goal, plan, model.hold_action(context)),
        energies=_energies(energy, imagined, goal, actions, states),
        distances=distances,
        decoded=_decoded(model, now[0], goal[0], imagined[0, 0]),
        space=space_of(model),
    )


def energy_now(
    energy: Energy, context: Context, goal: Tensor, plan: Plan, hold: Tensor | None = None
) -> float:
    """Return the energy of what is seen, as if it had been imagined, with no motion; arguments as in :func:`gather`.

    No motion is `hold [1, A]`, where the robot stays; zeros where nobody says.
    """
    nothing = torch.zeros_like(plan.actions[:, None, :1]) if hold is None else hold[:, None, None]
    here = context.features[:, None, -1:], goal, nothing, context.states[:, None, -1:]
    return float(_energies(energy, *here)[0])


def _imagined(
    model: LatentWorldModel, energy: Energy, context: Context, actions: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Return features `[1, 1, K, N, D]`, and states `[1, 1, K, P]` where the energy needs them."""
    if needs_states(energy):
        return model.rollout_with_states(context, actions)
    return model.rollout(context, actions), None


def _energies(
    energy: Energy, imagined: Tensor, goal: Tensor, actions: Tensor, states: Tensor | None
) -> Tensor:
    """Return the energies `[K]` of what is imagined `[1, 1, K, N, D]`, each step alone; states `[1, 1, K, P]`."""
    energies = []
    for step in range(imagined.shape[2]):
        part = slice(step, step + 1)
        state = None if states is None else states[:, :, part]
        energies.append(evaluate_energy(energy, imagined[:, :, part], goal, actions[:, :, part], state)[0, 0])
    return torch.stack(energies).float().cpu()


def _decoded(model: LatentWorldModel, now: Tensor, goal: Tensor, imagined: Tensor) -> Decoded | None:
    if model.decoder is None:
        return None
    pictures = model.picture(torch.cat([now[None], goal[None], imagined])).cpu()
    return Decoded(pictures[0], pictures[1], pictures[2:])


def plan_page(
    title: str, subtitle: str, shown: PlanShown, settings: Mapping[str, object], more: Mapping[str, object]
) -> str:
    """Return the whole HTML file.

    Args:
        title: Of the page.
        subtitle: A line below it.
        shown: What is drawn.
        settings: What was searched with, and how long it took; a table.
        more: All settings of the planner, folded.
    """
    space = shown.action_space
    paths = search_paths(shown.plan, shown.state, space)
    no_scene = (
        html.paragraph("Not drawn: joints are no places in space, and where they lead is not known.", "dim")
        if space.of_joints
        else ""
    )
    sections = {
        "The plan": _summary(shown) + _actions(shown),
        "Now, the goal, and what the model imagines": _pictures(shown),
        "Energy of the samples by iteration": _curves(shown),
        "The samples in space": no_scene if paths is None else space_section(paths),
        "Settings": _table(settings) + html.folded("all settings of the planner", _table(more)),
    }
    return html.page(title, subtitle, sections)


def _table(settings: Mapping[str, object]) -> str:
    written = {name: f"{v:.4g}" if isinstance(v, float) else v for name, v in settings.items()}
    return html.table(written.items())


def _summary(shown: PlanShown) -> str:
    """Return whether the model expects to come nearer to the goal."""
    after, steps = float(shown.energies[-1]), len(shown.energies)
    share = after / shown.energy_now if shown.energy_now > 0 else math.nan
    change = f" ({100 * (share - 1):+.0f} %)" if math.isfinite(share) else ""
    words = (
        f"Energy {_energy(shown.energy_now)} now, {_energy(after)} imagined after {_counted(steps)}{change}. "
    )
    if after < shown.energy_now:
        return html.paragraph(words + "The model expects to come nearer to the goal.", "note good")
    more = "The model expects to come no nearer to the goal: it may be there already, or out of reach of this plan."
    return html.paragraph(words + more, "alarm")


def _energy(value: float) -> str:
    """Return an energy in words; what diverged has none."""
    return f"{value:.4f}" if math.isfinite(value) else "none"


def _counted(steps: int) -> str:
    return "1 step" if steps == 1 else f"{steps} steps"


def _actions(shown: PlanShown) -> str:
    actions, space = shown.plan.actions[0], shown.action_space
    head = _POSE_HEAD if space.is_pose else tuple(axis.label for axis in space.axes)
    now = space.hold(shown.state[None])
    here = (
        [["now", *(_signed(number) for number in now[0].tolist()), ""]]
        if space.meaning == "target" and now is not None
        else []
    )
    rows = [
        [f"step {step}", *(_signed(number) for number in action.tolist()), _energy(float(energy))]
        for step, (action, energy) in enumerate(zip(actions, shown.energies, strict=True), start=1)
    ]
    bounds = [
        [f"{end} allowed", *(_signed(number) for number in bound.tolist()), ""]
        for end, bound in zip(("lowest", "highest"), shown.bounds, strict=True)
    ]
    table = html.table([*here, *rows, *bounds], ["", *head, "energy after it"])
    return table + html.paragraph(_action_words(space), "dim")


def _action_words(space: ActionSpace) -> str:
    """Return what the numbers of actions are, in a sentence; empty where nobody says."""
    if space.is_pose:
        return "Changes in the robot's base frame; rotations are extrinsic xyz Euler angles."
    if space.meaning == "target":
        return "Targets, written as the robot's state is; no step is larger than the largest in training or declared."
    return "Changes of the joints." if space.of_joints and space.meaning == "delta" else ""


def _signed(number: float) -> str:
    return f"{round(number, 4) + 0.0:+.4f}"


def _pictures(shown: PlanShown) -> str:
    lines = ["Energies are what the search minimises, here of each step alone."]
    if shown.decoded is None:
        lines.append("The model has no pixel decoder, so what it imagines cannot be shown as pictures.")
    if shown.distances is not None:
        lines.append("The maps show where features differ: each token's L1 distance to the goal's.")
    steps = [frame - 1 for frame in shown_frames(len(shown.energies) + 1)[1:]]
    if len(steps) < len(shown.energies):
        lines.append(f"{len(steps)} of {len(shown.energies)} steps are drawn.")
    rows = [
        _camera_row(shown, steps),
        _imagined_row(shown, steps),
        *([_distance_row(shown.distances, steps)] if shown.distances is not None else []),
    ]
    cells = "".join(f"<div>{cell}</div>" for row in rows for cell in row)
    columns = f"grid-template-columns: repeat({len(steps) + 2}, max-content)"
    return (
        html.paragraph(" ".join(lines), "dim")
        + f'{_SHEET}<div class="scroll"><div class="moments" style="{columns}">{cells}</div></div>'
    )


def _camera_row(shown: PlanShown, steps: Sequence[int]) -> list[str]:
    now, goal = (
        html.picture(_tile(picture), f"{name}, as the camera sees it")
        for name, picture in (("now", shown.image), ("goal", shown.goal_image))
    )
    return [now, *[""] * len(steps), goal]


def _imagined_row(shown: PlanShown, steps: Sequence[int]) -> list[str]:
    """Return what was decoded, each with its energy beneath; without a decoder the energies alone."""
    names = ["now", *(f"imagined after step {step + 1}" for step in steps), "goal"]
    energies = [shown.energy_now, *(float(shown.energies[step]) for step in steps)]
    words = [*(f"energy {_energy(energy)}" for energy in energies), "\N{NO-BREAK SPACE}"]
    if shown.decoded is None:
        pictures = [html.paragraph(name) for name in names]
    else:
        decoded = [shown.decoded.now, *shown.decoded.imagined[list(steps)], shown.decoded.goal]
        titles = [f"{name}, decoded" if name in ("now", "goal") else name for name in names]
        pictures = [html.picture(_tile(d), title) for d, title in zip(decoded, titles, strict=True)]
    return [f"{picture}<p><b>{word}</b></p>" for picture, word in zip(pictures, words, strict=True)]


def _distance_row(distances: Tensor, steps: Sequence[int]) -> list[str]:
    """Return the maps of `[K + 1, rows, columns]` for now and the steps, and their scale."""
    kept = distances[[0, *(step + 1 for step in steps)]].numpy()
    high = float(kept.max())
    names = ["distance now", *(f"distance after step {step + 1}" for step in steps)]
    maps = [
        html.picture(_enlarged(colours(plane, 0.0, high), Image.Resampling.NEAREST), name)
        for plane, name in zip(kept, names, strict=True)
    ]
    return [*maps, html.picture(colour_bar(0.0, high, "L1 of a token", TILE), "scale")]


def _tile(picture: Tensor) -> np.ndarray:
    """Return a picture `[3, H, W]` as `[TILE, w, 3]`."""
    return _enlarged(picture.permute(1, 2, 0).numpy(), Image.Resampling.BICUBIC)


def _enlarged(pixels: np.ndarray, how: Image.Resampling) -> np.ndarray:
    width = max(round(TILE * pixels.shape[1] / pixels.shape[0]), 1)
    return np.asarray(Image.fromarray(pixels).resize((width, TILE), how))


def _curves(shown: PlanShown) -> str:
    """Return the energies by iteration, and how wide the search was."""
    trace = shown.plan.iterations
    if not trace:
        return html.paragraph("The plan was not searched for anew, so there is nothing to show.", "dim")
    words = (
        "Best and mean of what an iteration tried, and how wide it was drawn: the standard deviation in half-widths of "
        "the bounds on the actions."
    )
    table = _iterations(trace)
    if len(trace) == 1:
        return html.paragraph(words, "dim") + table
    energies = {
        "best sample": _series(trace, "best_energy"),
        "mean of the samples": _series(trace, "mean_energy"),
        "the plan": [(float(len(trace)), float(shown.plan.energy[0]))],
        "now": [(float(step), shown.energy_now) for step in (1, len(trace))],
    }
    charts = [
        Chart("energy, over iterations", energies),
        Chart("spread, over iterations", {"spread [half-widths of the bounds]": _series(trace, "spread")}),
    ]
    return html.paragraph(words, "dim") + html.cards(charts) + html.folded("as a table", table)


def _iterations(trace: Sequence[Iteration]) -> str:
    rows = [
        [
            number,
            f"{float(part.best_energy[0]):.4f}",
            f"{float(part.mean_energy[0]):.4f}",
            f"{float(part.spread[0]):.3f}",
            part.selected.shape[1],
            int(part.selected[0].sum()),
            int((~torch.isfinite(part.energies[0])).sum()),
        ]
        for number, part in enumerate(trace, start=1)
    ]
    return html.table(
        rows, ["iteration", "best energy", "mean energy", "spread", "samples", "chosen", "without an energy"]
    )


def _series(trace: Sequence[Iteration], name: str) -> list[Point]:
    values = [float(getattr(iteration, name)[0]) for iteration in trace]
    return [(float(k), value) for k, value in enumerate(values, start=1) if math.isfinite(value)]


_SHEET = """<style>
.moments { display: grid; gap: 4px 14px; align-items: end } .moments p { font-size: 13px; margin: 2px 0 }
.moments div { min-width: 0 } .moments > div { padding-bottom: 6px }
</style>"""
