"""Pictures that a page holds: small ones of maps and tiles, and figures made smaller."""

import base64
import io
from pathlib import Path

import numpy as np
from matplotlib.colors import Colormap
from PIL import Image

from .. import erf_maps, style

_LEVELS = 64  # of a colour scale: with more a file is larger, and no eye sees it
_SMALL = 128  # px, at most, of small pictures
_WIDEST = 1200  # px of a figure
_CSS_PX = 120  # for an inch of it: its text of 8 points is then 13 px high


def of_map(field: np.ndarray) -> str:
    """One pixel for each of a map (H, W), in the colours of the figures."""
    signed = bool((field < 0).any())
    colours = style.DIVERGING if signed else style.SEQUENTIAL
    return _coloured(erf_maps.relative(field), colours, -1 if signed else 0, 1)


def small(field: np.ndarray) -> str:
    """The same, with the means of so many pixels that it is small."""
    height, width = field.shape
    side = -(-max(height, width) // _SMALL)
    whole = field[: height - height % side, : width - width % side]
    blocks = whole.reshape(height // side, side, width // side, side)
    return of_map(blocks.mean((1, 3)))


def of_tile(tile: np.ndarray, reach: float) -> str:
    """A mean tile, from 1 - reach to 1 + reach."""
    return _coloured(tile, style.DIVERGING, 1 - reach, 1 + reach)


def _coloured(values: np.ndarray, colours: Colormap, low: float, high: float) -> str:
    share = np.nan_to_num((values - low) / ((high - low) or 1)).clip(0, 1)
    picture = Image.fromarray(np.rint(share * (_LEVELS - 1)).astype(np.uint8), "P")
    picture.putpalette(palette(colours, _LEVELS))
    return _address(picture)


def palette(colours: Colormap, levels: int) -> list[int]:
    """Red, green and blue of each level of a colour scale, 0 to 255."""
    values = colours(np.linspace(0, 1, levels))[:, :3]
    return [int(value) for value in np.rint(255 * values).flat]


def of_figure(path: Path) -> tuple[str, int]:
    """A figure's file, no wider than a screen and in 256 colours; and how wide it is to be shown
    in CSS px, so that the text of all figures is of one size."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    width = round(picture.width * _CSS_PX / style.DPI)
    if picture.width > _WIDEST:
        picture = picture.resize((_WIDEST, round(picture.height * _WIDEST / picture.width)))
    few = picture.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return _address(few), width


def _address(picture: Image.Image) -> str:
    with io.BytesIO() as file:
        picture.save(file, "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
