"""Every map: its row in the table of all, and its mean tile."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from deadpixel import extent, imbalance
from deadpixel.files import parquet, schemas
from deadpixel.results import fields, render

INF, NAN = np.inf, np.nan


KEYS = ["dataset", "model", "weights", "kernels", "target"]
IMBALANCE = schemas.measures(imbalance.columns())
EXTENT = schemas.measures(extent.columns())
MAPS = [
    *(["cub", "a", "imagenet", "odd", target] for target in ("layer3", "layer4", "output")),
    ["cub", "a", "imagenet", "padded", "layer3"],
    ["photos", "a", "imagenet", "odd", "layer3"],
    ["cub", "a", "file", "odd", "layer3"],
    ["cub", "b", "imagenet", "odd", "layer3"],
]


def _rows(schema: pa.Schema) -> pd.DataFrame:
    """A row of every map, in whose numbers the columns and the maps are counted."""
    frame = pd.DataFrame(MAPS, columns=KEYS).assign(n_images=8)
    numbers = [name for name in schema.names if name not in (*frame, "failure")]
    counted = {name: 100.0 * n + np.arange(len(MAPS)) for n, name in enumerate(numbers)}
    return frame.assign(**counted, failure=None)[schema.names]


def test_each_map_has_its_own_theory_fit_imbalance_and_extent() -> None:
    """In the order of the fits, whatever the order of the rest."""
    fits, uneven, reach = (_rows(schema) for schema in (schemas.FITS, IMBALANCE, EXTENT))
    uneven, reach = (measured.assign(n_images=99) for measured in (uneven, reach))
    trf = pd.DataFrame(
        [("a", "odd", "layer3"), ("a", "padded", "layer3"), ("a", "odd", "output")],
        columns=["model", "kernels", "target"],
    ).assign(size_h=[10, 20, INF], size_w=7.0, offset_h=1.5, offset_w=2.5)
    shuffled = (measured.sample(frac=1, random_state=0) for measured in (uneven, reach))
    found = fields.receptive_fields(fits, trf[::-1], *shuffled)
    assert [*found] == fields.FIELDS.names
    assert found[KEYS].to_numpy().tolist() == MAPS
    expected = [10, NAN, INF, 20, 10, 10, NAN]
    assert found["trf_h"].tolist() == pytest.approx(expected, nan_ok=True)
    assert found.loc[0, ["trf_w", "offset_y", "offset_x"]].tolist() == [7, 1.5, 2.5]
    for measured in (uneven, reach):
        for name in {*fields.FIELDS.names} & {*measured} - {*fits}:
            assert found[name].tolist() == measured[name].tolist(), name
    for name in {*fields.FIELDS.names} & {*fits}:
        assert found[name].tolist() == fits[name].tolist(), name


def test_every_metric_is_in_the_file_and_in_the_table() -> None:
    """The paper's indices with their noise, of the others only what noise does not raise."""
    headers = [column.header for column in fields.FIELDS.columns if column.header]
    for name, metric in imbalance.METRICS.items():
        stored = {f"{name}{of}" for of in ("_unbiased", "_unbiased_se", "", "_floor")}
        assert stored <= {*fields.FIELDS.names}
        shown = [header for header in headers if header.startswith(metric.header)]
        noise = [metric.header, f"{metric.header} noise floor"] if metric.in_paper else []
        assert shown == [f"{metric.header} unbiased", f"{metric.header} ± se", *noise]
    stored = {f"{name}{of}" for name in extent.METRICS for of in ("", "_se")}
    assert stored <= {*fields.FIELDS.names}
    assert {metric.header for metric in extent.METRICS.values()} - {None} <= {*headers}
    assert {"centre x (px)", "radius of 90 % (px)", "dead pixels"} <= {*headers}


def test_a_gaussian_that_does_not_fit_has_no_widths_in_print(tmp_path: Path) -> None:
    """It is said in words, with its R2; the Parquet file keeps the raw numbers."""
    fits = _rows(schemas.FITS).assign(r_squared=[0.32, 0.5, *[NAN] * 5], sigma_x=133.0)
    fits.loc[2, ["sigma_x", "sigma_y", "center_x", "center_y"]] = NAN
    trf = pd.DataFrame(columns=schemas.TRF.names)
    table = fields.receptive_fields(fits, trf, _rows(IMBALANCE), _rows(EXTENT))
    head, _, *body = render.markdown(table, fields.FIELDS).splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (head, *body)]
    rows = [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]
    widths = ["σx (px)", "σy (px)", "centre x (px)", "centre y (px)", "R²"]
    assert [rows[0][name] for name in widths] == ["no Gaussian (R² 0.320)", "–", "–", "–", "0.320"]
    assert [rows[1][name] for name in widths] == ["133.000", "401.000", "101.0", "201.0", "0.500"]
    assert [rows[2][name] for name in widths] == ["–"] * 5
    parquet.write(table, tmp_path / "a.parquet", fields.FIELDS.schema, {})
    read = parquet.read(tmp_path / "a.parquet", fields.FIELDS.schema)
    assert read["sigma_x"].tolist()[:2] == [133, 133]
    assert len(fields.poor_fits(table)) == 1
    assert fields.poor_fits(table[1:]) == []


def test_tiles_are_of_their_map_and_row_by_row() -> None:
    """As their files have them, in whatever order; a dead place stays one."""
    rows = [
        (kernels, target, row, col, 1000 * k + 100 * t + 10 * row + col if row or col else NAN)
        for k, kernels in enumerate(("odd", "padded"))
        for t, target in enumerate(("layer4", "output"))
        for row in range(3)
        for col in range(3)
    ]
    columns = ["kernels", "target", "row", "col", "sensitivity"]
    found = fields.tiles_of(pd.DataFrame(rows, columns=columns).sample(frac=1, random_state=0))
    assert {kernels: [*tiles] for kernels, tiles in found.items()} == {
        kernels: ["layer4", "output"] for kernels in ("odd", "padded")
    }
    expected = [[NAN, 1101, 1102], [1110, 1111, 1112], [1120, 1121, 1122]]
    np.testing.assert_array_equal(found["padded"]["output"], expected)
