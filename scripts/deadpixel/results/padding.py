"""What kernel padding does: which pixels windows contain (Fig. 2), and a padded kernel (Fig. 3)."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .style import INK, STYLE

_WINDOWS = ((1, 2), (3, 4), (7, 8))  # kernels of a ResNet with stride 2, and the padded ones
_SIDE = 16  # px of the image in Fig. 2


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
        figure = Figure(figsize=(7.2, 5.2), layout="constrained")
        axes = figure.subplots(2, len(_WINDOWS))
        for column, pair in enumerate(_WINDOWS):
            counts = [np.multiply.outer(*[references(k, 2, _SIDE)] * 2) for k in pair]
            most = max(count.max() for count in counts)
            for panel, kernel, count in zip(axes[:, column], pair, counts, strict=True):
                image = panel.imshow(count, cmap="magma", vmin=0, vmax=most)
                low, high = count.min(), count.max()
                span = f"{low} to {high} windows" if low < high else f"each in {low}"
                panel.set_title(f"{kernel} x {kernel}, stride 2\n{span}")
                panel.set(xticks=[0, _SIDE - 1], yticks=[0, _SIDE - 1])
            figure.colorbar(image, ax=axes[:, column], location="bottom", shrink=0.8)
        figure.suptitle("How many windows contain a pixel: odd kernels above, even ones below")
        return figure


def padded_kernel(kernels: Mapping[str, np.ndarray], old: tuple[int, int], name: str) -> Figure:
    """Fig. 3: one filter as it was, as training with even kernels started from, and after it.

    kernels: (h, w) by title, in this order. old: height and width of the first one, framed in all.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.2 * len(kernels), 3.4), layout="compressed")
        axes = figure.subplots(1, len(kernels))
        reach = max(np.abs(kernel).max() for kernel in kernels.values())
        for panel, (title, kernel) in zip(axes, kernels.items(), strict=True):
            image = panel.imshow(kernel, cmap="PuOr_r", vmin=-reach, vmax=reach)
            height, width = kernel.shape
            frame = {"fill": False, "linestyle": "--", "color": INK}
            panel.add_patch(Rectangle((-0.5, -0.5), old[1], old[0], **frame))
            panel.set(xticks=[], yticks=[], title=f"{title}, {height} x {width}")
            panel.spines[:].set_visible(False)
            panel.set(xlim=(-0.6, max(width, old[1]) - 0.4), ylim=(max(height, old[0]) - 0.4, -0.6))
        figure.colorbar(image, ax=axes, label="weight", shrink=0.7)
        figure.suptitle(name)
        return figure
