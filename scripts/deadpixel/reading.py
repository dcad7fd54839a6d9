"""How what modules yield is read as maps: found in a forward pass, and seen to be right.

A wrong layout yields numbers without a word. What the network says of itself comes first, then
which grids divide the image into equal strides; and where the place moves by one cell, the field
has to move by one stride.
"""

import collections
import contextlib
import dataclasses
import difflib
import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .errors import InputError
from .features import features, image_gradient, in_evaluation, observed
from .logs import log
from .networks.forward import forward
from .targets import HOW_TO_SAY, OUTPUT, Named, Target, feature_map, of_all

STRIDES = (4, 8, 16, 32)
STAGES = tuple(f"stride{stride}" for stride in STRIDES)
_NEAR = 1.3  # ratio of a map's stride to one of them, as lost borders go
_MOST_NAMES = 12  # in a message
_MOST_PREFIX = 8  # a class token, one for distillation and registers
# By how many cells, or which share of them, a map may miss the proportions of the image.
_CELLS, _SHARE = 2.0, 0.15
# Of moves, in strides per cell. Right readings of 25 networks moved by 0.94 to 1.03 along where
# fields were narrow, by less where the image cut them off, and by less than 0.1 across. A wide one
# moves by more where the border counts more than the middle, by up to 2 of an EfficientNet.
_LEAST_ALONG, _MOST_ALONG, _MOST_ACROSS = 0.9, 1.4, 0.75
# Standard deviation of a field over that of a uniform one, from where on nothing can be seen.
_WIDE = 0.65
# How far chance shifts a centre: in deviations of the field, and at least in pixels.
_DOUBT, _LEAST_DOUBT = 0.5, 1.5


def named(targets: Named, modules: Iterable[str]) -> dict[str, Target]:
    """Targets by name; raises `InputError` for one whose module is not among `modules`."""
    found, modules = of_all(targets), [*modules]
    for name, target in found.items():
        if target.module not in modules:
            _refuse_unknown(name, target.module, modules)
    return found


def _refuse_unknown(name: str, module: str, modules: Sequence[str]) -> None:
    near = _similar(module, modules)
    top = [found for found in modules if "." not in found]
    raise InputError(
        f"unknown target {module!r}"
        + (f" ({name})" if name != module else "")
        + ": "
        + (f"did you mean {' or '.join(near)}? " if near else "")
        + f"The network has {', '.join(top[:_MOST_NAMES])}"
        + (f" and {len(top) - _MOST_NAMES} more" if len(top) > _MOST_NAMES else "")
        + ", and the modules within them: name one under targets or models.NAME.targets"
    )


def _similar(target: str, modules: Sequence[str]) -> list[str]:
    """Modules whose whole name, or else its last part, is nearly `target`'s."""
    last = target.rpartition(".")[2]
    by_last_part: dict[str, str] = {}
    for name in modules:
        by_last_part.setdefault(name.rpartition(".")[2], name)
    near = difflib.get_close_matches(target, modules, 3, 0.75)
    ends = difflib.get_close_matches(last, by_last_part, 3, 0.75)
    return near or [by_last_part[end] for end in ends]


def modules_of(model: nn.Module) -> list[str]:
    """Every name that a target's module may have."""
    names = (name for name, _ in model.named_modules(remove_duplicate=False))
    return [OUTPUT, *(name for name in names if name)]


