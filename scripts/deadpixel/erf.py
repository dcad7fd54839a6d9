"""Effective receptive fields: which pixels a feature or a logit really depends on.

For image n, F is the mean over channels of the target map at one place and G the mean over colours
of dF/dI; the field is the average over images of ReLU(G) (Kim et al. 2023, Eqs. 1 to 3, after Luo
et al., "Understanding the Effective Receptive Field", NeurIPS 2016). The ReLU acts on each image's
own gradient; in evaluation mode the images of a batch do not mix, so batches change nothing.
Others compute other things under that name: `DEFINITIONS`.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from .errors import InputError
from .features import features, image_gradient, in_evaluation, prepared
from .files.effective import Erf
from .logs import log, progress
from .networks.forward import forward, full_precision, logits
from .reading import Move, check, completed, modules_of, named
from .targets import OUTPUT, Named, Target

if TYPE_CHECKING:
    from .data.evaluation import EvaluationImages
    from .files.resume import Scratch

Logit = Literal["true", "predicted", "mean"]
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclass(frozen=True)
class Definition:
    """What an effective receptive field is the average of over images.

    value: F (N,) of a target's features (N, C); a logit is its own F. field: of the gradients of F
    (N, 3, H, W), what is averaged (N, H, W). signed: it may be negative.
    """

    value: Callable[[Tensor], Tensor]
    field: Callable[[Tensor], Tensor]
    signed: bool = False


def _mean_feature(features: Tensor) -> Tensor:
    return features.mean(1)


# kim is the paper's. replknet is Ding et al., CVPR 2022 (erf/visualize_erf.py of RepLKNet-pytorch).
DEFINITIONS = {
    "kim": Definition(_mean_feature, lambda gradients: gradients.mean(1).relu()),
    "replknet": Definition(
        lambda features: features.relu().sum(1), lambda gradients: gradients.relu().sum(1)
    ),
    "absolute": Definition(_mean_feature, lambda gradients: gradients.mean(1).abs()),
    "signed": Definition(_mean_feature, lambda gradients: gradients.mean(1), signed=True),
}


class NonFiniteGradientError(InputError):
    """A feature of an image, or its gradient, is infinite or undefined; `index` counts from 0."""

    def __init__(self, target: str, index: int) -> None:
        """Say which target and image."""
        super().__init__(
            f"image {index}: target {target!r} or its gradient is not finite: check the network's "
            "weights and its code"
        )
        self.index = index


def accumulate(
    model: nn.Module,
    images: Tensor | Iterable[Tensor],
    targets: Named,
    *,
    labels: Tensor | Iterable[Tensor] | None = None,
    logit: Logit | None = None,
    definition: str = "kim",
    batch_size: int = 32,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> dict[str, Erf]:
    """Effective receptive fields of `targets`, one forward pass per batch shared by all.

    images: normalised (N, C, H, W), or an iterable of such batches, read once.
    targets: names of modules that yield a map, or ``output``; or, by the names that their fields
        get, modules, `Target`s or mappings of a `Target`'s fields. What these leave open, such as
        the layout, is found and checked (`reading`).
    labels: true classes (N,), or an iterable of such batches.
    logit: which logit ``output`` means: ``true`` (the default with labels), ``predicted`` (the
        default without) or ``mean`` over all of them.
    definition: which of `DEFINITIONS`.
    dtype: of the computation; float64 is the reference. Sums are float64 always.

    `model` may be in any state and is left as it was. Raises `NonFiniteGradientError`, and
    `InputError` for images that are no such tensors, an unknown target, one that is called twice,
    cannot be read as a map or is read as the wrong one, labels that are missing or no classes of
    the head, and a network that fails or whose features of an image depend on anything but that
    image, as far as the first two tell.
    """
    logit = logit or ("predicted" if labels is None else "true")
    if logit == "true" and labels is None:
        raise InputError("logit 'true' needs the labels of the images; use 'predicted' or 'mean'")
    measurement = Measurement(model, targets, logit, definition, dtype, device)
    return measurement.over(_batches(images, labels, batch_size))


class Measurement:
    """What `accumulate` does, for any number of sets of images.

    targets: as they are read, complete once images were seen. moves: how the field of each moves
    with its place, as `reading.check` saw it in the first images.
    """

    def __init__(
        self,
        model: nn.Module,
        targets: Named,
        logit: Logit,
        definition: str,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        """Raise `InputError` for what `accumulate` refuses before it sees an image."""
        self.targets = named(targets, modules_of(model))
        self.moves: dict[str, list[Move]] = {}
        if logit not in get_args(Logit):
            raise InputError(f"logit {logit!r} is none of {', '.join(get_args(Logit))}")
        if dtype not in (torch.float32, torch.float64):
            raise InputError(f"dtype {dtype}: use float32 or float64")
        self._model, self._dtype = model, dtype
        self._logit: Logit = logit
        if definition not in DEFINITIONS:
            raise InputError(f"definition {definition!r} is none of {', '.join(DEFINITIONS)}")
        self._definition = DEFINITIONS[definition]
        self._device = torch.device(device)
        self._ready: nn.Module | None = None
        self._is_read = False

    @torch.enable_grad()
    @full_precision()
    def prepare(self, images: Tensor) -> nn.Module:
        """The network, checked and made fast by two images (2, C, H, W); once."""
        if self._ready is None:
            self.read(images)
            self._ready = prepared(self._model, images, self.targets, self._device, self._dtype)
            few = images.to(self._device, self._dtype)
            self.moves = check(self._ready, few, self.targets)
        return self._ready

    def read(self, images: Tensor) -> None:
        """Complete the targets by a few images (N, C, H, W); once."""
        if not self._is_read:
            plain = in_evaluation(self._model, self._device, self._dtype)
            self.targets = completed(plain, images.to(self._device, self._dtype), self.targets)
            self._is_read = True

    @torch.enable_grad()
    @full_precision()
    def over(self, batches: Iterable[tuple[Tensor, Tensor | None]]) -> dict[str, Erf]:
        """Fields over all images of `batches` of images and labels."""
        sums: dict[str, Erf] = {}
        done = 0
        for images, labels in batches:
            model = self.prepare(images[:2])
            for target, values, gradients in self._gradients(model, images, labels):
                finite = gradients.flatten(1).isfinite().all(1) & values.isfinite()
                if not finite.all():
                    raise NonFiniteGradientError(target, done + int(finite.int().argmin()))
                field = _batch_erf(self._definition.field(gradients))
                sums[target] = sums[target] + field if target in sums else field
            done += len(images)
        if not sums:
            raise InputError("no images to accumulate an effective receptive field over")
        for target, field in sums.items():
            if not field.total.any():
                log.warning("no pixel of any image raises target %r: its field is zero", target)
        return sums

    def _gradients(
        self, model: nn.Module, images: Tensor, labels: Tensor | None
    ) -> Iterator[tuple[str, Tensor, Tensor]]:
        """F (N,) of Eq. 1 and its gradient (N, 3, H, W) for each image, of each target."""
        images = images.to(self._device, self._dtype).detach().requires_grad_()
        found = features(model, images, self.targets)
        for number, target in enumerate(found, start=1):
            if self.targets[target].module == OUTPUT:
                values = _chosen(found[target], labels, self._logit)
            else:
                values = self._definition.value(found[target])
            gradients = image_gradient(target, values, images, keep_graph=number < len(found))
            yield target, values.detach(), gradients


def _chosen(logits: Tensor, labels: Tensor | None, logit: Logit) -> Tensor:
    """One value (N,) of the logits (N, classes)."""
    if logit == "mean":
        return logits.mean(1)
    classes = logits.argmax(1) if logit == "predicted" or labels is None else labels
    for label in (int(classes.min()), int(classes.max())):
        if not 0 <= label < logits.shape[1]:
            raise InputError(
                f"label {label} is beyond the head's {logits.shape[1]} logits: "
                "use logit 'predicted' or 'mean', or a network with a matching head"
            )
    return logits.gather(1, classes.to(logits.device)[:, None].long()).squeeze(1)


def _batch_erf(fields: Tensor) -> Erf:
    fields = fields.double()
    total, squares = fields.sum(0), fields.square().sum(0)
    return Erf(total.cpu().numpy(), squares.cpu().numpy(), len(fields))


def check_head(model: nn.Module, image: Tensor, n_classes: int, key: str) -> None:
    """Raise `InputError` naming `key` if an image (3, H, W) has not a logit for each class."""
    with torch.no_grad():
        found = logits(forward(model, image[None])).shape[1]
    if found != n_classes:
        raise InputError(
            f"{key}: true, but the head has {found} logits and the data set {n_classes} classes: "
            "use predicted or mean, or a network whose head was made for this data set"
        )


def _batches(
    images: Tensor | Iterable[Tensor],
    labels: Tensor | Iterable[Tensor] | None,
    batch_size: int,
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Pairs of batches; raises `InputError` for those that are no images or no labels."""
    if isinstance(images, Tensor):
        images = images.split(batch_size)
    if isinstance(labels, Tensor):
        labels = labels.split(batch_size)
    pairs = zip(images, itertools.repeat(None)) if labels is None else _paired(images, labels)
    size = None
    for image_batch, label_batch in pairs:
        _check_images(image_batch)
        size = size or image_batch.shape[2:]
        if image_batch.shape[2:] != size:
            raise InputError(
                f"images of {tuple(size)} and of {tuple(image_batch.shape[2:])} px: "
                "bring all to one size"
            )
        yield image_batch, label_batch


