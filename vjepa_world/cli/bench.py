"""`vjepa-world bench NAME`: measures, prints a table, writes `runs/bench/NAME/result.json`."""

from __future__ import annotations

from pathlib import Path

from vjepa_world.bench import BENCHES, BenchConfig, report, run_bench

Config = BenchConfig


def run(config: BenchConfig) -> None:
    """Run the benchmark named, or all of them; without a name, list them."""
    if not config.bench:
        width = max(map(len, BENCHES))
        print("\n".join(f"{name:<{width}}  {description}" for name, description in BENCHES.items()))
        return
    for name in BENCHES if config.bench == "all" else [config.bench]:
        path = report(name, run_bench(name, config), Path("runs") / "bench" / (config.name or name))
        print(f"{path}\n")
