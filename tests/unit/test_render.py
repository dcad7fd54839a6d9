"""Tables as they are read: rounded, nothing cut, and what is left out is left out on purpose."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deadpixel.errors import InputError
from deadpixel.files import parquet
from deadpixel.results import render
from deadpixel.results.render import NUMBER, TRUTH, WHOLE, Column

TABLE = render.Table(
    render.MODEL,
    Column("n", WHOLE, "images"),
    *render.with_paper(
        Column("acc", NUMBER, "acc (%)"),
        Column("size", NUMBER, "size", decimals=0),
        Column("width", NUMBER, "width", 1, in_words=lambda row: "none" if row["n"] < 9 else None),
    ),
    Column("width_se", NUMBER, header=None),
    render.p_value("chance_p", "p"),
    Column("exact", TRUTH, "exact"),
)
FRAME = pd.DataFrame(
    {
        "model": ["a", "b", "c"],
        "n": [8, 9, 10],
        "acc": [69.75849, np.nan, 70],
        "paper_acc": [69.7, np.nan, np.nan],
        "size": [435.4, np.nan, np.inf],
        "paper_size": np.nan,
        "width": [1.25, 76.53449, np.nan],
        "paper_width": [2.25, 2.0, 2.0],
        "width_se": 0.5,
        "chance_p": [0.0001, 0.0006, 0.5],
        "exact": [True, False, True],
    }
)
PRINTED = [
    ["model", "images", "acc (%)", "paper: acc (%)", "size", "width", "paper: width", "p", "exact"],
    ["a", "8", "69.758", "69.700", "435", "none", "2.2", "< 0.001", "True"],
    ["b", "9", "–", "–", "–", "76.5", "2.0", "0.001", "False"],
    ["c", "10", "70.000", "–", "∞", "–", "2.0", "0.500", "True"],
]


def test_markdown() -> None:
    """Infinite is ∞, unknown a dash, tiny not zero; no column without a header or any number."""
    head, _, *body = render.markdown(FRAME, TABLE).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, *body)]
    assert rows == PRINTED


def test_html_has_the_same_cells_on_a_page_of_its_own() -> None:
    page = render.html(FRAME, TABLE).replace("&lt;", "<")
    assert page.startswith("<!doctype html>") and 'charset="utf-8"' in page
    rows = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row) for row in page.split("<tr>")[1:]]
    assert rows == PRINTED


def test_cells_are_sorted_by_every_digit() -> None:
    """By what the file has where words are read; words by themselves."""
    page = render.html(FRAME, TABLE)
    assert '<td data-value="1.25">none</td>' in page and '<td data-value="Infinity">∞</td>' in page
    assert '<td data-value="69.75849">69.758</td>' in page and "<td>True</td>" in page
    assert '<td class="text">a</td>' in page and "<td>–</td>" in page


def test_a_column_of_dashes_is_not_shown() -> None:
    assert (
        "width"
        not in render.markdown(FRAME.assign(width=np.nan, n=9), TABLE).split("paper: width")[0]
    )


def test_a_table_without_rows_shows_what_its_columns_would_be() -> None:
    assert "acc (%)" in render.html(FRAME[:0], TABLE)


def test_notes_stand_below_the_table() -> None:
    assert render.markdown(FRAME, TABLE, ["one", "two"]).endswith("|\n\none\n\ntwo\n")
    page = render.html(FRAME, TABLE, ["one", "2 < 3"])
    assert page.index("</table>") < page.index(">one</p>") < page.index(">2 &lt; 3</p>")


def test_long_tables_are_whole() -> None:
    """No row and no name is cut for the screen."""
    long = pd.concat([FRAME.assign(model="m" * 90)] * 70)
    assert render.html(long, TABLE).count("m" * 90) == 210
    assert render.markdown(long, TABLE).count("m" * 90) == 210


def test_a_column_is_declared_once() -> None:
    """Its type is the file's; the paper's is of the same type and behind ours."""
    assert TABLE.names == [*FRAME] == TABLE.schema.names
    assert [str(kind) for kind in TABLE.schema.types] == [
        *("string", "int32", *["double"] * 8, "bool")
    ]


def test_save_writes_each_path_by_its_suffix(tmp_path: Path) -> None:
    """The Parquet file keeps every digit, and what the numbers are of; all have the notes."""
    files = [tmp_path / "tables" / f"table.{suffix}" for suffix in ("html", "parquet", "md")]
    render.save(FRAME, TABLE, {"target": "layer4"}, [*map(str, files)], ["note"])
    read = parquet.read(files[1], TABLE.schema)
    pd.testing.assert_frame_equal(read, FRAME.astype({"n": "int32"}))
    assert parquet.read_provenance(files[1]) == {"target": "layer4", "notes": ["note"]}
    assert files[0].read_text(encoding="utf-8") == render.html(FRAME, TABLE, ["note"])
    assert files[2].read_text(encoding="utf-8") == render.markdown(FRAME, TABLE, ["note"])
    assert len([*files[0].parent.iterdir()]) == 3
    with pytest.raises(InputError, match=r"missing columns \['size'\]"):
        render.save(FRAME.drop(columns="size"), TABLE, {}, [files[1]])
