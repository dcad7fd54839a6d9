"""One look at any network: what the workflow measures of its maps, on some images, at once."""

import tempfile
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from . import erf_blocks, extent, fields, kernels, reading, receptive_field
from .data.evaluation import EvaluationImages
from .errors import InputError
from .files import maps
from .files.effective import Erf, joined
from .files.resume import Scratch
from .logs import log
from .targets import OUTPUT

BLOCKS = 8  # of images, whose differences make the errors
_KEY = {"dataset": "images", "weights": "as they are", "kernels": "odd"}


@dataclass(frozen=True)
class Look:
    """What was seen.

    trf, fits, imbalances, extents, tiles: rows as in the workflow's files, with their keys.
    fields: effective fields by target. odd: operations with an odd kernel and stride 2; left_odd:
    those that padding would leave so; added: weights that it would add.
    """

    model: str
    trf: pd.DataFrame
    fits: pd.DataFrame
    imbalances: pd.DataFrame
    extents: pd.DataFrame
    tiles: pd.DataFrame
    fields: dict[str, Erf]
    odd: list[str]
    left_odd: list[str]
    added: int


def look(
    model: nn.Module,
    images: EvaluationImages,
    *,
    name: str = "network",
    batch_size: int = 8,
    device: torch.device | str = "cpu",
) -> Look:
    """Measure the maps of a network as the workflow does, its kernels as they are.

    Of the last map of each of `reading.STRIDES` and of the mean logit. Raises `InputError` for what
    the network or the images do not allow.
    """
    first = images[0]
    channels, *size = first.shape
    input_size = (size[0], size[1])
    targets = {**{f"stride{stride}": None for stride in reading.STRIDES}, OUTPUT: OUTPUT}
    with tempfile.TemporaryDirectory() as scratch:
        of_blocks, measurement = erf_blocks.accumulate_blocks(
            model,
            images,
            reading.with_stages(model, first[None], targets),
            BLOCKS,
            Scratch(scratch, []),
            logit="mean",
            batch_size=batch_size,
            device=device,
        )
    rows = receptive_field.table(model, measurement.targets, input_size, channels=channels)
    theories = extent.theories(rows)
    key = {**_KEY, "model": name}
    seen, measured = {}, {}
    for target in measurement.targets:
        parts = [block[target] for block in of_blocks.values()]
        seen[target] = joined(parts)
        measured[target] = fields.measure(seen[target], parts, theories[target])

    def frame(part: str) -> pd.DataFrame:
        counted = {
            target: {**key, "target": target, "n_images": seen[target].count} for target in seen
        }
        return pd.DataFrame([counted[of] | getattr(measured[of], part) for of in seen])

    tiles = [maps.tile_to_frame(measured[of].tile).assign(**key, target=of) for of in seen]
    odd = kernels.odd_strided(model, first[None])
    padded = _padded(model, first) if odd else model
    return Look(
        model=name,
        trf=pd.DataFrame(rows).assign(model=name, kernels=key["kernels"]),
        fits=frame("fit"),
        imbalances=frame("imbalance"),
        extents=frame("extent"),
        tiles=pd.concat(tiles),
        fields=seen,
        odd=odd,
        left_odd=kernels.odd_strided(padded, first[None]),
        added=len(kernels.added_weights(padded)),
    )


def _padded(model: nn.Module, image: Tensor) -> nn.Module:
    try:
        return kernels.apply(model, "padded", image=image[None])
    except InputError as error:  # none of them can be changed
        log.warning("%s", error)
        return model