def _check_images(batch: Any) -> None:
    if not isinstance(batch, Tensor):
        raise InputError(
            f"a batch of images is a {type(batch).__name__}: give tensors (N, C, H, W), "
            "and labels apart from them"
        )
    if batch.ndim != 4 or not batch.is_floating_point() or not all(batch.shape):
        raise InputError(
            f"a batch of images is {batch.dtype} of shape {tuple(batch.shape)}: "
            "give normalised floating-point images (N, C, H, W)"
        )


def _paired(images: Iterable[Tensor], labels: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    for image_batch, label_batch in itertools.zip_longest(images, labels, fillvalue=torch.empty(0)):
        if len(image_batch) != len(label_batch):
            raise InputError(
                f"a batch of {len(image_batch)} images has {len(label_batch)} labels: give one each"
            )
        if (
            not isinstance(label_batch, Tensor)
            or label_batch.ndim != 1
            or label_batch.dtype not in _INTEGERS
        ):
            raise InputError("labels are no class numbers: give integers (N,), counted from 0")
        yield image_batch, label_batch


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
    batch_size: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> tuple[dict[int, dict[str, Erf]], dict[str, Target]]:
    """`accumulate` over every `shards`-th of `n_blocks` interleaved blocks of images, from `shard`.

    Blocks are numbered over all shards, and serve standard errors. There are no more of them than
    images. A finished one is kept in `scratch`, and not computed again after a kill. Returns also
    how each target was read.
    """
    measurement = Measurement(model, targets, logit, definition, dtype, device)
    first = next(iter(images.batches(2)))  # the same in every shard
    measurement.read(first)
    blocks: dict[int, dict[str, Erf]] = {}
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
                found = measurement.over(_batches(block.batches(batch_size), labels, batch_size))
            except NonFiniteGradientError as error:
                raise InputError(f"{block.path(error.index)}: {error}") from error
            parts = {
                f"{target}/{part}": value
                for target, field in found.items()
                for part, value in dataclasses.asdict(field).items()
            }
            scratch.save(f"block-{number}", parts)
        blocks[number] = found
    return blocks, measurement.targets


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
