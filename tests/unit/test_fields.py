"""Every map: its row in the table of all, and its figure, whatever can come out of the workflow."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle
from torch import nn

from deadpixel import erf, extent, imbalance, receptive_field
from deadpixel.files import parquet, schemas
from deadpixel.results import fields, render, style

INF, NAN = np.inf, np.nan


# ------------------------------------------------------------------------ the table of all

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


# -------------------------------------------------------------------------------- Figure 1


def _bell(height: int, width: int) -> np.ndarray:
    """A noisy bell in the middle of a map, (height, width)."""
    y, x = np.indices((height, width))
    bell = np.exp(-(((y / height - 0.5) ** 2 + (x / width - 0.5) ** 2) / 0.1))
    return bell * np.random.default_rng(0).uniform(0.5, 1.5, (height, width))


FITTED = {"sigma_x": 50.0, "sigma_y": 40.0, "center_x": 96.0, "center_y": 95.0, "r_squared": 0.945}
FAILED = dict.fromkeys(FITTED, NAN)


def _theory(size: float, center: float = 96.0) -> dict[str, float]:
    values = {"size": size, "center": center}
    return {f"{name}_{axis}": value for name, value in values.items() for axis in "hw"}


def _tiles(field: np.ndarray) -> np.ndarray:
    return imbalance.mean_tile(field, imbalance.tile_period(field.shape))


def _erf_maps(maps: list[np.ndarray], fits: list[dict], theories: list[dict]) -> Figure:
    targets = [f"layer{number}" for number in range(len(maps))]
    index = pd.MultiIndex.from_product([["odd"], targets])
    return fields.erf_maps(
        {"odd": dict(zip(targets, maps, strict=True))},
        {"odd": dict(zip(targets, map(_tiles, maps), strict=True))},
        pd.DataFrame(fits, index=index),
        pd.DataFrame(theories, index=index),
        "resnet18, calibrated",
    )


def _patches(figure: Figure, kind: type) -> list[list]:
    """The drawn shapes of a kind, by map."""
    axes = [a for a in figure.axes if "\n" in a.get_title()]
    return [[patch for patch in a.patches if isinstance(patch, kind)] for a in axes]


def test_map_shows_theory_and_fit() -> None:
    """The ellipse is one sigma of the Gaussian, the dashed box layer4's field of resnet50."""
    figure = _erf_maps([_bell(224, 224)], [FITTED], [_theory(427)])
    ((ellipse,),), ((box,),) = _patches(figure, Ellipse), _patches(figure, Rectangle)
    assert (*ellipse.center, ellipse.width, ellipse.height) == (96, 95, 100, 80)
    assert (*box.get_xy(), box.get_width(), box.get_height()) == (96 - 213.5, 96 - 213.5, 427, 427)
    top = figure.axes[0]
    assert top.get_title() == "layer0\nTRF 427 px, σ 50.0 x 40.0 px, R² 0.945"
    assert (top.get_xlim(), top.get_ylim()) == ((-0.5, 223.5), (223.5, -0.5))  # rows go down
    assert figure.get_suptitle() == "resnet18, calibrated"


def test_box_of_a_field_with_sides_of_its_own() -> None:
    theory = {"size_h": 40.0, "size_w": 60.0, "center_h": 39.5, "center_w": 55.5}
    figure = _erf_maps([_bell(64, 96)], [FITTED], [theory])
    ((box,),) = _patches(figure, Rectangle)
    assert box.get_xy() == (55.5 - 30, 39.5 - 20)
    assert (box.get_width(), box.get_height()) == (60, 40)


@pytest.mark.parametrize("size", [(64, 64), (65, 72), (80, 88), (95, 64)])
def test_the_box_frames_what_the_map_depends_on(size: tuple[int, int]) -> None:
    """Also where the image is no multiple of the stride, 16 px: the map has a feature more."""
    layers = [nn.Conv2d(3, 1, 3, 2, 1), *(nn.Conv2d(1, 1, 3, 2, 1) for _ in range(3))]
    network = nn.Sequential(*layers)
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    image = torch.ones(1, 3, *size)
    field = erf.accumulate(network, image, ["3"])["3"].mean
    theory = receptive_field.table(network, {"layer0": "3"}, size)[0]
    figure = _erf_maps([field], [FITTED], [theory])
    ((box,),) = _patches(figure, Rectangle)
    rows, columns = (np.flatnonzero(field.any(axis)) for axis in (1, 0))
    for seen, start, side, length in zip(
        (rows, columns), box.get_xy()[::-1], (box.get_height(), box.get_width()), size, strict=True
    ):  # pixel n is drawn from n - 0.5 to n + 0.5; beyond the image there is nothing to see
        assert seen[0] == max(start + 0.5, 0)
        assert seen[-1] == min(start + side - 0.5, length - 1)


