"""Image sizes at which no border of a map is read more than the one opposite: no blind edge.

A window with a stride may leave the last rows of a map and its padding unread, never the first
ones: Alsallakh et al., "Mind the Pad", ICLR 2021. How many it leaves follows from the size of the
map, so that the sizes without any can be found one stride after the other.
"""

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from .sensitivity import axes_of, recorded
from .variances.tape import Tape, Value

_MOST_STRIDES = 24  # of networks that there are; more steps than this go round in circles


class Unread(NamedTuple):
    """Of a window along one axis: pixels a cell of the map that it reads, stride, places left."""

    jump: int
    stride: int
    places: int


def unread(tape: Tape) -> Iterator[Unread]:
    """Of each window with a stride, along rows and along columns, in order of calls."""
    jumps: dict[Value, tuple[int, int]] = {}
    for step in tape.steps:
        read = [jumps.get(value, (1, 1)) for value in step.inputs]
        here = max(rows for rows, _ in read), max(columns for _, columns in read)
        if axes := axes_of(step):
            lengths = step.inputs[0].shape[-2:]
            for axis, jump, length in zip(axes, here, lengths, strict=True):
                places = (length + 2 * axis.padding - axis.span(1)) % axis.stride
                if axis.stride > 1:
                    yield Unread(jump, axis.stride, places)
            here = here[0] * axes[0].stride, here[1] * axes[1].stride
        jumps |= dict.fromkeys(step.outputs, here)


def even_sides(model: nn.Module, side: int) -> tuple[int, int] | None:
    """The smallest side of square images, px, from `side` on where nothing is left unread.

    And the distance to the next ones. None where windows side by side want different sizes. Windows
    that do not overlap may see all pixels equally at other sizes, too; and only windows are looked
    at, so that of networks that pad or crop one side themselves it is not the truth.
    Raises `InputError` if the network fails, as on a size that it does not take.
    """
    for _ in range(_MOST_STRIDES):
        windows = [*unread(recorded(model, (side, side))[0])]
        left = [window for window in windows if window.places]
        if not left:
            return side, max((w.jump * w.stride for w in windows), default=1)
        first = min(left, key=lambda window: window.jump)
        side += first.jump * (first.stride - first.places)  # as many rows more, for this map
    return None
