"""Tables: what their columns are in Parquet, in Markdown, and in HTML pages that stand alone."""

import html as entities
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from ..files import atomic, parquet

TEXT, WHOLE, NUMBER, TRUTH = pa.string(), pa.int32(), pa.float64(), pa.bool_()
NOTHING = "–"
Row = Mapping[str, Any]


def _never(_: Row) -> None:
    return None


@dataclass(frozen=True)
class Column:
    """One column of a table.

    header: None keeps it out of Markdown and HTML. if_known: it is also out of them where no row
    has a value. in_words: what to write of a row where its number would mislead, or None.
    """

    name: str
    type: pa.DataType
    header: str | None
    decimals: int = 3
    if_known: bool = False
    in_words: Callable[[Row], str | None] = _never

    def cell(self, row: Row) -> str:
        """What is read of a row."""
        words = self.in_words(row)
        return _number(row[self.name], self.decimals) if words is None else words


class Table:
    """The columns of a table, and the schema of its Parquet file, which follows from them."""

    def __init__(self, *columns: Column) -> None:
        """In the order of the file."""
        self.columns = columns
        self.schema = pa.schema([(column.name, column.type) for column in columns])
        self.names: list[str] = self.schema.names


MODEL, KERNELS = Column("model", TEXT, "model"), Column("kernels", TEXT, "kernels")
SEED = Column("seed", WHOLE, "seed")


def with_paper(*columns: Column) -> Iterator[Column]:
    """Each column, and behind it the paper's numbers, where any are known."""
    for column in columns:
        name, header = f"paper_{column.name}", f"paper: {column.header}"
        yield column
        yield replace(column, name=name, header=header, if_known=True, in_words=_never)


def p_value(name: str, header: str) -> Column:
    """A column of p-values, none of which is written as zero."""
    return Column(
        name, NUMBER, header, in_words=lambda row: "< 0.001" if row[name] < 0.0005 else None
    )


def save(
    frame: pd.DataFrame,
    table: Table,
    facts: Mapping[str, Any],
    paths: Sequence[Path | str],
    notes: Sequence[str] = (),
    *,
    shown: pd.DataFrame | None = None,
) -> None:
    """Write a table to each of `paths`, by the suffix: Parquet, or to be read, notes below it.

    shown: what is read instead of `frame`.
    """
    pages = {".md": markdown, ".html": html}
    shown = frame if shown is None else shown
    for path in map(Path, paths):
        if path.suffix == ".parquet":
            parquet.write(frame, path, table.schema, facts)
            continue
        with atomic.writing(path) as partial:
            partial.write_text(pages[path.suffix](shown, table, notes), encoding="utf-8")


def markdown(frame: pd.DataFrame, table: Table, notes: Sequence[str] = ()) -> str:
    """The columns that have a header as Markdown, rounded for reading."""
    body = _readable(frame, table).to_markdown(index=False, disable_numparse=True)
    return "\n\n".join([body, *notes]) + "\n"


def html(frame: pd.DataFrame, table: Table, notes: Sequence[str] = ()) -> str:
    """The same as an HTML page that stands alone."""
    body = _readable(frame, table).to_html(index=False, border=0)
    return _PAGE.format(
        body="\n".join([body, *(f"<p>{entities.escape(note)}</p>" for note in notes)])
    )


def _readable(frame: pd.DataFrame, table: Table) -> pd.DataFrame:
    shown = [
        column
        for column in table.columns
        if column.header is not None and not (column.if_known and all(frame[column.name].isna()))
    ]
    rows = [[column.cell(row) for column in shown] for row in frame.to_dict("records")]
    return pd.DataFrame(rows, columns=[column.header for column in shown])


def _number(value: float | str, decimals: int) -> str:
    if pd.isna(value):
        return NOTHING
    if not isinstance(value, float):
        return str(value)
    return "∞" if value == float("inf") else f"{value:.{decimals}f}"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>dead pixel test</title>
<style>
body {{ font: 13px/1.4 system-ui, sans-serif; margin: 1em; color: #1f2430; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3em .5em; text-align: right; }}
td {{ white-space: nowrap; }} th {{ border-bottom: 2px solid #1f2430; vertical-align: bottom; }}
tr:nth-child(even) td {{ background: #f3f5f9; }}
th:first-child, td:first-child {{ text-align: left; }}
p {{ max-width: 60em; }}
</style></head><body>
{body}
</body></html>
"""
