"""Logits of images of which a pixel or a patch was changed.

To first order a disturbance e of one colour of pixel p changes a logit by e R(p) (Kim et al. 2023,
Eqs. 11 and 12), so that the same one counts more on a strong pixel than on a weak one.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from .answers import answers
from .places import ALL_COLOURS, DISTURBED


def disturbed(
    image: Tensor, places: np.ndarray, sizes: Sequence[float], first_colour: int = 0
) -> Iterator[tuple[dict[str, float | int | str], Tensor]]:
    """Each place (n, 2) of an image (C, H, W) by each size, plus and minus, in one of its colours.

    Places take colours in turn, from `first_colour` on. Yields what was done, and the image.
    """
    for number, (row, col) in enumerate(places):
        colour = (first_colour + number) % len(image)
        for size in itertools.chain.from_iterable((size, -size) for size in sizes):
            changed = image.clone()
            changed[colour, row, col] += size
            done = {"kind": DISTURBED, "row": row, "col": col, "colour": colour, "side": 1}
            yield {**done, "size": size}, changed


def replaced(
    image: Tensor, places: np.ndarray, sides: Sequence[int], values: Mapping[str, Tensor]
) -> Iterator[tuple[dict[str, float | int | str], Tensor]]:
    """Squares of an image (C, H, W) around each place (n, 2), set to each of some pixels (C,).

    sides: odd, px; a square ends where the image does. Yields what was done, and the image.
    """
    for row, col in places:
        for side, (kind, value) in itertools.product(sides, values.items()):
            first_row, first_col = (max(0, at - side // 2) for at in (row, col))
            changed = image.clone()
            square = changed[:, first_row : row + side // 2 + 1, first_col : col + side // 2 + 1]
            square[:] = value[:, None, None]
            done = {"kind": kind, "row": row, "col": col, "colour": ALL_COLOURS, "side": side}
            yield {**done, "size": np.nan}, changed


def responses(
    model: nn.Module,
    image: Tensor,
    label: int,
    changes: Iterable[tuple[dict[str, float | int | str], Tensor]],
    batch_size: int,
) -> pd.DataFrame:
    """What becomes of an image's logit of class `label`, a row for each change.

    Columns: what was done; change, of the logit; flipped, whether another class is the first.
    Raises `InputError` as `answers`.
    """
    (before,), rows, changes = answers(model, [image[None]]), [], iter(changes)
    while batch := [*itertools.islice(changes, batch_size)]:
        after = answers(model, [torch.stack([changed for _, changed in batch])])
        differences = (after[:, label] - before[label]).tolist()
        flipped = (after.argmax(1) != before.argmax()).tolist()
        for (done, _), change, flip in zip(batch, differences, flipped, strict=True):
            rows.append({**done, "change": change, "flipped": flip})
    return pd.DataFrame(rows)