@pytest.mark.parametrize(
    ("fit", "theory", "title", "shapes"),
    [
        (FAILED, _theory(99), "TRF 99 px, no Gaussian fits", (0, 1)),
        (FITTED, _theory(INF, NAN), "TRF ∞, σ 50.0", (1, 0)),
        (FITTED, _theory(NAN, NAN), "TRF unknown, σ 50.0", (1, 0)),
        (FITTED, _theory(127), "TRF 127 px, σ 50.0", (1, 1)),
        (FITTED, _theory(128), "TRF 128 px, σ 50.0", (1, 0)),
        (FAILED, _theory(INF, NAN), "TRF ∞, no Gaussian fits", (0, 0)),
        (FITTED | {"r_squared": 0.5}, _theory(9), "TRF 9 px, σ 50.0 x 40.0 px, R² 0.500", (1, 1)),
        (FITTED | {"r_squared": 0.32}, _theory(9), "TRF 9 px, no Gaussian (R² 0.320)", (0, 1)),
    ],
)
def test_map_without_theory_or_fit(
    fit: dict, theory: dict, title: str, shapes: tuple[int, int]
) -> None:
    """What is not known, a Gaussian that explains little, and a box far outside are not drawn."""
    figure = _erf_maps([_bell(64, 64)], [fit], [theory])
    assert figure.axes[0].get_title() in (
        f"layer0\n{title}",
        f"layer0\n{title} x 40.0 px, R² 0.945",
    )
    assert tuple(len(_patches(figure, kind)[0]) for kind in (Ellipse, Rectangle)) == shapes


@pytest.mark.parametrize("shape", [(224, 224), (64, 64), (100, 48), (20, 28)])
def test_map_of_any_size(tmp_path: Path, shape: tuple[int, int]) -> None:
    """The whole map is seen, with ticks to its last pixel; the tile is no larger than the map."""
    figure = _erf_maps([_bell(*shape)], [FITTED], [_theory(35)])
    top, bottom = figure.axes[:2]
    height, width = shape
    assert (top.get_xlim(), top.get_ylim()) == ((-0.5, width - 0.5), (height - 0.5, -0.5))
    assert top.get_xticks().tolist() == [0, width // 2, width - 1]
    assert top.get_yticks().tolist() == [0, height // 2, height - 1]
    tile = bottom.images[0].get_array().shape
    assert tile == (min(32, *shape),) * 2
    assert f"{tile[0]} x {tile[0]} px" in bottom.get_title()


def test_tiles_share_a_scale() -> None:
    """Symmetric about one and as wide as the widest."""
    checks = 1 + 0.5 * (np.indices((64, 64)).sum(0) % 2)
    figure = _erf_maps([_bell(64, 64), checks], [FITTED] * 2, [_theory(35)] * 2)
    images = [axes.images[0] for axes in figure.axes if "tile" in axes.get_title()]
    (low, high), other = (image.get_clim() for image in images)
    assert (low, high) == other
    assert low + high == pytest.approx(2)
    widest = max(np.abs(image.get_array() - 1).max() for image in images)
    assert high - 1 == pytest.approx(widest)


def test_each_kind_of_kernels_has_its_rows() -> None:
    """Its own map, tile, fit and theory, on one scale of tiles."""
    index = pd.MultiIndex.from_product([["odd", "padded"], ["layer4"]])
    tiles = {
        kernels: np.full((32, 32), value) for kernels, value in (("odd", 1.1), ("padded", 0.6))
    }
    figure = fields.erf_maps(
        {"odd": {"layer4": _bell(64, 64)}, "padded": {"layer4": 2 * _bell(64, 64)}},
        {kernels: {"layer4": tile} for kernels, tile in tiles.items()},
        pd.DataFrame([FITTED, FAILED], index=index),
        pd.DataFrame([_theory(435), _theory(466)], index).assign(changed=[0, 7], left_odd=[8, 1]),
        "resnet18, finetuned",
    )
    titles = [axes.get_title() for axes in figure.axes if "TRF" in axes.get_title()]
    assert titles[0].startswith("layer4, odd kernels\nTRF 435 px, σ 50.0")
    assert titles[1].startswith("layer4, padded (7 of 8) kernels\nTRF 466 px, no Gaussian")
    images = [axes.images[0] for axes in figure.axes if "tile" in axes.get_title()]
    assert [image.get_array().max() for image in images] == [1.1, 0.6]
    for image in images:
        assert image.get_clim() == pytest.approx((0.6, 1.4))


def test_a_narrow_map_does_not_take_over_the_scale_of_tiles() -> None:
    """Unless there are no others."""
    ys, xs = np.indices((224, 224)) - 112
    wide, narrow = (np.exp(-(xs**2 + ys**2) / 2 / sigma**2) for sigma in (60, 8))
    even, peaked = np.full((32, 32), 0.9), np.full((32, 32), 30.0)
    assert fields._reach_of_tiles(
        {"odd": {"a": wide, "b": narrow}}, {"odd": {"a": even, "b": peaked}}
    ) == pytest.approx(0.1)
    assert fields._reach_of_tiles({"odd": {"b": narrow}}, {"odd": {"b": peaked}}) == 29


@pytest.mark.parametrize("axis", [0, 1])
def test_the_deviation_of_a_map_is_per_axis(axis: int) -> None:
    field = np.zeros((20, 30))
    field[4, 6] = 1
    field[(10, 6) if axis == 0 else (4, 12)] = -1
    assert fields._deviation(field) == pytest.approx(3 / 2**0.5)
    assert fields._deviation(np.zeros((4, 4))) == 0


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


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, -1])
def test_dead_map_spoils_no_other(tmp_path: Path, order: int) -> None:
    """A target without any gradient has no tile; those of the others keep their scale."""
    maps, fits = [np.zeros((64, 64)), _bell(64, 64)][::order], [FAILED, FITTED][::order]
    figure = _erf_maps(maps, fits, [_theory(35)] * 2)
    style.save(figure, [tmp_path / "dead.png"])
    alone = _erf_maps([_bell(64, 64)], [FITTED], [_theory(35)])
    limits = {axes.images[0].get_clim() for axes in figure.axes if "tile" in axes.get_title()}
    assert limits == {alone.axes[1].images[0].get_clim()}