def completed(model: nn.Module, images: Tensor, targets: Mapping[str, Target]) -> dict[str, Target]:
    """`targets` with the layout, prefix and grid of each, found in a forward pass of `images`.

    images: (N, C, H, W); `model` is in evaluation mode. Raises `InputError` that names the
    candidates and the key that decides, where more than one fits or none.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def note(tensor: Tensor, name: str, _target: Target) -> Tensor:
        shapes[name] = tuple(tensor.shape)
        return tensor.detach()

    with torch.no_grad():
        observed(model, images, targets, note)
    size = images.shape[2], images.shape[3]
    return {name: of_shape(model, name, shapes[name], targets[name], size) for name in targets}


def read(model: nn.Module, images: Tensor, targets: Mapping[str, Any]) -> dict[str, Target]:
    """`completed`, of the targets of a configuration, of which some are `with_stages`."""
    plain = in_evaluation(model, images.device, images.dtype)
    return completed(plain, images, named(with_stages(plain, images, targets), modules_of(plain)))


def with_stages(
    model: nn.Module, images: Tensor, targets: Mapping[str, Any]
) -> dict[str, str | Mapping[str, Any] | Target]:
    """`targets` where None stands for the last map of the stride in its name, such as ``stride16``.

    A network without such a map has no such target. images: (N, C, H, W), a few.
    """
    if None not in targets.values():
        return dict(targets)
    maps = last_maps(model, images)
    found = {name: said or maps.get(name) for name, said in targets.items()}
    for name in (name for name, target in found.items() if target is None):
        log.info("the network has no map of %s, and so no such target", name)
    return {name: target for name, target in found.items() if target is not None}


def last_maps(model: nn.Module, images: Tensor) -> dict[str, Target]:
    """The last map of each stride of 4, 8, 16 and 32 px, by names such as ``stride16``.

    Found in one forward pass of `images` (N, C, H, W), among all tensors, or parts of tuples, lists
    and dicts, that modules yield and whose layout is clear. A map inside a block that goes on to
    another stride is none of its stride's last ones, if there are others, and one whose tokens lie
    in another order is left out. Of the nine ResNets of the paper they are layer1 to layer4.
    """
    model = in_evaluation(model, images.device, images.dtype)
    seen = _maps_of(model, images)
    found: dict[str, Target] = {}
    for stride in STRIDES:
        of_stride = [target for target, other in seen if other == stride]
        inside = [_in_blocks_of_others(model, seen, target, stride) for target in of_stride]
        if of_stride:
            last = max(range(len(inside)), key=lambda number: (-inside[number], number))
            found[f"stride{stride}"] = of_stride[last]
    return _in_order(model, images, found)


def _in_order(model: nn.Module, images: Tensor, targets: Mapping[str, Target]) -> dict[str, Target]:
    """Without tokens that lie otherwise than row by row, such as Hiera's, by windows."""
    tokens = {name: target for name, target in targets.items() if target.layout == "tokens"}
    moves = moves_of(model, images, tokens) if tokens else {}
    wrong = {name: move for name, found in moves.items() for move in found if move.is_wrong}
    for name, move in wrong.items():
        moved = _moved(name, targets[name], move)
        log.warning("left out, as its tokens are in no order of rows: %s", moved)
    return {name: target for name, target in targets.items() if name not in wrong}


def _maps_of(model: nn.Module, images: Tensor) -> list[tuple[Target, int | None]]:
    """Every map that a module yields, in order, with the one of the strides that it has.

    One that may lie in memory in two ways lies as all others do, if these lie in one.
    """
    size = images.shape[2], images.shape[3]
    yielded = _yielded(model, images)
    clear = [_clear(model, target, shape, size) for target, shape in yielded]
    layouts = {target.layout for target in clear if target} - {"tokens", "logits"}
    usual = layouts.pop() if len(layouts) == 1 else None
    seen: list[tuple[Target, int | None]] = []
    for found, (target, shape) in zip(clear, yielded, strict=True):
        as_usual = dataclasses.replace(target, layout=usual)
        if read := found or (usual and _clear(model, as_usual, shape, size)):
            outline = feature_map(torch.empty(shape, device="meta"), target.module, read)
            seen.append((read, _stride(outline, size)))
    return seen


def _yielded(model: nn.Module, images: Tensor) -> list[tuple[Target, tuple[int, ...]]]:
    """Every tensor of the batch that a module yields, in order, by its shape."""
    found: list[tuple[Target, tuple[int, ...]]] = []
    calls: collections.Counter[str] = collections.Counter()

    def note(name: str, _module: nn.Module, _arguments: Any, output: Any) -> None:
        call = calls[name]
        calls[name] += 1
        for part, tensor in _tensors(output).items():
            if tensor.ndim and len(tensor) == len(images):
                found.append((Target(name, part=part, call=call), tuple(tensor.shape)))

    with contextlib.ExitStack() as hooks, torch.no_grad():
        for name, module in model.named_modules():
            if name:
                hook = module.register_forward_hook(functools.partial(note, name))
                hooks.callback(hook.remove)
        forward(model, images.clone())
    return [
        (dataclasses.replace(target, call=None) if calls[target.module] == 1 else target, shape)
        for target, shape in found
    ]


