"""What kernel padding does: which pixels windows contain (Fig. 2), and a padded kernel (Fig. 3)."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .style import DIVERGING, INK, SEQUENTIAL, STYLE, WIDTH, ink_on

_WINDOWS = ((1, 2), (3, 4), (7, 8))  # kernels of a ResNet with stride 2, and the padded ones
_SIDE = 8  # px of the image in Fig. 2


def references(kernel: int, stride: int, length: int) -> np.ndarray:
    """How many windows of `kernel` px contain each of `length` pixels, (length,).

    Windows start at every multiple of `stride`, also before the first pixel: no border shows.
    """
    pixel = np.arange(length)
    starts = np.arange(-kernel - kernel % stride, length, stride)[:, None]
    return ((starts <= pixel) & (pixel < starts + kernel)).sum(0)


def window_references() -> Figure:
    """Fig. 2: how often each pixel is referenced by odd and by even kernels with stride 2."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 5.2), layout="compressed")
        axes = figure.subplots(2, len(_WINDOWS))
        for column, pair in enumerate(_WINDOWS):
            counts = [np.multiply.outer(*[references(k, 2, _SIDE)] * 2) for k in pair]
            most = max(count.max() for count in counts)
            for panel, kernel, count in zip(axes[:, column], pair, counts, strict=True):
                image = panel.imshow(count / most, cmap=SEQUENTIAL, vmin=0, vmax=1)
                _write_counts(panel, count, most)
                low, high = count.min(), count.max()
                span = f"{low} to {high} windows" if low < high else f"each in {low}"
                panel.set_title(f"{kernel} × {kernel}, stride 2: {span}")
                panel.set(xticks=[0, _SIDE - 1], yticks=[0, _SIDE - 1])
        for row, kernels in zip(axes, ("odd", "even"), strict=True):
            row[0].set_ylabel(f"{kernels} kernels")
            figure.colorbar(image, ax=row, label="windows with the pixel / most", shrink=0.9)
        figure.suptitle("How many windows contain each pixel")
        return figure


def _write_counts(panel: Axes, count: np.ndarray, most: int) -> None:
    for (row, column), number in np.ndenumerate(count):
        style = {"color": ink_on(number / most), "fontsize": 6}
        panel.text(column, row, str(number), ha="center", va="center", **style)


def padded_kernel(kernels: Mapping[str, np.ndarray], old: tuple[int, int], name: str) -> Figure:
    """Fig. 3: one filter as it was, as training with even kernels started from, and after it.

    kernels: (h, w) by title, in this order. old: height and width of the first one, framed in all.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3), layout="compressed")
        axes = figure.subplots(1, len(kernels))
        reach = max(np.abs(kernel).max() for kernel in kernels.values())
        for panel, (title, kernel) in zip(axes, kernels.items(), strict=True):
            image = panel.imshow(kernel, cmap=DIVERGING, vmin=-reach, vmax=reach)
            height, width = kernel.shape
            frame = {"fill": False, "linestyle": "--", "color": INK}
            panel.add_patch(Rectangle((-0.5, -0.5), old[1], old[0], **frame))
            panel.set(xticks=[], yticks=[], title=f"{title}, {height} × {width}")
            panel.spines[:].set_visible(False)
            panel.set(xlim=(-0.6, max(width, old[1]) - 0.4), ylim=(max(height, old[0]) - 0.4, -0.6))
        figure.colorbar(image, ax=axes, label="weight", shrink=0.9)
        figure.suptitle(f"{name}; dashed: where the kernel was")
        return figure
