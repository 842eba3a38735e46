"""Compare a world model's predictions and planned actions with recorded episodes, and write a report.

No simulator and no robot is needed: the report answers whether one can plan with the model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import vjepa_world as vw
from planners import CEM, GoalL1

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("checkpoint", help="a fine-tuning run or a world model's checkpoint")
parser.add_argument("dataset", help="recorded episodes of any known format")
parser.add_argument("--report", type=Path, default=Path("open_loop.html"))
parser.add_argument("--windows", type=int, default=256)
parser.add_argument("--horizon", type=int, default=8, help="steps of the rollouts")
parser.add_argument(
    "--samples", type=int, default=64, help="samples of the planner and of the rank correlation"
)
arguments = parser.parse_args()

model = vw.load_world_model(arguments.checkpoint)
dataset = vw.open_trajectories(arguments.dataset)

energy = GoalL1()
planner = CEM(
    model,
    energy=energy,
    horizon=1,
    num_samples=arguments.samples,
    num_iterations=4,
    num_elites=max(arguments.samples // 8, 1),
)
result = vw.evaluate_open_loop(
    model,
    dataset,
    planner,
    energy,
    config=vw.OpenLoopConfig(horizon=arguments.horizon, samples=arguments.samples, points=9, pictures=2),
    windows=arguments.windows,
    # The provenance records which episodes the model was trained on; they are left out.
    provenance=vw.read_checkpoint(arguments.checkpoint).details.get("provenance"),
    seed=0,
)
for note in result.notes:
    print(f"note: {note}")
for assessment in result.assessments():
    print(f"{assessment.question} {assessment.answer}: {assessment.evidence}")

arguments.report.write_text(vw.open_loop_report(result, f"{arguments.checkpoint} on {arguments.dataset}"))
print(f"report in {arguments.report}")
