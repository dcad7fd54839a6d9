"""Images moved by a few pixels, and by halves of one: does the network still say the same?

Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019; Azulay and Weiss, "Why do
deep convolutional networks generalize so poorly to small image transformations?", JMLR 2019.
Nothing is invented at the border: `evaluation_transform` crops elsewhere from the resized image.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor, nn

from .answers import answers
from .stability import AXES


class _Seen(NamedTuple):
    """Of each image (N,): logit and probability of its class, and the class of largest logit."""

    logit: Tensor
    probability: Tensor
    predicted: Tensor


def moved(
    model: nn.Module,
    images: Callable[[float, float], Iterable[Tensor]],
    classes: Tensor,
    reach: int,
) -> pd.DataFrame:
    """What the network says of images moved by up to `reach` px, by whole pixels and by halves.

    images: by how far the crop is moved down and across, batches (n, C, H, W) of the same images in
    the same order, on the model's device, such as the crops of `evaluation_transform` with that
    `shift`. classes: int64 (N,), whose logit is judged.

    A row for each image, axis and offset of -reach, -reach + 0.5, ..., reach: the other axis is
    unmoved, and offset 0 is the unmoved image in both. Columns image (from 0), axis (``down`` or
    ``across``), offset (px), logit, probability (softmax), predicted (the class of the largest
    logit), same (whether that is the one of the unmoved image). Raises `InputError` as `answers`.
    """
    unmoved = _seen(model, images(0, 0), classes)
    rows = []
    for axis in AXES:
        for offset in np.arange(-2 * reach, 2 * reach + 1) / 2:
            shift = (float(offset), 0.0) if axis == "down" else (0.0, float(offset))
            seen = _seen(model, images(*shift), classes) if offset else unmoved
            columns = {name: values.numpy() for name, values in seen._asdict().items()}
            same = (seen.predicted == unmoved.predicted).numpy()
            place = {"image": np.arange(len(classes)), "axis": axis, "offset": offset}
            rows.append(pd.DataFrame({**place, **columns, "same": same}))
    return pd.concat(rows, ignore_index=True)


def _seen(model: nn.Module, batches: Iterable[Tensor], classes: Tensor) -> _Seen:
    logits = answers(model, batches)
    own = classes.cpu()[:, None]
    logit, probability = (values.gather(1, own)[:, 0] for values in (logits, logits.softmax(1)))
    return _Seen(logit, probability, logits.argmax(1))
