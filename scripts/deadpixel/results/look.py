"""What one look at a network showed: a table, sentences and a page that stands alone."""

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from ..data.normalisation import MEAN, STD
from ..files.effective import Erf
from ..imbalance import CLEAR, PERIOD
from ..look import Look
from . import erf_maps, fields, pages, render
from .render import NUMBER, TEXT, Column, Row, Table
from .style import STYLE, colours


def _no_gaussian(row: Row) -> str | None:
    return "no Gaussian" if row["r_squared"] < fields.LEAST_R_SQUARED else None


def _too_narrow(row: Row) -> str | None:
    return "too narrow" if row["radius_50"] < PERIOD / 2 else None


def _with_error(
    name: str,
    header: str,
    decimals: int,
    *,
    se: str = "se",
    instead: Callable[[Row], str | None] = lambda _: None,
) -> Column:
    """A column of values with their errors, of the column `name`_`se`; or words `instead`."""

    def in_words(row: Row) -> str | None:
        value, error = row[name], row[f"{name}_{se}"]
        if pd.isna(value) or pd.isna(error):
            return instead(row)
        return instead(row) or f"{value:.{decimals}f} ± {error:.{decimals}f}"

    return Column(name, NUMBER, header, decimals, in_words=in_words)


LOOK = Table(
    Column("target", TEXT, "target"),
    Column("reading", TEXT, header=None),
    Column("stride_h", NUMBER, "stride (px)", 0),
    Column("size_h", NUMBER, "theory (px)", 0),
    Column("kind", TEXT, "which is"),
    _with_error("radius_50", "half within (px)", 1),
    _with_error("radius_90", "90 % within (px)", 1),
    _with_error("sigma_x", "σx (px)", 1, se="jackknife_se", instead=_no_gaussian),
    _with_error("sigma_y", "σy (px)", 1, se="jackknife_se", instead=_no_gaussian),
    Column("r_squared", NUMBER, "R²", 2),
    _with_error("contrast_unbiased", "contrast of the tile", 3, instead=_too_narrow),
    *(
        _with_error(f"edge_{side}", f"{side} edge", 2)
        for side in ("top", "bottom", "left", "right")
    ),
)
NOTES = (
    "Fields are in px of the image. Theory: the square that arithmetic allows the central feature. "
    "Half, 90 %: of the sensitivity, within a circle around its centre of mass.",
    "Contrast: root mean squared deviation from the pixels around, by the place in a tile of "
    f"{PERIOD} px, noise taken off. Edges: sensitivity of the outer strip of one stride over that "
    "of the middle.",
    "±: standard error, over blocks of images.",
)


def table(seen: Look) -> pd.DataFrame:
    """One row a target, in columns that hold all of `LOOK`'s and the errors."""
    return fields.joined(seen.fits, seen.trf, seen.imbalances, seen.extents)


def sentences(seen: Look) -> list[str]:
    """What the numbers say, for a reader who has seen none like them."""
    rows = {row["target"]: row for row in table(seen).to_dict("records")}
    return [*_reach(rows), *_checkerboard(rows), *_edges(rows), _padding(seen)]


def _reach(rows: Mapping[str, Row]) -> Iterator[str]:
    *_, last = [row for name, row in rows.items() if name != "output"] or rows.values()
    if pd.isna(last["radius_90"]):
        return
    size, share = last["size_h"], ""
    if size > 0 and np.isfinite(size):
        area = np.pi * last["radius_90"] ** 2 / size**2
        share = f", a circle of {100 * area:.0f} % of the square of {size:.0f} px that theory has"
    yield (
        f"The central feature of {last['target']} takes 90 % of its sensitivity from within "
        f"{last['radius_90']:.0f} px{share}."
    )


def _checkerboard(rows: Mapping[str, Row]) -> Iterator[str]:
    logits = rows.get("output")  # whose field is wide; a narrow one is a peak, not a pattern
    if logits is None or pd.isna(logits["contrast_unbiased_se"]):
        return
    size, error = logits["contrast_unbiased"], logits["contrast_unbiased_se"]
    if size < CLEAR * error:
        yield f"Within tiles of {PERIOD} px pixels are seen evenly, as far as the errors tell."
        return
    yield (
        f"Pixels are seen unevenly: by their place in a tile of {PERIOD} px the logits' "
        f"sensitivity deviates by {100 * size:.1f} ± {100 * error:.1f} % from that of the pixels "
        "around."
    )


