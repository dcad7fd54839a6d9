"""The paper's numbers beside ours: how far apart, and whether our interval holds theirs."""

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from ..render import NUMBER, TEXT, Column, Row, Table

_PAPER = "paper_"


def compared(rows: pd.DataFrame, table: Table) -> tuple[pd.DataFrame, Table]:
    """Rows of a table with more columns: ours less the paper's, behind each of the paper's.

    Where the rows have an interval of a difference, one more says whether the paper's is in it.
    """
    found = rows.copy()
    more = Table(*_columns(found, table))
    return found[more.names], more  # pyright: ignore[reportReturnType]


def _columns(rows: pd.DataFrame, table: Table) -> Iterator[Column]:
    for column in table.columns:
        yield column
        ours = column.name.removeprefix(_PAPER)
        if ours == column.name:
            continue
        apart = f"{ours}_less_paper"
        rows[apart] = rows[ours] - rows[column.name]
        yield replace(column, name=apart, type=NUMBER, header="ours less paper")
        if ours.endswith("difference") and "low" in rows:
            within = f"{ours}_within"
            rows[within] = [_within(row, column.name) for row in rows.to_dict("records")]
            yield Column(within, TEXT, "paper in our 95 %")


def _within(row: Row, paper: str) -> str | None:
    if pd.isna(row["low"]) or pd.isna(row[paper]):
        return None
    return "yes" if row["low"] <= row[paper] <= row["high"] else "no"
