"""Theoretical receptive fields, each with a word for what it is: exact, bound or unknown.

One forward pass runs under a dispatch mode that sees each ATen operation, so that any network that
runs can be measured, whatever its Python looks like. The arithmetic is that of Araujo, Norris and
Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from .errors import InputError
from .features import in_evaluation, observed
from .logs import log
from .networks.forward import forward, taken_apart
from .reading import modules_of, named, of_shape
from .targets import OUTPUT, Named, Target, feature_map, of_all
from .trf.algebra import (
    UNKNOWN,
    Field,
    UnknownFieldError,
    image_field,
    period,
    span,
)
from .trf.tracing import Doubt, ExitMode, FieldMode


@dataclass(frozen=True)
class ReceptiveField:
    """Receptive field of the features of one map, in input pixels, each as (height, width).

    size: last minus first position plus one, positions in the padding included; `math.inf` where a
        feature depends on the whole image whatever its size.
    stride: distance between the fields of neighbouring features, on average where it varies; NaN
        where there is one feature or the size is infinite.
    offset: centre of feature (0, 0)'s field; NaN where the size is infinite.
    center: centre of the field of the central feature, at h // 2 and w // 2 of the map's own size,
        or of the place that is asked for; NaN where the size is infinite.
    kind: ``exact``; ``whole input``, exact too; ``upper bound`` where data decide what is read; or
        ``unknown``, all numbers NaN, for an operation without a rule or maps too small to tell.
    reason: why it is an upper bound or unknown, with the operation's name; else empty.

    Features of attention in windows differ in size: that of the central one is given, for images
    of the size asked for.
    """

    size: tuple[float, float]
    stride: tuple[float, float]
    offset: tuple[float, float]
    center: tuple[float, float]
    kind: str = "exact"
    reason: str = ""


def theoretical(
    model: nn.Module,
    target: str,
    input_size: tuple[int, int] = (224, 224),
    *,
    channels: int = 3,
    squeeze_excitation: bool = True,
) -> ReceptiveField:
    """Theoretical receptive field of `target`, the name of a module of `model` or ``output``.

    With `squeeze_excitation=False` a map multiplied by a gate of fewer positions keeps its own
    field, as if the gate were the identity. `model` is left as it was.

    Raises `InputError` if the target does not exist or yields no single tensor, and
    `UnknownFieldError` if an operation on the way to it is not known or its maps are too small.
    """
    how = {"channels": channels, "squeeze_excitation": squeeze_excitation}
    found = fields(model, [target], input_size, **how)[target]
    if found.kind == "unknown":
        raise UnknownFieldError(found.reason)
    return found


def fields(
    model: nn.Module,
    targets: Named | None = None,
    input_size: tuple[int, int] = (224, 224),
    *,
    channels: int = 3,
    squeeze_excitation: bool = True,
) -> dict[str, ReceptiveField]:
    """`theoretical` for several targets in one pass; by default for every module with one output.

    Targets are those of `erf.accumulate`. Of a module that is called more than once, the first call
    counts unless another is asked for. Fields that cannot be determined are of the kind
    ``unknown``.
    """
    model = in_evaluation(model, torch.device("cpu"), torch.float32)
    image = torch.zeros(1, channels, *input_size)
    mode = FieldMode(input_size, gates_are_identity=not squeeze_excitation)
    found: dict[str, ReceptiveField] = {}

    def note(tensor: Tensor, name: str, target: Target) -> Tensor:
        if tensor.ndim == 3:
            target = of_shape(model, name, tuple(tensor.shape), target, input_size)
            tensor = feature_map(tensor, name, target)
        if tensor not in mode.fields:
            raise InputError(
                f"target {name!r} yields nothing that the image reaches: choose another module"
            )
        with _disable_current_modes():
            field, doubt = mode.fields[tensor], mode.doubt(tensor)
            found[name] = _summarise(name, field, doubt, target.place)
        if len(found) == len(wanted):
            raise _AllFoundError
        return tensor

    def note_any(name: str) -> Callable[..., None]:
        def record(_module: nn.Module, _arguments: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output in mode.fields and name not in found:
                with _disable_current_modes():
                    found[name] = _summarise(name, mode.fields[output], mode.doubt(output))

        return record

    if targets is None:
        wanted: dict[str, Target] = {}
        for name, module in model.named_modules():
            module.register_forward_hook(note_any(name or OUTPUT))
    else:
        wanted = {
            name: replace(target, call=target.call or 0)
            for name, target in named(targets, modules_of(model)).items()
        }
    try:
        with torch.no_grad(), taken_apart(), ExitMode(mode.fields), mode:
            mode.record(image, image_field(image))
            if targets is None:
                forward(model, image)
            else:
                observed(model, image, wanted, note)
    except _AllFoundError:
        pass
    except UnknownFieldError as error:
        log.info("nothing is known after %d of the modules: %s", len(found), error)
        found |= {name: _unknown(str(error)) for name in wanted if name not in found}
    return found


def table(
    model: nn.Module, targets: Named, input_size: tuple[int, int], *, channels: int = 3
) -> list[dict[str, float | str]]:
    """Rows target, reading, size_h, size_w, ... of the contract `schemas.TRF`.

    gateless_size is the size with squeeze-excitation taken as the identity. Where a field cannot be
    determined the numbers are missing, and the column `reason` and the log say why.
    """
    rows: list[dict[str, float | str]] = []
    found = fields(model, targets, input_size, channels=channels)
    gateless = fields(model, targets, input_size, channels=channels, squeeze_excitation=False)
    readings = of_all(targets)
    for target, field in found.items():
        row: dict[str, float | str] = {"target": target, "reading": str(readings[target])}
        row |= {"kind": field.kind, "reason": field.reason}
        parts = {name: getattr(field, name) for name in ("size", "stride", "offset", "center")}
        parts["gateless_size"] = gateless[target].size
        for name, (height, width) in parts.items():
            row |= {f"{name}_h": height, f"{name}_w": width}
        if field.reason:
            log.warning("target %s: %s", target, field.reason)
        rows.append(row)
    return rows


def _unknown(reason: str) -> ReceptiveField:
    nothing = (math.nan, math.nan)
    return ReceptiveField(nothing, nothing, nothing, nothing, "unknown", reason)


class _AllFoundError(BaseException):  # that no network catches
    """Ends the forward pass: what comes after the last target need not be known."""


def _summarise(
    target: str, field: Field, doubt: Doubt, place: tuple[int, int] | None = None
) -> ReceptiveField:
    """Size at a feature, by default the central one, whose field no rule about borders touched."""
    if doubt.kind == "unknown":
        return _unknown(doubt.reason)
    axes = _map_axes(field)
    try:
        height = _along(target, field.first_row, field.last_row, axes, place)
        turned = (axes[1], axes[0]), place and (place[1], place[0])
        width = _along(target, field.first_column, field.last_column, *turned)
    except UnknownFieldError as error:
        return _unknown(str(error))
    size, stride, offset, center = zip(height, width, strict=True)
    whole = doubt.kind == "exact" and size == (math.inf, math.inf)
    kind = "whole input" if whole else doubt.kind
    return ReceptiveField(size, stride, offset, center, kind, doubt.reason)


def _map_axes(field: Field) -> tuple[int | None, int | None]:
    """Along which dimensions the rows and the columns of a map lie; None if there is but one."""
    axes = [
        [dim for dim in range(place.ndim) if span(place, field, [dim]).any()] for place in field[4:]
    ]
    if field.row.ndim != 4 or axes[0] == axes[1]:  # no longer a map: one place
        return None, None
    rows, columns = (axis[0] if len(axis) == 1 else None for axis in axes)
    return rows, columns


def _along(
    target: str,
    first: Tensor,
    last: Tensor,
    axes: tuple[int | None, int | None],
    place: tuple[int, int] | None,
) -> tuple[float, float, float, float]:
    """Size, stride, offset and centre along the first of two axes of the map, at a place."""
    axis, other = axes
    if other is not None:
        across = first.shape[other] // 2 if place is None else place[1]
        first, last = (part.narrow(other, across, 1) for part in (first, last))
    others = [dim for dim in range(first.ndim) if dim != axis]
    first, last = first.amin(others).view(-1), -last.amin(others).view(-1)
    middle = len(first) // 2 if place is None or axis is None else place[0]
    size = float(last[middle] - first[middle] + 1)
    if size == math.inf:
        return math.inf, math.nan, math.nan, math.nan
    if size == -math.inf:
        raise InputError(
            f"the central feature of target {target!r} depends on no pixel: choose another module"
        )
    if size > -UNKNOWN / 2:
        raise UnknownFieldError(
            f"the feature maps before target {target!r} are too small to tell its receptive field; "
            "choose a larger input size"
        )
    centres = (first + last) / 2
    stride, center = _mean_step(centres), float(centres[middle])
    return size, stride, center - middle * stride if middle else center, center


def _mean_step(centres: Tensor) -> float:
    """Distance of neighbouring centres, over one recurrence of their pattern, borders aside."""
    centres = centres.nan_to_num(math.inf)  # features that depend on nothing
    known = (centres.abs() < -UNKNOWN / 2).nonzero().flatten()
    if len(known) < 2:
        return math.nan
    centres = centres[known[0] : known[-1] + 1]
    step = period([centres], 0) or len(centres) - 1
    return float(centres[step] - centres[0]) / step
