"""Which feature map of a network is meant, and how it lies in what a module yields."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, get_args

from torch import Tensor

from .errors import InputError

Layout = Literal["nchw", "nhwc", "tokens", "logits"]
OUTPUT = "output"


@dataclasses.dataclass(frozen=True)
class Target:
    """A feature map of a network; `reading.completed` finds what is None.

    module: name of the module that yields it; ``output`` is what the network puts out.
    layout: ``nchw`` for (N, C, h, w), ``nhwc`` for (N, h, w, C), ``tokens`` for
        (N, prefix + h * w, C), ``logits`` for (N, classes), which have no places.
    prefix: how many tokens precede those of the map: class, distillation, registers.
    grid: rows and columns (h, w) of the tokens.
    part: key or index, where the module yields a dict, list or tuple.
    call: which call, counted from 0, where the module is called more than once.
    place: row and column of the feature; the centre (h // 2, w // 2) where it is None.
    """

    module: str
    layout: Layout | None = None
    prefix: int | None = None
    grid: tuple[int, int] | None = None
    part: str | int | None = None
    call: int | None = None
    place: tuple[int, int] | None = None

    def __str__(self) -> str:
        """As it is written in a configuration."""
        said = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
            if value is not None
        }
        if [*said] == ["module"]:
            return self.module
        return "{" + ", ".join(f"{name}: {value}" for name, value in said.items()) + "}"

    def at(self, place: tuple[int, int]) -> "Target":
        """The same map's feature at another place."""
        return dataclasses.replace(self, place=place)


Named = Iterable[str] | Mapping[str, str | Mapping[str, Any] | Target]
KEYS = tuple(field.name for field in dataclasses.fields(Target))


def of_all(targets: Named) -> dict[str, Target]:
    """Targets by name, of one or several names of modules or of a configuration's mapping.

    Raises `InputError` for keys that there are not and for values that they cannot have.
    """
    if not isinstance(targets, Mapping):
        targets = {name: name for name in ([targets] if isinstance(targets, str) else targets)}
    return {name: _target(name, said) for name, said in targets.items()}


def _target(name: str, said: str | Mapping[str, Any] | Target) -> Target:
    if isinstance(said, str):
        return Target(said)
    if isinstance(said, Target):
        said = dataclasses.asdict(said)
    if unknown := said.keys() - set(KEYS):
        raise InputError(
            f"target {name!r} has no key {sorted(unknown)[0]!r}: use {', '.join(KEYS)}"
        )
    checks: dict[str, Callable[[Any], bool]] = {
        "module": lambda value: isinstance(value, str) and bool(value),
        "layout": lambda value: value in get_args(Layout),
        "prefix": _is_count,
        "grid": lambda value: _is_pair(value) and min(value) > 0,
        "part": lambda value: isinstance(value, str) or _is_count(value),
        "call": _is_count,
        "place": _is_pair,
    }
    for key, is_right in checks.items():
        value = said.get(key)
        if (value is not None or key == "module") and not is_right(value):
            raise InputError(
                f"target {name!r} has {key}: {value!r}: write it as in "
                "{module: blocks.11, layout: tokens, prefix: 1, grid: [14, 14], part: 0, call: 0, "
                "place: [7, 7]}"
            )
    pairs = {key: tuple(value) for key, value in said.items() if isinstance(value, list)}
    return Target(**{**said, **pairs})


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_count, value))


def _of_tokens(tokens: Tensor, target: Target) -> Tensor:
    assert target.prefix is not None and target.grid is not None  # both are found by then
    return tokens[:, target.prefix :].transpose(1, 2).unflatten(2, target.grid)


# How the tensor that a module yields becomes a map (N, C, h, w), by its layout.
READERS: dict[str, Callable[[Tensor, Target], Tensor]] = {
    "nchw": lambda tensor, _target: tensor,
    "nhwc": lambda tensor, _target: tensor.permute(0, 3, 1, 2),
    "tokens": _of_tokens,
    "logits": lambda tensor, _target: tensor[:, :, None, None],
}
NDIM = {"nchw": 4, "nhwc": 4, "tokens": 3, "logits": 2}


def feature_map(tensor: Tensor, name: str, target: Target) -> Tensor:
    """The map (N, C, h, w) in what a module yields; logits are a map of one place.

    Raises `InputError` if the tensor is not as the target says.
    """
    assert target.layout is not None
    shape = tuple(tensor.shape)
    fits = tensor.ndim == NDIM[target.layout]
    if target.layout == "tokens" and fits and target.grid is not None:
        fits = shape[1] == (target.prefix or 0) + target.grid[0] * target.grid[1]
    if not fits:
        raise InputError(f"target {name!r} yields {shape}, which is not {target}: {HOW_TO_SAY}")
    return READERS[target.layout](tensor, target)


HOW_TO_SAY = (
    "say how to read it under models.NAME.targets, such as "
    "{layer4: {module: blocks.11, layout: tokens, prefix: 1}}, or choose another module"
)


def feature(tensor: Tensor, name: str, target: Target) -> Tensor:
    """Features (N, C) at the target's place; raises `InputError` if it is outside the map."""
    found = feature_map(tensor, name, target)
    height, width = found.shape[2:]
    i, j = target.place or (height // 2, width // 2)
    if not (0 <= i < height and 0 <= j < width):
        raise InputError(
            f"place {(i, j)} is outside target {name!r} of {height} x {width}: choose another"
        )
    return found[:, :, i, j]
