"""The dead pixel survey: how unevenly networks see, by their structure alone, and what cures it."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from . import blind_edge, kernels
from .errors import InputError
from .extent import asymmetry, edges
from .imbalance import mean_tile, tile_contrast, tile_period
from .logs import log
from .networks import zoo
from .sensitivity import Structure, described
from .surgery.kinds import ODD
from .surgery.selection import Selection

Row = dict[str, Any]
_WEAK = 0.5  # of the mean
_EVEN = 1e-6  # asymmetry that rounding leaves


def survey(
    source: str, kinds: Mapping[str, Mapping[str, Selection]], side: int
) -> Iterator[tuple[Row, np.ndarray]]:
    """A row for each kind of kernels, and the tile (period, period) of expected sensitivity.

    source: as `zoo.build` takes it. kinds: surgeries by the names of the kinds, of which those that
    change nothing in this network are left out. side: of images, px. Rows have

    - contrast: root mean square of the tile less one; weakest_share: how many of its pixels are
      under half of the mean; ratio: of its strongest to its weakest pixel;
    - asymmetry_y, asymmetry_x: how far the top is seen more than the bottom, the left more than the
      right (`extent`);
    - operation: of odd kernels, the one without whose unevenness the contrast is lowest, and that
      contrast; empty and NaN where no operation is uneven;
    - own_side: of odd kernels, the size of images that weights are published for, px, else `side`;
      own_asymmetry at that size, of the top to the bottom; even_side: the smallest size from
      own_side on without any; even_step: the distance to the next; NaN where there is none;
    - reason: why there are no numbers, where an operation is not known; else empty.

    Raises `InputError` for a network that there is not.
    """
    network = zoo.structure(source)
    image = torch.empty(1, 3, side, side, device="meta")
    for kind, surgeries in kinds.items():
        try:
            changed = kernels.apply(network, kind, surgeries, image=image)
        except InputError as error:
            log.info("%s has no kernels %s: %s", source, kind, error)
            continue
        key = {"network": source, "kernels": kind}
        try:
            structure = Structure(changed, (side, side))
            field = structure.field()
        except InputError as error:
            log.warning("%s: %s", source, error)
            yield {**key, **_UNKNOWN, "reason": str(error)}, np.empty((0, 0))
            if kind == ODD:  # no change of kernels makes it known
                return
            continue
        tile = _tile(field)
        told = _NONE
        if kind == ODD:
            told = {**_operation(structure), **_sides(source, changed, field)}
        yield {**key, **_measured(field, tile), **told, "reason": ""}, tile


_NO_SIDES: Row = dict.fromkeys(["own_side", "own_asymmetry", "even_side", "even_step"], math.nan)
_NONE: Row = {"operation": "", "contrast_without": math.nan, **_NO_SIDES}
_UNKNOWN: Row = {
    **dict.fromkeys(["contrast", "weakest_share", "ratio", "asymmetry_y", "asymmetry_x"], math.nan),
    **_NONE,
}


def _tile(field: np.ndarray) -> np.ndarray:
    return mean_tile(field, tile_period(field.shape))


def _measured(field: np.ndarray, tile: np.ndarray) -> Row:
    top, bottom, left, right = edges(field, len(tile))
    return {
        "contrast": tile_contrast(tile),
        "weakest_share": float((tile < _WEAK).mean()),
        "ratio": float(tile.max() / tile.min()) if tile.min() else math.inf,
        "asymmetry_y": asymmetry(top, bottom),
        "asymmetry_x": asymmetry(left, right),
    }


def _sides(source: str, network: nn.Module, known: np.ndarray) -> Row:
    """known: the field (side, side) at one size; at others it takes as long as there are pixels."""
    own = zoo.own_side(source, network) or len(known)
    found = {**_NO_SIDES, "own_side": own}
    try:
        found["own_asymmetry"] = _asymmetry(network, own, known)
        even = blind_edge.even_sides(network, own)
        if even and abs(_asymmetry(network, even[0], known)) <= _EVEN:
            found |= zip(("even_side", "even_step"), even, strict=True)
    except InputError as error:
        log.info("%s on images of another size: %s", source, error)
    return found


def _asymmetry(network: nn.Module, side: int, known: np.ndarray) -> float:
    field = known if len(known) == side else Structure(network, (side, side)).field()
    top, bottom, *_ = edges(field, tile_period(field.shape))
    return asymmetry(top, bottom)


def _operation(structure: Structure) -> Row:
    without = {
        described(step): tile_contrast(_tile(structure.field(evened=[step])))
        for step in structure.uneven()
    }
    operation = min(without, key=without.__getitem__, default="")
    return {"operation": operation, "contrast_without": without.get(operation, math.nan)}