def _edges(rows: Mapping[str, Row]) -> Iterator[str]:
    row = rows.get("output", {})
    for one, other in (("left", "right"), ("top", "bottom")):
        first, second = (row.get(f"edge_{side}", np.nan) for side in (one, other))
        errors = [row.get(f"edge_{side}_se", np.nan) for side in (one, other)]
        if abs(first - second) > 3 * np.hypot(*errors):
            less, more = sorted([(first, one), (second, other)])
            yield (
                f"The {less[1]} edge counts {less[0]:.2f} of the middle for the logits, the "
                f"{more[1]} one {more[0]:.2f}."
            )


def _padding(seen: Look) -> str:
    if not seen.odd:
        return "No operation has an odd kernel and stride 2, so kernel padding changes nothing."
    changed = len(seen.odd) - len(seen.left_odd)
    return (
        f"{len(seen.odd)} operations have an odd kernel and stride 2. Kernel padding would make "
        f"{changed} of them even, with {seen.added:,} weights more."
    )


def figures(seen: Look, image: Tensor, mean: Sequence[float], std: Sequence[float]) -> list[Figure]:
    """Maps with their tiles; and the fields over one image (bands, H, W), and through the centre.

    image: normalised by `mean` and `std`, of one or three bands; of others its mean is drawn.
    """
    fits = seen.fits.set_index(["kernels", "target"])
    theory = seen.trf.set_index(["kernels", "target"])
    tiles = fields.tiles_of(seen.tiles)
    means = {name: field.mean for name, field in seen.fields.items()}
    maps = erf_maps.figure({"odd": means}, tiles, fits, theory, seen.model)
    return [maps, _over_image(seen.fields, _picture(image, mean, std))]


def colours_of(preprocess: Mapping[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and std of an evaluation transform's arguments."""
    return preprocess.get("mean", MEAN), preprocess.get("std", STD)


def _picture(image: Tensor, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Grey values (H, W), of 0 to 1."""
    pixels = image.permute(1, 2, 0).numpy() * np.asarray(std) + np.asarray(mean)
    return pixels.mean(2).clip(0, 1)


def _over_image(seen: Mapping[str, Erf], picture: np.ndarray) -> Figure:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.3 * len(seen), 6), layout="compressed")
        axes = figure.subplots(2, len(seen), squeeze=False)
        for (name, field), over, through in zip(seen.items(), *axes, strict=True):
            strength = np.abs(field.mean)
            over.imshow(picture, cmap="gray", vmin=0, vmax=1.4)
            colour = np.zeros((*strength.shape, 4))
            colour[..., :3] = to_rgb(colours([])["odd"])
            share = strength / np.percentile(strength, 99.8)
            colour[..., 3] = 0.85 * share.clip(0, 1) ** 0.5
            over.imshow(colour)
            over.set(title=f"{name}, over one image", xticks=[], yticks=[])
            row, column = np.unravel_index(strength.argmax(), strength.shape)
            _profile(through, field.mean[row], field.se[row], f"row {row}")
            _profile(through, field.mean[:, column], field.se[:, column], f"column {column}")
            through.set(xlabel="px", title="through its strongest pixel", yticks=[])
            through.legend(frameon=False)
        axes[1, 0].set_ylabel("sensitivity ± standard error")
        return figure


def _profile(axis: Axes, values: np.ndarray, errors: np.ndarray, name: str) -> None:
    """A line of values (px,) in a band as wide as their standard errors over images."""
    (line,) = axis.plot(values, label=name, linewidth=1)
    band = {"color": line.get_color(), "alpha": 0.3, "linewidth": 0}
    axis.fill_between(np.arange(len(values)), values - errors, values + errors, **band)


def page(seen: Look, said: Sequence[str], drawn: Sequence[Figure], notes: Sequence[str]) -> str:
    """HTML that needs nothing else: sentences, table, figures; notes say what it was made of."""
    return pages.page(
        "look.html",
        name=seen.model,
        sentences=said,
        columns=render.readable(table(seen), LOOK),
        notes=NOTES,
        pictures=[_png(figure) for figure in drawn],
        odd=seen.odd,
        made_of=notes,
    )


def _png(figure: Figure) -> str:
    with mpl.rc_context(STYLE), io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=150)
        return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def numbers(seen: Look) -> list[dict[str, Any]]:
    """The rows of `table` as JSON has them: what is not finite is null."""
    rows = table(seen).to_dict("records")
    return [
        {
            name: None if isinstance(of, float) and not np.isfinite(of) else of
            for name, of in row.items()
        }
        for row in rows
    ]
