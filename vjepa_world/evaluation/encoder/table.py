"""The metrics of encoders as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vjepa_world.errors import counted
from vjepa_world.system.text_table import text_table

UNDEFINED = "undefined"


def table(metrics: Mapping[str, Any]) -> str:
    """Return the metrics as text: rank correlations, differences, the lowest energies, and a breakdown by factor."""
    rows, kinds = metrics["encoders"], metrics["kinds"]
    first = rows[0]["encoder"]
    others = [row for row in rows if "difference" in row]
    over = counted(metrics["scenes"], "scene")
    parts = [
        f"Rank correlation of energy and distance to the goal; {counted(metrics['frames'], 'frame')} of {over}, "
        "± half of the 95 % interval over scenes",
        _grid(rows, kinds, "rank", "all"),
    ]
    if others:
        parts += [
            f"Rank of {first} minus that of the others, on the same frames",
            _differences(others, kinds),
        ]
    parts += [
        "Distance of the frame with the lowest energy; below it, of the nearest frame and of one drawn by chance",
        _aligned([["", *kinds], *lowest_rows(rows, kinds)]),
        "Pairs of frames that the energy puts in order [%]; chance: 50",
        _grid(rows, kinds, "in_order", None, percent),
        *undefined_sets(rows),
        *_factors(rows[0]),
    ]
    return "\n".join(parts)


def plain(estimate: Mapping[str, Any], sign: str = "") -> str:
    """Return an estimate with half of its interval as text."""
    return _text(estimate, 1, f"{sign}.2f")


def percent(estimate: Mapping[str, Any]) -> str:
    """Return an estimate of a share as text, in percent."""
    return _text(estimate, 100, ".0f")


def _text(estimate: Mapping[str, Any], scale: float, digits: str) -> str:
    if estimate["value"] is None:
        return UNDEFINED
    low, high = estimate["interval"]
    half = "" if low is None else f" ± {scale * (high - low) / 2:{digits.lstrip('+')}}"
    return f"{scale * estimate['value']:{digits}}{half}"


def named(row: Mapping[str, Any]) -> str:
    """Return the name of an encoder with its tokens."""
    return f"{row['encoder']}, {counted(row['tokens'], 'token')}"


def _grid(
    rows: Sequence[Mapping[str, Any]],
    kinds: Mapping[str, Any],
    metric: str,
    overall: str | None,
    write: Callable[[Mapping[str, Any]], str] = plain,
) -> str:
    lines = [["", *kinds, *(["all"] if overall else [])]]
    for row in rows:
        cells = [write(row["kinds"][kind][metric]) for kind in kinds]
        lines.append([named(row), *cells, *([write(row[overall])] if overall else [])])
    return _aligned(lines)


def _differences(rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, Any]) -> str:
    lines = [["", *kinds, "all"]]
    for row in rows:
        values = [*(row["kinds"][kind]["difference"] for kind in kinds), row["difference"]]
        lines.append([f"to {named(row)}", *(plain(value, "+") for value in values)])
    return _aligned(lines)


def lowest_rows(rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, Any]) -> list[list[str]]:
    """Return, as lines of a table, where the lowest energy lies by kind, the nearest frame, and a frame by chance."""
    scales = {kind: 100 if about["unit"] == "m" else 1 for kind, about in kinds.items()}
    lines = []
    for row in rows:
        found = [(row["kinds"][kind]["lowest"]["value"], scales[kind]) for kind in kinds]
        lines.append([named(row), *(UNDEFINED if at is None else f"{scale * at:.1f}" for at, scale in found)])
    for name, key in (("nearest frame", "nearest"), ("chance", "mean")):
        lines.append([name, *(f"{scales[kind] * about[key]:.1f}" for kind, about in kinds.items())])
    return lines


def undefined_sets(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each variant whose energies have no order somewhere."""
    found = []
    for row in rows:
        for kind, own in row["kinds"].items():
            if own["undefined"]:
                found.append(
                    f"{named(row)}: all energies are equal in {counted(own['undefined'], 'set')} of '{kind}', which "
                    "are left out: the features do not change with what is moved."
                )
    return found


def _factors(row: Mapping[str, Any]) -> list[str]:
    """Return the rank of a variant, of all kinds together, for each label of each factor."""
    groups = {
        f"{name}: {label}": group
        for name, labels in row["factors"].items()
        for label, group in labels.items()
    }
    if not groups:
        return []
    width = max(map(len, groups))
    return [
        f"Rank of {named(row)} by scene factor",
        *(
            f"  {name:{width}}  {plain(group):>14}  ({counted(group['scenes'], 'scene')})"
            for name, group in groups.items()
        ),
    ]


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(text_table(lines, left=(0,)))
