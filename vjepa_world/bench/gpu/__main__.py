"""Runs the checks, each in a separate process, so that a crash or lack of memory affects one check only.

python -m vjepa_world.bench.gpu [--device cuda] [--size full|tiny] [--out FILE] [CHECK ...]

Exit codes: 0 all checks passed, 1 at least one failed, 2 the device does not exist.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from vjepa_world.bench.gpu.checks import CHECKS, FULL, TINY
from vjepa_world.bench.harness import machine_description
from vjepa_world.errors import ConfigError, VJEPAWorldError
from vjepa_world.files.atomic import write_json_atomic
from vjepa_world.system.device import resolve_device

#: Time limits of all checks together and of one check [s].
TOTAL_S, CHECK_S = 460.0, 150.0
SIZES = {"full": FULL, "tiny": TINY}


def main() -> int:
    """Run the requested checks, print and write their results, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m vjepa_world.bench.gpu", description=__doc__.splitlines()[0]
    )
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"{', '.join(CHECKS)}; default: all")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu_check/result.json"))
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        device = resolve_device(arguments.device)
    except ConfigError as error:
        sys.stderr.write(f"gpu-check: error: {error}\n")
        return 2
    unknown = set(arguments.checks) - set(CHECKS)
    if unknown:
        parser.error(f"unknown check {', '.join(sorted(unknown))}; allowed: {', '.join(CHECKS)}")
    if arguments.alone:
        return _run_here(arguments.alone, device, arguments.size)
    results: dict[str, Any] = {}
    deadline = time.monotonic() + TOTAL_S
    for name in arguments.checks or CHECKS:
        results[name] = _run_in_process(
            name, arguments.device, arguments.size, min(CHECK_S, deadline - time.monotonic())
        )
        sys.stdout.write(f"{name}: {json.dumps(results[name])}\n")
        sys.stdout.flush()
    passed = all(result["passed"] for result in results.values())
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else "none"
    machine = {**machine_description(), "gpu": gpu, "cuda": torch.version.cuda or "none"}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(arguments.out, {"passed": passed, "machine": machine, "checks": results})
    sys.stdout.write(f"{'passed' if passed else 'FAILED'}: {arguments.out}\n")
    return 0 if passed else 1


def _run_in_process(name: str, device: str, size: str, limit_s: float) -> dict[str, Any]:
    """Run a check in a separate process, and return its result."""
    if limit_s <= 0:
        return {"passed": False, "error": f"not run: the {TOTAL_S:.0f} s for all checks were used up"}
    command = [
        sys.executable,
        "-m",
        "vjepa_world.bench.gpu",
        "--device",
        device,
        "--size",
        size,
        "--alone",
        name,
    ]
    started = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return {"passed": False, "error": f"took longer than {limit_s:.0f} s"}
    lines = done.stdout.splitlines()
    wall_s = round(time.monotonic() - started, 1)
    if done.returncode or not lines:
        return {"passed": False, "wall_s": wall_s, "error": (done.stderr or done.stdout)[-2000:]}
    return {"passed": True, "wall_s": wall_s, **json.loads(lines[-1])}


def _run_here(name: str, device: torch.device, size: str) -> int:
    try:
        metrics = CHECKS[name](device, SIZES[size])
    except VJEPAWorldError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"\n{json.dumps(metrics)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
