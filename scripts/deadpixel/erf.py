"""Effective receptive fields: which pixels a feature or a logit really depends on.

For image n, F is the mean over channels of the target map at one place and G the mean over colours
of dF/dI; the field is the average over images of ReLU(G) (Kim et al. 2023, Eqs. 1 to 3, after Luo
et al., "Understanding the Effective Receptive Field", NeurIPS 2016). The ReLU acts on each image's
own gradient; in evaluation mode the images of a batch do not mix, so batches change nothing.
Others compute other things under that name: `DEFINITIONS`.
"""

import itertools
import numbers
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from .ahead import ahead
from .backward.way import Ties, WayBack
from .errors import InputError, in_one_line
from .features import features, image_gradient, in_evaluation, prepared
from .files.effective import Erf
from .logs import log
from .networks.forward import forward, full_precision, logits
from .reading import Move, check, completed, modules_of, named
from .targets import OUTPUT, Named

Logit = Literal["true", "predicted", "mean"]
Labels = Tensor | np.ndarray | Sequence[int] | Iterable[Tensor]
# Images that a device computes together: a CPU takes a fifth to a third longer for more.
_AT_ONCE = {"cpu": 8}
_NO_LABELS = "labels are no class numbers: give integers (N,), counted from 0"
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclass(frozen=True)
class Definition:
    """What an effective receptive field is the average of over images.

    value: F (N,) of a target's features (N, C); a logit is its own F. field: of the gradients of F
    (N, 3, H, W), what is averaged (N, H, W). signed: it may be negative. of_mean_colour: only the
    mean of a gradient over colours matters.
    """

    value: Callable[[Tensor], Tensor]
    field: Callable[[Tensor], Tensor]
    signed: bool = False
    of_mean_colour: bool = True


def _mean_feature(features: Tensor) -> Tensor:
    return features.mean(1)


