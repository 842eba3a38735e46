"""Tables as text."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def text_table(rows: Sequence[Sequence[str]], left: Collection[int] | None = None) -> list[str]:
    """Return the lines of a table, its header first, with aligned columns.

    Args:
        rows: Cells, as many in each row.
        left: Columns whose cells begin at the left, counted from 0; those of the others end at the right. None is all.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if left is None or column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
