"""Effective receptive fields over blocks of images, of which finished ones outlive a kill."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from .backward.way import Ties
from .erf import DEFINITIONS, Logit, Measurement, NonFiniteGradientError, batched
from .errors import InputError
from .files.effective import Erf
from .logs import log, progress
from .targets import Named

if TYPE_CHECKING:
    from .data.evaluation import EvaluationImages
    from .files.resume import Scratch


def accumulate_blocks(
    model: nn.Module,
    images: "EvaluationImages",
    targets: Named,
    n_blocks: int,
    scratch: "Scratch",
    *,
    shard: int = 0,
    shards: int = 1,
    logit: Logit,
    definition: str = "kim",
    ties: Ties = "shared",
    batch_size: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    enough: Callable[[Sequence[Mapping[str, Erf]]], bool] | None = None,
) -> tuple[dict[int, dict[str, Erf]], Measurement]:
    """`erf.accumulate` over interleaved blocks of images: every `shards`-th, from `shard` on.

    Blocks are numbered over all shards, and serve standard errors. There are no more of them than
    images, and no further ones once `enough` says so of those so far. A finished one is kept in
    `scratch`, and not computed again after a kill. Returns also the measurement, which says how
    each target was read.
    """
    measurement = Measurement(model, targets, logit, definition, ties, dtype, device)
    first = next(iter(images.batches(2)))  # the same in every shard
    measurement.read(first)
    blocks: dict[int, dict[str, Erf]] = {}
    seen = 0
    numbers = range(shard, min(n_blocks, len(images)), shards)
    for number in progress(numbers, total=len(numbers), what="blocks of images"):
        block = images.every(n_blocks, start=number)
        found = _saved(
            scratch, number, [*measurement.targets], block, DEFINITIONS[definition].signed
        )
        if found is None:
            measurement.prepare(first)
            labels = block.labels if logit == "true" else None
            try:
                found = measurement.over(batched(block.batches(batch_size), labels, batch_size))
            except NonFiniteGradientError as error:
                raise InputError(f"{block.path(error.index)}: {error}") from error
            parts = {
                f"{target}/{part}": value
                for target, field in found.items()
                for part, value in dataclasses.asdict(field).items()
            }
            scratch.save(f"block-{number}", parts)
        blocks[number] = found
        seen += len(block)
        if enough and enough([*blocks.values()]):
            log.info("maps are as precise as asked for after %d of %d images", seen, len(images))
            break
    else:
        if enough:
            log.warning("maps are not as precise as asked for after all %d images", seen)
    return blocks, measurement


def _saved(
    scratch: "Scratch",
    number: int,
    targets: Sequence[str],
    block: "EvaluationImages",
    signed: bool,
) -> dict[str, Erf] | None:
    """Fields of a finished block; None if there are none, or, which is logged, no such ones."""
    arrays = scratch.load(f"block-{number}")
    if arrays is None:
        return None
    names = [field.name for field in dataclasses.fields(Erf)]
    wanted = [f"{target}/{name}" for target in targets for name in names]
    lacking = [name for name in wanted if name not in arrays]
    problem = f"{lacking[0]} is missing" if lacking else ""
    found = {}
    for target in targets if not lacking else []:
        total, squares, count = (arrays[f"{target}/{name}"] for name in names)
        sums = all(
            sum_.dtype == np.float64 and sum_.shape == block[0].shape[1:] and (sum_ >= least).all()
            for sum_, least in ((total, -np.inf if signed else 0), (squares, 0))
        )
        if not sums or not np.array_equal(count, len(block)):
            problem = f"the sums or the count of target {target!r} are none of its images"
        else:
            found[target] = Erf(total, squares, int(count))
    if problem:
        log.warning("block-%d is computed again: %s", number, problem)
    return None if problem else found