def _tensors(output: Any) -> dict[str | int | None, Tensor]:
    """What a module yields, by the part that a target of it names."""
    if isinstance(output, Mapping):
        parts = output.items()
    else:
        parts = enumerate(output) if isinstance(output, (tuple, list)) else [(None, output)]
    return {part: found for part, found in parts if isinstance(found, Tensor)}


def _clear(
    model: nn.Module, target: Target, shape: tuple[int, ...], size: tuple[int, int]
) -> Target | None:
    """`of_shape`, if there is one answer."""
    with contextlib.suppress(InputError):
        return of_shape(model, target.module, shape, target, size)
    return None


def _in_blocks_of_others(
    model: nn.Module, seen: Sequence[tuple[Target, int | None]], target: Target, stride: int
) -> int:
    """How many modules around that of a target yield a map of another stride, chains aside."""
    strides = collections.defaultdict(set)
    for other, found in seen:
        strides[other.module].add(found)
    parts = target.module.split(".")
    around = [".".join(parts[:length]) for length in range(1, len(parts))]
    return sum(
        name in strides and stride not in strides[name]
        for name in around
        if type(model.get_submodule(name)) is not nn.Sequential
    )


def _stride(feature_map: Tensor, size: tuple[int, int]) -> int | None:
    """The one of the strides that the map has, borders aside."""
    strides = [pixels / cells for pixels, cells in zip(size, feature_map.shape[2:], strict=True)]
    near = [
        stride for stride in STRIDES if all(1 / _NEAR < found / stride < _NEAR for found in strides)
    ]
    return near[0] if near else None


class _Said(NamedTuple):
    """What timm's networks say of themselves."""

    layout: str | None
    prefix: int | None


def _said(model: nn.Module, name: str) -> _Said:
    """By a module itself or the nearest around it."""
    layout = prefix = None
    parts = name.split(".") if name != OUTPUT else []
    for length in range(len(parts), -1, -1):
        module = model.get_submodule(".".join(parts[:length]))
        if layout is None and (said := getattr(module, "output_fmt", None)) is not None:
            layout = str(getattr(said, "value", said)).lower()
        if prefix is None and isinstance(said := getattr(module, "num_prefix_tokens", None), int):
            prefix = said
    return _Said(layout, prefix)


def of_shape(
    model: nn.Module, name: str, shape: tuple[int, ...], target: Target, size: tuple[int, int]
) -> Target:
    """`completed` for one target of which a tensor of that shape was seen, by images of `size`.

    It is the one candidate that fits what is asked for, else what the network says of itself.
    """
    said = _said(model, target.module)
    candidates = [
        candidate for candidate in _candidates(shape, target, size) if _agrees(candidate, target)
    ]
    agreeing = [
        candidate
        for candidate in candidates
        if (said.layout in (None, candidate.layout) or candidate.layout == "logits")
        and (candidate.prefix is None or said.prefix in (None, candidate.prefix))
    ]
    chosen = agreeing if len(agreeing) == 1 else candidates
    if len(chosen) == 1:
        return chosen[0]
    if not chosen:
        raise InputError(
            f"target {name!r} yields {shape} of images of {size[0]} x {size[1]} px, which is no "
            f"map of equal strides{f' as {target}' * (str(target) != target.module)}: {HOW_TO_SAY}"
        )
    raise InputError(
        f"target {name!r} yields {shape}, which may be {' or '.join(map(str, chosen))}: write the "
        f"right one under models.NAME.targets.{name}"
    )


def _agrees(candidate: Target, asked: Target) -> bool:
    return asked.layout in (None, candidate.layout) and asked.prefix in (None, candidate.prefix)