# kim is the paper's. replknet is Ding et al., CVPR 2022 (erf/visualize_erf.py of RepLKNet-pytorch).
DEFINITIONS = {
    "kim": Definition(_mean_feature, lambda gradients: gradients.mean(1).relu()),
    "replknet": Definition(
        lambda features: features.relu().sum(1),
        lambda gradients: gradients.relu().sum(1),
        of_mean_colour=False,
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
    labels: Labels | None = None,
    logit: Logit | None = None,
    definition: str = "kim",
    ties: Ties = "shared",
    batch_size: int = 32,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> dict[str, Erf]:
    """Effective receptive fields of `targets`, one forward pass per batch shared by all.

    images: normalised (N, C, H, W), or an iterable of such batches, read once.
    targets: one or several names of modules that yield a map, or ``output``; or, by the names that
        their fields get, modules, `Target`s or mappings of a `Target`'s fields. What these leave
        open, such as the layout, is found and checked (`reading`).
    labels: true classes (N,), or an iterable of such batches, which are tensors.
    logit: which logit ``output`` means: ``true`` (the default with labels), ``predicted`` (the
        default without) or ``mean`` over all of them.
    definition: which of `DEFINITIONS`.
    ties: who gets the gradient of a max-pool where several values are the largest: all of them, or
        the first, as PyTorch has it (`backward.pooling`).
    dtype: of the computation; float64 is the reference. Sums are float64 always.

    `model` may be in any state and is left as it was. Raises `NonFiniteGradientError`, and
    `InputError` for images that are no such tensors, an unknown target, one that is called twice,
    cannot be read as a map or is read as the wrong one, labels that are missing or no classes of
    the head, and a network that fails or whose features of an image depend on anything but that
    image, as far as the first two tell; and for options that there are not.
    """
    logit = logit or ("predicted" if labels is None else "true")
    if logit == "true" and labels is None:
        raise InputError("logit 'true' needs the labels of the images; use 'predicted' or 'mean'")
    measurement = Measurement(model, targets, logit, definition, ties, dtype, device)
    return measurement.over(batched(images, labels, batch_size))


class Measurement:
    """What `accumulate` does, for any number of sets of images.

    targets: as they are read, complete once images were seen. moves: how the field of each moves
    with its place, as `reading.check` saw it in the first images. waited: seconds spent on waiting
    for images. at_once: the most images that are computed together, whatever the batches: so many
    that it is fast, and fewer once the memory was short.
    """

    def __init__(
        self,
        model: nn.Module,
        targets: Named,
        logit: Logit,
        definition: str,
        ties: Ties,
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
        if ties not in get_args(Ties):
            raise InputError(f"ties {ties!r} are none of {', '.join(get_args(Ties))}")
        self._model, self._dtype = model, dtype
        self._logit: Logit = logit
        self._ties: Ties = ties
        if definition not in DEFINITIONS:
            raise InputError(f"definition {definition!r} is none of {', '.join(DEFINITIONS)}")
        self._definition = DEFINITIONS[definition]
        self._device = _usable(device)
        self.waited = 0.0
        self.at_once = _AT_ONCE.get(self._device.type, sys.maxsize)
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
        sums: dict[str, _Sums] = {}
        pieces = itertools.chain.from_iterable(
            self._in_pieces(images, labels) for images, labels in self._arriving(batches)
        )
        for fields in pieces:
            for target, field in fields.items():
                sums[target] = sums[target] + field if target in sums else field
        if not sums:
            raise InputError("no images to accumulate an effective receptive field over")
        found = {target: summed.checked(target) for target, summed in sums.items()}
        for target, field in found.items():
            if not field.total.any():
                log.warning("no pixel of any image raises target %r: its field is zero", target)
        return found

    def _arriving(
        self, batches: Iterable[tuple[Tensor, Tensor | None]]
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """`batches`, of which the next is read while one is computed; notes the time of waiting."""
        if self._device.type == "cuda":
            batches = ((images.pin_memory(), labels) for images, labels in batches)
        arriving = ahead(batches)
        while True:
            start = time.monotonic()
            batch = next(arriving, None)
            self.waited += time.monotonic() - start
            if batch is None:
                return
            yield batch

    def _in_pieces(self, images: Tensor, labels: Tensor | None) -> Iterator[dict[str, "_Sums"]]:
        """Sums over the images of a batch, of those first that are computed together."""
        model = self.prepare(images[:2])
        done = 0
        while done < len(images):
            piece = slice(done, done + self.at_once)
            few = None if labels is None else labels[piece]
            try:
                found = self._sums(model, images[piece], few)
            except (InputError, torch.OutOfMemoryError) as error:
                tried = len(images[piece])
                if tried == 1 or not _is_lack_of_memory(error):
                    raise
                self.at_once = tried // 2
                log.warning(
                    "the memory is too small for %d images at once: going on with %d, "
                    "which changes nothing else",
                    tried,
                    self.at_once,
                )
                continue
            yield found
            done = piece.stop

    def _sums(self, model: nn.Module, images: Tensor, labels: Tensor | None) -> dict[str, "_Sums"]:
        sums = {}
        for target, values, gradients in self._gradients(model, images, labels):
            everything = gradients.sum((1, 2, 3), dtype=torch.float64) + values
            fields = self._definition.field(gradients).double()
            sums[target] = _Sums(fields.sum(0), fields.square().sum(0), (everything.isfinite(),))
        return sums

    def _gradients(
        self, model: nn.Module, images: Tensor, labels: Tensor | None
    ) -> Iterator[tuple[str, Tensor, Tensor]]:
        """F (N,) of Eq. 1 and its gradient (N, 3, H, W) for each image, of each target."""
        images = images.to(self._device, self._dtype, non_blocking=True).detach().requires_grad_()
        with WayBack(images, self._ties, mean_colour=self._definition.of_mean_colour):
            found = features(model, images, self.targets)
        for number, target in enumerate(found, start=1):
            if self.targets[target].module == OUTPUT:
                values = _chosen(found[target], labels, self._logit)
            else:
                values = self._definition.value(found[target])
            gradients = image_gradient(target, values, images, keep_graph=number < len(found))
            yield target, values.detach(), gradients


def _usable(device: torch.device | str) -> torch.device:
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InputError(
            f"device {str(device)!r} cannot be used ({in_one_line(error)}): use cpu, or one that "
            "is there"
        ) from error
    return found


def _is_lack_of_memory(error: BaseException) -> bool:
    """Whether it, or what the network failed of, is that."""
    return isinstance(error, torch.OutOfMemoryError) or isinstance(
        error.__cause__, torch.OutOfMemoryError
    )


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


@dataclass(frozen=True)
class _Sums:
    """Of fields of images, and of their squares, (H, W) on the device; finite: which images' are.

    Nothing waits for the device before all images of a block are under way.
    """

    total: Tensor
    squares: Tensor
    finite: tuple[Tensor, ...]

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(
            self.total + other.total, self.squares + other.squares, self.finite + other.finite
        )

    def checked(self, target: str) -> Erf:
        """Raises `NonFiniteGradientError` for the first image that is not finite."""
        finite = torch.cat(self.finite)
        if not finite.all():
            raise NonFiniteGradientError(target, int(finite.int().argmin()))
        return Erf(self.total.cpu().numpy(), self.squares.cpu().numpy(), len(finite))


def check_head(model: nn.Module, image: Tensor, n_classes: int, key: str) -> None:
    """Raise `InputError` naming `key` if an image (3, H, W) has not a logit for each class."""
    with torch.no_grad():
        found = logits(forward(model, image[None])).shape[1]
    if found != n_classes:
        raise InputError(
            f"{key}: true, but the head has {found} logits and the data set {n_classes} classes: "
            "use predicted or mean, or a network whose head was made for this data set"
        )


def batched(
    images: Tensor | Iterable[Tensor],
    labels: Labels | None,
    batch_size: int,
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Pairs of batches; raises `InputError` for those that are no images or no labels."""
    if not isinstance(batch_size, numbers.Integral) or batch_size < 1:
        raise InputError(f"batch_size {batch_size!r}: give a number of images, 1 or more")
    batch_size = int(batch_size)  # which PyTorch does not take of NumPy
    if isinstance(images, Tensor):
        images = torch.atleast_1d(images).split(batch_size)
    if not isinstance(images, Iterable):
        images = [images]  # which is told to be none
    pairs = (
        zip(images, itertools.repeat(None))
        if labels is None
        else _paired(images, _in_batches(labels, batch_size))
    )
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


def _in_batches(labels: Any, batch_size: int) -> Iterable[Tensor]:
    """Those of one tensor, array or list of numbers; others are batches as they are."""
    if not isinstance(labels, Iterable):
        raise InputError(_NO_LABELS)
    listed = isinstance(labels, Sequence) and all(isinstance(n, numbers.Integral) for n in labels)
    if listed or isinstance(labels, np.ndarray):
        try:
            labels = torch.as_tensor(labels)
        except (TypeError, ValueError) as error:
            raise InputError(_NO_LABELS) from error
    if isinstance(labels, Tensor):
        return torch.atleast_1d(labels).split(batch_size)
    return labels


def _paired(images: Iterable[Tensor], labels: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    for image_batch, label_batch in itertools.zip_longest(images, labels, fillvalue=torch.empty(0)):
        if not isinstance(image_batch, Tensor) or not image_batch.ndim:
            _check_images(image_batch)
        if not isinstance(label_batch, Tensor) or label_batch.ndim != 1:
            raise InputError(_NO_LABELS)
        if len(image_batch) != len(label_batch):
            raise InputError(
                f"a batch of {len(image_batch)} images has {len(label_batch)} labels: give one each"
            )
        if label_batch.dtype not in _INTEGERS:
            raise InputError(_NO_LABELS)
        yield image_batch, label_batch
