"""Which modules a surgery is for: all, by name, wildcard, or the stride at which they read."""

import fnmatch
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from ..copies import copied
from ..errors import InputError, in_the_users_code
from ..uncompiled import DispatchMode
from .kinds import ALL

Selection = str | Sequence[str] | Mapping[str, Any]
_HOW_TO_SELECT = "write all, names or wildcards of modules, {except: ...} or {stride: 1..2}"
_NEAR = 1.3  # ratio to a stride, as borders are lost or an odd map is halved


def chosen(
    selection: Selection, names: Sequence[str], model: nn.Module, image: Tensor
) -> list[str]:
    """Those of `names`, modules of `model`, that `selection` is of, in their order.

    selection: ``all``; a name, a wildcard as of a shell, or several of them; ``{"except":
    selection}``; or ``{"stride": "1..2"}``, of modules that read a map of 1 to 2 px a cell, of
    which `image` (N, C, H, W) tells. Raises `InputError` if a part of it is of none of `names`.
    """
    if selection == ALL:
        return [*names]
    if not isinstance(selection, Mapping):
        return _matching(_patterns(selection), names)
    if [*selection] not in (["except"], ["stride"]):
        raise InputError(f"{dict(selection)} is no selection: {_HOW_TO_SELECT}")
    if "except" in selection:
        others = chosen(selection["except"], names, model, image)
        return [name for name in names if name not in others]
    first, last = bounds(selection["stride"])
    strides = _strides(model, image)
    found = [n for n in names if first / _NEAR < strides.get(n, math.nan) < last * _NEAR]
    if not found:
        raise InputError(f"no kernel to be changed reads at a stride of {selection['stride']}")
    return found


def bounds(strides: str | int) -> tuple[float, float]:
    """First and last stride of text such as ``4``, ``1..2`` and ``4..``; raises `InputError`."""
    first, dots, last = str(strides).partition("..")
    try:
        return float(first), float(last) if last else math.inf if dots else float(first)
    except ValueError as error:
        raise InputError(
            f"stride {strides!r} is no number or range: write it as 4, 1..2 or 4.."
        ) from error


def _patterns(selection: Any) -> list[str]:
    patterns = [selection] if isinstance(selection, str) else selection
    listed = isinstance(patterns, Sequence)
    if not listed or not all(isinstance(pattern, str) for pattern in patterns):
        raise InputError(f"{selection!r} is no selection: {_HOW_TO_SELECT}")
    return [*patterns]


def _matching(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    matches = {pattern: fnmatch.filter(names, pattern) for pattern in patterns}
    for pattern, found in matches.items():
        if not found:
            raise InputError(
                f"{pattern!r} is the name of no kernel with stride 2 that can be changed, "
                f"which are {', '.join(names) or 'none'}"
            )
    return [name for name in names if any(name in found for found in matches.values())]


def _strides(model: nn.Module, image: Tensor) -> dict[str, float]:
    """Pixels of `image` a cell of the map that each module reads first, by its name."""
    found: dict[str, float] = {}
    model = copied(model).eval().to(image.device)

    def note(name: str, _module: nn.Module, arguments: tuple, named: dict[str, Any]) -> None:
        first = next(iter([*arguments, *named.values()]), None)
        if isinstance(first, Tensor) and first.ndim == 4:
            found.setdefault(name, image.shape[2] / first.shape[2])

    for name, module in model.named_modules():
        module.register_forward_pre_hook(functools.partial(note, name), with_kwargs=True)
    what = f"the network fails on an image of shape {tuple(image.shape)}"
    advice = ", so that no stride is known: select by names instead"
    with in_the_users_code(what, advice), torch.no_grad(), _ShapesAlone():
        model(image.clone())  # it may change it in place
    return found


class _ShapesAlone(DispatchMode):
    """What meets a tensor on the meta device is a shape, too, such as constants of a network."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        given = args, kwargs or {}
        if any(isinstance(leaf, Tensor) and leaf.is_meta for leaf in tree_leaves(given)):
            given = tree_map_only(Tensor, lambda tensor: tensor.to("meta"), given)
        return func(*given[0], **given[1])