def _candidates(shape: tuple[int, ...], target: Target, size: tuple[int, int]) -> list[Target]:
    """What a tensor of that shape may be."""
    with_layout = dataclasses.replace
    if target.module == OUTPUT and len(shape) == 2:
        return [with_layout(target, layout="logits")]
    if len(shape) == 3:
        return [*_token_candidates(shape[1], target, size)]
    if len(shape) != 4:
        return []
    if target.layout in ("nchw", "nhwc"):
        return [target]
    grids = {"nchw": shape[2:], "nhwc": shape[1:3]}
    misses = {layout: _miss(grid, size) for layout, grid in grids.items()}
    nearest = min(misses.values())
    return [
        with_layout(target, layout=layout)
        for layout, grid in grids.items()
        if misses[layout] == nearest <= max(_CELLS, _SHARE * max(grid))
    ]


def _miss(grid: Sequence[int], size: tuple[int, int]) -> float:
    """By how many cells a grid misses the proportions of an image."""
    return abs(grid[0] * size[1] - grid[1] * size[0]) / max(size)


def _token_candidates(tokens: int, target: Target, size: tuple[int, int]) -> Iterator[Target]:
    """Grids, after a prefix, that divide the image into equal square strides."""
    height, width = size
    if target.grid is not None:
        prefix = tokens - target.grid[0] * target.grid[1]
        if prefix >= 0:
            yield dataclasses.replace(target, layout="tokens", prefix=prefix)
        return
    for prefix in range(_MOST_PREFIX + 1) if target.prefix is None else [target.prefix]:
        for stride in range(1, min(size) + 1):
            grid = height // stride, width // stride
            divides = height % stride == 0 and width % stride == 0
            if divides and prefix + grid[0] * grid[1] == tokens:
                yield dataclasses.replace(target, layout="tokens", prefix=prefix, grid=grid)


class Move(NamedTuple):
    """What a field does where the place moves along one axis of the map.

    Centres and deviations (standard deviations of the field) are in pixels, (2, 2): before and
    after, along both axes of the image.
    """

    axis: int
    places: tuple[tuple[int, int], tuple[int, int]]
    centres: Tensor
    deviations: Tensor
    size: tuple[int, int]
    stride: float

    @property
    def cells(self) -> int:
        """By how many cells the place moves."""
        return self.places[1][self.axis] - self.places[0][self.axis]

    @property
    def spreads(self) -> tuple[float, float]:
        """Deviations along the axis and across it, over those of a uniform field."""
        found = self.deviations.amax(0) * math.sqrt(12) / torch.tensor(self.size)
        return float(found[self.axis]), float(found[1 - self.axis])

    @property
    def steps(self) -> tuple[float, float]:
        """By how many strides a cell the field moves along the axis and across it."""
        steps = (self.centres[1] - self.centres[0]) / (self.stride * self.cells)
        return float(steps[self.axis]), float(steps[1 - self.axis])

    @property
    def is_clear(self) -> bool:
        """Whether the field is narrow enough to be seen to move, and no zero."""
        return self.spreads[0] < _WIDE

    @property
    def is_wrong(self) -> bool:
        """Whether the field moves as that of the place cannot, as far as it is narrow.

        The wider it is, the less it moves, as the image cuts it off; or the more, where pixels at
        the border count more than those in the middle.
        """
        expected = self.stride * self.cells
        doubts = ((_DOUBT * self.deviations.amax(0) + _LEAST_DOUBT) / expected).tolist()
        along, across = self.steps
        doubt, doubt_across = doubts[self.axis], doubts[1 - self.axis]
        spread, spread_across = self.spreads
        least = min(_LEAST_ALONG, 1.1 - 1.2 * spread)
        most = max(_MOST_ALONG, 0.2 + 4 * spread)
        off = along < least - doubt or along > most + doubt
        aside = abs(across) > _MOST_ACROSS + doubt_across
        return (self.is_clear and off) or (spread_across < _WIDE and aside)


