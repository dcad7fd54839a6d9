"""Tables: what their columns are in Parquet, in Markdown, and in HTML pages that stand alone."""

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

    header: None keeps it out of Markdown and HTML. in_words: what to write of a row where its
    number would mislead, or None.
    """

    name: str
    type: pa.DataType
    header: str | None
    decimals: int = 3
    in_words: Callable[[Row], str | None] = _never

    @property
    def is_text(self) -> bool:
        """Words, which are read from the left."""
        return self.type == TEXT

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
SEED = Column("seed", pa.int64(), "seed")


def with_paper(*columns: Column) -> Iterator[Column]:
    """Each column, and behind it the paper's numbers."""
    for column in columns:
        name, header = f"paper_{column.name}", f"paper: {column.header}"
        yield column
        yield replace(column, name=name, header=header, in_words=_never)


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

    shown: what is read instead of `frame`. The metadata of the Parquet file has the notes too.
    """
    pages = {".md": markdown, ".html": html}
    shown = frame if shown is None else shown
    for path in map(Path, paths):
        if path.suffix == ".parquet":
            parquet.write(frame, path, table.schema, {**facts, "notes": [*notes]})
            continue
        with atomic.writing(path) as partial:
            partial.write_text(pages[path.suffix](shown, table, notes), encoding="utf-8")


def markdown(frame: pd.DataFrame, table: Table, notes: Sequence[str] = ()) -> str:
    """The columns that have a header and say anything as Markdown, rounded for reading."""
    shown = readable(frame, table)
    body = pd.DataFrame({column.header: [cell.text for cell in cells] for column, cells in shown})
    return "\n\n".join([body.to_markdown(index=False, disable_numparse=True), *notes]) + "\n"


def html(frame: pd.DataFrame, table: Table, notes: Sequence[str] = ()) -> str:
    """The same as an HTML page that stands alone, sorted by a click on a header."""
    from . import pages  # which takes a tenth of a second to import

    return pages.page("table.html", columns=readable(frame, table), notes=notes)


@dataclass(frozen=True)
class Cell:
    """What is read, and the number that it is sorted by, if it is one."""

    text: str
    number: str | None


def readable(frame: pd.DataFrame, table: Table) -> list[tuple[Column, list[Cell]]]:
    """The columns that have a header, each with its cells, without those of dashes alone."""
    rows = frame.to_dict("records")
    shown = [
        (column, [Cell(column.cell(row), _sorted_by(row[column.name])) for row in rows])
        for column in table.columns
        if column.header is not None
    ]
    return [(column, cells) for column, cells in shown if not rows or _says_anything(cells)]


def _says_anything(cells: Sequence[Cell]) -> bool:
    return any(cell.text not in ("", NOTHING) for cell in cells)


def _sorted_by(value: Any) -> str | None:
    """As JavaScript reads it."""
    if pd.isna(value) or isinstance(value, (str, bool)):
        return None
    return "Infinity" if value == float("inf") else repr(float(value))


def _number(value: float | str, decimals: int) -> str:
    if pd.isna(value):
        return NOTHING
    if not isinstance(value, float):
        return str(value)
    return "∞" if value == float("inf") else f"{value:.{decimals}f}"
