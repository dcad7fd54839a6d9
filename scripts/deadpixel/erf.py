"""Effective receptive fields: which pixels a feature or a logit really depends on.

For image n, F is the mean over channels of the target map at one place and G the mean over colours
of dF/dI; the field is the average over images of ReLU(G) (Kim et al. 2023, Eqs. 1 to 3, after Luo
et al., "Understanding the Effective Receptive Field", NeurIPS 2016). The ReLU acts on each image's
own gradient; in evaluation mode the images of a batch do not mix, so batches change nothing.
"""

import collections
import contextlib
import copy
import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from .effective import Erf
from .errors import InputError
from .logs import log, progress
from .receptive_field import check_targets

if TYPE_CHECKING:
    from .preprocessing import EvaluationImages
    from .store import Scratch

Logit = Literal["true", "predicted", "mean"]


class NonFiniteGradientError(InputError):
    """An image has an infinite or undefined gradient; `index` counts from 0 in the order given."""

    def __init__(self, target: str, index: int) -> None:
        """Say which target and image."""
        super().__init__(f"image {index}: the gradient of target {target!r} is not finite")
        self.index = index


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Gradients on, and convolutions on a GPU neither in TF32 nor different every time."""
    cudnn = {"enabled": True, "benchmark": False, "deterministic": True, "allow_tf32": False}
    with torch.enable_grad(), torch.backends.cudnn.flags(**cudnn):
        yield


@_full_precision()
def accumulate(
    model: nn.Module,
    images: Tensor | Iterable[Tensor],
    targets: Iterable[str],
    *,
    labels: Tensor | Iterable[Tensor] | None = None,
    logit: Logit | None = None,
    positions: dict[str, tuple[int, int]] | None = None,
    batch_size: int = 32,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> dict[str, Erf]:
    """Effective receptive fields of `targets`, one forward pass per batch shared by all.

    images: normalised (N, 3, H, W), or an iterable of such batches, read once.
    targets: names of modules that yield one map (N, C, h, w), or ``output``.
    labels: true classes (N,), or an iterable of such batches.
    logit: which logit ``output`` means: ``true`` (the default with labels), ``predicted`` (the
        default without) or ``mean`` over all of them.
    positions: place (i, j) in a target's map; its centre (h // 2, w // 2) where none is given.
    dtype: of the computation; float64 is the reference. Sums are float64 always.

    `model` may be in any state and is left as it was. Raises `NonFiniteGradientError`, and
    `InputError` for an unknown target, one that is called twice or yields no map, or labels that
    are missing or beyond the head.
    """
    logit = logit or ("predicted" if labels is None else "true")
    if logit == "true" and labels is None:
        raise InputError("logit 'true' needs the labels of the images; use 'predicted' or 'mean'")
    positions = positions or {}
    modules = ["output", *(name for name, _ in model.named_modules() if name)]
    targets = check_targets(dict.fromkeys(targets), modules)
    model = _prepared(model, targets, torch.device(device), dtype)
    memory_format = _memory_format(torch.device(device))
    captured: dict[str, Tensor] = {}
    for target in targets:
        if target != "output":
            hook = functools.partial(_capture, captured, target, positions.get(target))
            model.get_submodule(target).register_forward_hook(hook)

    sums: dict[str, Erf] = {}
    done = 0
    for image_batch, label_batch in _batches(images, labels, batch_size):
        batch = image_batch.to(device, dtype, memory_format=memory_format).requires_grad_()
        captured.clear()
        output = model(batch)
        if "output" in targets:
            captured["output"] = _logits(output, label_batch, logit)
        for target in targets:
            if target not in captured:
                raise InputError(f"target {target!r} is never called in a forward pass")
            last = target == targets[-1]
            gradient = _input_gradient(captured[target], batch, keep_graph=not last)
            finite = gradient.flatten(1).isfinite().all(1)
            if not finite.all():
                raise NonFiniteGradientError(target, done + int(finite.int().argmin()))
            field = _batch_erf(gradient.relu())
            sums[target] = sums[target] + field if target in sums else field
        done += len(batch)
    if not sums:
        raise InputError("no images to accumulate an effective receptive field over")
    return sums


def _prepared(
    model: nn.Module, targets: Iterable[str], device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """A copy in evaluation mode, without parameter gradients, its batch norms folded in float64."""
    model = copy.deepcopy(model).cpu().double().eval().requires_grad_(False)
    fold_batch_norms(model, keep=targets)
    return model.to(device, dtype, memory_format=_memory_format(device))


def _memory_format(device: torch.device) -> torch.memory_format:
    """Channels last is 1.1 to 1.4 times as fast on CPUs (docs/performance.md)."""
    return torch.channels_last if device.type == "cpu" else torch.preserve_format


def fold_batch_norms(model: nn.Module, *, keep: Iterable[str] = ()) -> int:
    """Fold each batch norm whose input is one convolution's output, in place; returns how many.

    Modules named in `keep` go on yielding what they did. A network that torch.fx cannot trace is
    left as it is: folding changes the speed, not the result.
    """
    try:
        graph = torch.fx.symbolic_trace(model).graph
    except Exception as error:  # tracing runs the user's own code
        log.info("batch norms are not folded, which is slower: torch.fx says %s", error)
        return 0
    calls = collections.Counter(node.target for node in graph.nodes)
    folded = 0
    for node in graph.nodes:
        source = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(source, torch.fx.Node) or source.op != "call_module":
            continue
        convolution, norm = map(model.get_submodule, (source.target, node.target))
        if (
            type(convolution) is nn.Conv2d
            and type(norm) is nn.BatchNorm2d
            and norm.track_running_stats
            and len(source.users) == 1
            and calls[source.target] == calls[node.target] == 1
            and source.target not in keep
        ):
            fused = torch.nn.utils.fuse_conv_bn_eval(convolution, norm)
            model.set_submodule(source.target, fused)
            model.set_submodule(node.target, nn.Identity())
            folded += 1
    return folded


def _capture(
    captured: dict[str, Tensor],
    target: str,
    position: tuple[int, int] | None,
    _module: nn.Module,
    _arguments: Any,
    feature_map: Any,
) -> None:
    """Forward hook; reads the place at once, before an operation in place changes the map."""
    if not isinstance(feature_map, Tensor) or feature_map.ndim != 4:
        shape = tuple(feature_map.shape) if isinstance(feature_map, Tensor) else type(feature_map)
        raise InputError(f"target {target!r} yields {shape}, no map (N, C, h, w)")
    if target in captured:
        raise InputError(f"target {target!r} is called more than once: choose another module")
    height, width = feature_map.shape[2:]
    i, j = position or (height // 2, width // 2)
    if not (0 <= i < height and 0 <= j < width):
        raise InputError(f"position {(i, j)} is outside target {target!r} of {height} x {width}")
    captured[target] = feature_map[:, :, i, j].mean(1)


def _logits(output: Any, labels: Tensor | None, logit: Logit) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim != 2:
        raise InputError("target 'output' needs a network that yields logits (N, classes)")
    if logit == "mean":
        return output.mean(1)
    classes = output.argmax(1) if logit == "predicted" else labels.to(output.device)
    if int(classes.max()) >= output.shape[1]:
        raise InputError(
            f"label {int(classes.max())} is beyond the head's {output.shape[1]} logits: "
            "use logit 'predicted' or 'mean', or a network with a matching head"
        )
    return output.gather(1, classes[:, None]).squeeze(1)


def _input_gradient(values: Tensor, batch: Tensor, *, keep_graph: bool) -> Tensor:
    """G of Eq. 2 for each image, (N, H, W)."""
    (gradient,) = torch.autograd.grad(values.sum(), batch, retain_graph=keep_graph)
    return gradient.mean(1)


def _batch_erf(fields: Tensor) -> Erf:
    fields = fields.double()
    total, squares = fields.sum(0), fields.square().sum(0)
    return Erf(total.cpu().numpy(), squares.cpu().numpy(), len(fields))


def _batches(
    images: Tensor | Iterable[Tensor],
    labels: Tensor | Iterable[Tensor] | None,
    batch_size: int,
) -> Iterator[tuple[Tensor, Tensor | None]]:
    if isinstance(images, Tensor):
        images = images.split(batch_size)
    if labels is None:
        return zip(images, itertools.repeat(None))
    if isinstance(labels, Tensor):
        labels = labels.split(batch_size)
    return zip(images, labels, strict=True)


def accumulate_blocks(
    model: nn.Module,
    images: "EvaluationImages",
    targets: Sequence[str],
    n_blocks: int,
    scratch: "Scratch",
    *,
    shard: int = 0,
    shards: int = 1,
    logit: Logit,
    batch_size: int,
    **settings: Any,
) -> dict[str, dict[int, Erf]]:
    """`accumulate` over every `shards`-th of `n_blocks` interleaved blocks of images, from `shard`.

    Blocks are numbered over all shards, and serve standard errors. There are no more of them than
    images. A finished one is kept in `scratch`, and not computed again after a kill.
    """
    blocks: dict[str, dict[int, Erf]] = {target: {} for target in targets}
    numbers = range(shard, min(n_blocks, len(images)), shards)
    for number in progress(numbers, total=len(numbers), what="blocks of images"):
        saved = scratch.load(f"block-{number}")
        if saved is None:
            block = images.every(n_blocks, start=number)
            labels = block.labels.split(batch_size) if logit == "true" else None
            try:
                found = accumulate(
                    model,
                    block.batches(batch_size),
                    targets,
                    labels=labels,
                    logit=logit,
                    **settings,
                )
            except NonFiniteGradientError as error:
                raise InputError(f"{block.path(error.index)}: {error}") from error
            saved = {
                f"{target}/{part}": value
                for target, field in found.items()
                for part, value in dataclasses.asdict(field).items()
            }
            scratch.save(f"block-{number}", saved)
        for target in targets:
            total, squares, count = (
                saved[f"{target}/{field.name}"] for field in dataclasses.fields(Erf)
            )
            blocks[target][number] = Erf(total, squares, int(count))
    return blocks