def check(model: nn.Module, images: Tensor, targets: Mapping[str, Target]) -> dict[str, list[Move]]:
    """How the field of each target moves with its place: by one stride where that does by a cell.

    images: (N, C, H, W), a few; `targets` are complete, and `model` is in evaluation mode without
    gradients of weights. Raises `InputError` if a field moves otherwise. One that is nearly as wide
    as the image cannot tell: the log says so.
    """
    moves = moves_of(model, images, targets)
    for name, target in targets.items():
        for move in filter(lambda move: move.is_wrong, moves[name]):
            raise InputError(
                f"{_moved(name, target, move)}: the layout or the order of tokens is wrong; "
                f"{HOW_TO_SAY}"
            )
        if moves[name] and not any(move.is_clear for move in moves[name]):
            log.info(
                "target %r, read as %s: its field is nearly as wide as the image, or zero, so that "
                "nobody can see whether it moves with its place",
                name,
                target,
            )
    return moves


def _moved(name: str, target: Target, move: Move) -> str:
    before, after = ("({:.1f}, {:.1f})".format(*centre) for centre in move.centres.tolist())
    return (
        f"target {name!r}, read as {target}: where its place moves from {move.places[0]} to "
        f"{move.places[1]}, its field's centre moves from {before} to {after} px, and not by "
        f"{move.cells} x {move.stride:g} px {('down', 'to the right')[move.axis]}"
    )


@torch.enable_grad()
def moves_of(
    model: nn.Module, images: Tensor, targets: Mapping[str, Target]
) -> dict[str, list[Move]]:
    """How the field of each target moves with its place, along each axis of more than one cell.

    The field is the mean magnitude of the images' gradients; it is squared, so that its peak counts
    more than a faint glow over the whole image.
    """
    images = images.detach().requires_grad_()
    size = images.shape[2], images.shape[3]
    grids = _grids(model, images, targets)
    pairs = {name: _pairs(target, grids[name]) for name, target in targets.items()}
    places = {
        f"{name} at {place}": targets[name].at(place)
        for name, by_axis in pairs.items()
        for place in itertools.chain.from_iterable(by_axis.values())
    }
    found = features(model, images, places) if places else {}
    moves: dict[str, list[Move]] = {name: [] for name in targets}
    for name, by_axis in pairs.items():
        for axis, pair in by_axis.items():
            values = [found[f"{name} at {place}"] for place in pair]
            moments = [_moments(_power(name, of_place, images)) for of_place in values]
            centres, deviations = map(torch.stack, zip(*moments, strict=True))
            stride = size[axis] / grids[name][axis]
            moves[name].append(Move(axis, pair, centres, deviations, size, stride))
    return moves


def _grids(
    model: nn.Module, images: Tensor, targets: Mapping[str, Target]
) -> dict[str, tuple[int, int]]:
    def read(tensor: Tensor, name: str, target: Target) -> Tensor:
        return feature_map(tensor.detach(), name, target)

    with torch.no_grad():
        found = observed(model, images, targets, read)
    return {name: (maps.shape[2], maps.shape[3]) for name, maps in found.items()}


def _pairs(
    target: Target, grid: tuple[int, int]
) -> dict[int, tuple[tuple[int, int], tuple[int, int]]]:
    """Two places of a target to move between, by axis."""
    here = target.place or (grid[0] // 2, grid[1] // 2)
    return {axis: _neighbours(here, grid, axis) for axis in (0, 1) if grid[axis] > 1}


def _neighbours(
    place: tuple[int, int], grid: tuple[int, int], axis: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The places before and after one along an axis, as far as there are such."""
    before, after = list(place), list(place)
    before[axis] = max(place[axis] - 1, 0)
    after[axis] = min(place[axis] + 1, grid[axis] - 1)
    return (before[0], before[1]), (after[0], after[1])


def _power(name: str, values: Tensor, images: Tensor) -> Tensor:
    """Squared mean magnitude (H, W) of the gradients of values (N, C), float64; sums to 1."""
    gradient = image_gradient(name, values.mean(1), images, keep_graph=True)
    power = gradient.mean(1).abs().mean(0).double().square()
    return power / power.sum()


def _moments(power: Tensor) -> tuple[Tensor, Tensor]:
    """Centre of mass and standard deviation, (2,) in pixels."""
    centre, deviation = [], []
    for profile in (power.sum(1), power.sum(0)):
        places = torch.arange(len(profile), dtype=profile.dtype, device=profile.device)
        centre.append(profile @ places)
        deviation.append((profile @ (places - centre[-1]).square()).sqrt())
    return torch.stack(centre), torch.stack(deviation)
