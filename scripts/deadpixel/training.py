"""One training loop for fine-tuning and the micro-object task: a row per epoch, interruptible.

Learning rate, order of images and every other draw are functions of the seed and the epoch, so that
a run that was interrupted goes on as if it had not been. Training computes in the precision of its
recipe, evaluation always in float32.
"""

import contextlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from . import features, kernels, uncompiled
from .data.draws import Purpose, generator, torch_seed
from .errors import InputError, Stopped, in_the_users_code
from .files.resume import Scratch
from .logs import log, progress
from .networks import heads
from .networks.forward import forward, full_precision, tf32_products
from .networks.forward import logits as logits_of
from .surgery.selection import Selection

TERMINATED = 75  # exit status after SIGTERM: sysexits' "try again"
_SAVED = "training"
Batches = Iterable[tuple[Tensor, Tensor]]
Row = dict[str, Any]
Rows = Sequence[Row]
Precision = Literal["float32", "tf32", "bfloat16"]


@dataclass(frozen=True)
class Recipe:
    """Stochastic gradient descent with momentum and a cosine schedule over `epochs`.

    precision: of convolutions and other products of matrices; see `computed_in`.
    """

    epochs: int
    learning_rate: float
    momentum: float
    weight_decay: float
    seed: int
    precision: Precision = "float32"


def starting_network(
    network: nn.Module,
    n_classes: int,
    kind: str,
    surgeries: Mapping[str, Selection] | None = None,
    *,
    init: kernels.Init,
    seed: int,
    input_size: Sequence[int] = (224, 224),
    channels: int = 3,
) -> nn.Module:
    """Where a run starts: `network` with a new head for `n_classes`, then with `kind` of kernels.

    kind and surgeries are those of `kernels.apply`.

    `input_size` is that of the images, height and width in pixels; they have so many `channels`.

    Runs of one seed start from the same weights in everything but the kernels that are changed.
    Raises `InputError` as `heads.replace` and `kernels.apply` do.
    """
    heads.replace(network, n_classes, seed=seed, input_size=input_size, channels=channels)
    image = torch.zeros(1, channels, *input_size)
    return kernels.apply(network, kind, surgeries, init=init, seed=seed, image=image)


def computed_in(precision: Precision, device: torch.device) -> Precision:
    """What `precision` is on `device`: ``tf32`` is float32 unless it is a GPU that has TF32."""
    has_tf32 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return "float32" if precision == "tf32" and not has_tf32 else precision


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Cosine annealing (Loshchilov & Hutter 2017, Eq. 5), constant within an epoch from 0 on."""
    return recipe.learning_rate * (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2


def shuffled(n_images: int, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Indices of each batch of an epoch; a single image left over has no statistics and is left."""
    order = generator(seed, Purpose.ORDER, epoch).permutation(n_images)
    batches = np.split(order, range(batch_size, n_images, batch_size))
    return [batch for batch in batches if len(batch) > 1]


def epoch_batches(
    images: Callable[[int, np.ndarray], Tensor], labels: Tensor, batch_size: int, seed: int
) -> Callable[[int], Batches]:
    """The `train` of `fit`: images(epoch, indices) yields (N, 3, H, W); labels (n_images,)."""

    def train(epoch: int) -> Batches:
        for chosen in shuffled(len(labels), batch_size, seed, epoch):
            yield images(epoch, chosen), labels[torch.from_numpy(chosen)]

    return train


def never(_rows: Rows) -> bool:
    """The `is_done` of a run that trains every epoch."""
    return False


def fit(
    model: nn.Module,
    train: Callable[[int], Batches],
    evaluations: Mapping[str, Callable[[], Batches]],
    recipe: Recipe,
    scratch: Scratch,
    *,
    device: torch.device,
    is_done: Callable[[Rows], bool] = never,
    seconds_between_saves: float = 60,
) -> Iterator[Row]:
    """Train `model` in place, yielding epoch, lr, train_loss, train_acc, NAME_acc..., seconds.

    train: batches of an epoch (from 0), images (N, 3, H, W) and labels (N,) on `device`.
    evaluations: batches by name; after the last epoch the model has the weights of the best
    ``valid`` accuracy (the first of equals), or the last ones if there is no ``valid``.
    is_done: of the rows so far, whether to stop before the last epoch of the recipe.
    Epochs are counted from 1 in the rows, accuracies are shares of 1, seconds those of the epoch.
    Rows also have ``steps``, images and right answers of each step, and NAME_predicted, the class
    of each image.

    The state at the end of an epoch is kept in `scratch` every so many seconds, and on SIGTERM,
    which then ends the process with status 75. Raises `InputError` if the loss is not finite, or if
    an epoch has no batch.
    """
    model.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = uncompiled.SGD(
        model.parameters(), momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    rows, best = _resume(model, optimizer, scratch, recipe, [*evaluations])
    state = _state(model, optimizer, rows, best)
    saved = time.monotonic()
    yield from rows
    with _saved_on_sigterm(lambda: scratch.save(_SAVED, _arrays(state))) as sigterm_waits:
        left = range(len(rows), recipe.epochs)
        for epoch in progress(left, total=len(left), what="epochs"):
            if is_done(rows):
                break
            start = time.monotonic()
            row = {"epoch": epoch + 1, "lr": learning_rate(recipe, epoch)}
            row |= _train_epoch(model, optimizer, train(epoch), recipe, epoch)
            for name, batches in evaluations.items():
                predicted, true = predict(model, batches())
                row[f"{name}_acc"] = accuracy(predicted, true)
                row[f"{name}_predicted"] = predicted.tolist()
            row["seconds"] = time.monotonic() - start
            if "valid" in evaluations and row["valid_acc"] > max(
                (earlier["valid_acc"] for earlier in rows), default=-1
            ):
                best = _copy(model.state_dict())
            rows = [*rows, row]
            state = _state(model, optimizer, rows, best)
            if time.monotonic() - saved > seconds_between_saves:
                with sigterm_waits():
                    scratch.save(_SAVED, _arrays(state))
                saved = time.monotonic()
            yield row
    if best:
        model.load_state_dict(best)


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    recipe: Recipe,
    epoch: int,
) -> Row:
    """Mean loss, accuracy and steps of the epoch; the device is waited for once, at its end."""
    rate = learning_rate(recipe, epoch)
    for group in optimizer.param_groups:
        group["lr"] = rate
    torch.manual_seed(torch_seed(recipe.seed, Purpose.LAYERS, epoch))
    model.train()
    sizes: list[int] = []
    right: list[Tensor] = []
    device = next(model.parameters()).device
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    for images, labels in batches:
        with _multiplying_in(recipe.precision, device):
            with _autocast(recipe.precision, device):
                logits = logits_of(
                    forward(model, images.contiguous(memory_format=torch.channels_last))
                )
                loss = functional.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        sizes.append(len(labels))
        right.append((logits.argmax(1) == labels).sum())
        loss_sum += loss.detach().double() * len(labels)
    if not sizes:
        raise InputError("there are no two images to train with: give the train split more")
    mean_loss = float(loss_sum) / sum(sizes)
    if not math.isfinite(mean_loss):
        raise InputError(
            f"the loss is {mean_loss} in epoch {epoch + 1} at learning rate {rate:g}: "
            "lower the learning rate"
        )
    steps = [*zip(sizes, torch.stack(right).tolist(), strict=True)]
    share = sum(number for _, number in steps) / sum(sizes)
    return {"train_loss": mean_loss, "train_acc": share, "steps": [*map(list, steps)]}


@torch.no_grad()
def predict(model: nn.Module, batches: Batches) -> tuple[Tensor, Tensor]:
    """Predicted and true class of every image, (N,) each, in evaluation mode and in float32.

    Raises `InputError` if the network does not put out finite logits of every image, or if, as far
    as the first two tell, an image's depend on anything but that image.
    """
    with in_the_users_code("the network cannot be set to evaluation", ": fix its eval()"):
        model.eval()
    found = []
    for images, labels in batches:
        with full_precision(), _autocast("float32", images.device):
            if not found:
                features.check_independent(model, images[:2])
            logits = logits_of(forward(model, images))
        if len(logits) != len(images):
            raise InputError(
                f"the network puts out logits of {len(logits)} images and was given "
                f"{len(images)}: let its forward() return those of each"
            )
        found.append((logits.argmax(1), labels, logits.isfinite().all()))
    predicted, true, finite = zip(*found, strict=True)
    if not torch.stack(finite).all():
        raise InputError(
            "the network puts out logits that are not finite: check its weights and its code"
        )
    return torch.cat(predicted).cpu(), torch.cat(true).cpu()


def accuracy(predicted: Tensor, true: Tensor) -> float:
    """Share of images (N,) whose class is predicted."""
    return float((predicted == true).double().mean())


def _multiplying_in(
    precision: Precision, device: torch.device
) -> contextlib.AbstractContextManager[None]:
    """Products of float32 matrices, forward and backward, are those of `computed_in`."""
    return tf32_products(computed_in(precision, device) == "tf32")


def _autocast(precision: Precision, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def _state(
    model: nn.Module, optimizer: torch.optim.Optimizer, rows: Rows, best: dict[str, Tensor]
) -> dict[str, Any]:
    """What the end of an epoch leaves, in copies that the next one does not change."""
    momenta = {
        name: optimizer.state[parameter]["momentum_buffer"]
        for name, parameter in model.named_parameters()
        if optimizer.state[parameter].get("momentum_buffer") is not None
    }
    return {
        "model": _copy(model.state_dict()),
        "momentum": _copy(momenta),
        "best": best,
        "rows": rows,
    }


def _arrays(state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    arrays = {
        f"{part}/{name}": tensor.cpu().numpy()
        for part in ("model", "momentum", "best")
        for name, tensor in state[part].items()
    }
    run = {"rows": state["rows"], "momentum": [*state["momentum"]]}
    return {**arrays, "run": np.array(json.dumps(run))}


def _resume(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scratch: Scratch,
    recipe: Recipe,
    evaluations: Sequence[str],
) -> tuple[list[Row], dict[str, Tensor]]:
    """Put model and optimizer where a run was interrupted; its rows and best weights.

    What was saved is taken up as a whole or not at all.
    """
    arrays = scratch.load(_SAVED)
    if arrays is None:
        return [], {}
    try:
        rows, parts = _unpacked(arrays, model, recipe, evaluations)
    except (KeyError, TypeError, ValueError) as error:
        log.warning("starting from the first epoch: what was saved is not of this run (%s)", error)
        return [], {}
    model.load_state_dict(parts["model"])
    for name, parameter in model.named_parameters():
        if name in parts["momentum"]:
            buffer = torch.empty_like(parameter).copy_(parts["momentum"][name])
            optimizer.state[parameter]["momentum_buffer"] = buffer.detach()
    log.info("going on after epoch %d", len(rows))
    return rows, parts["best"]


def _unpacked(
    arrays: Mapping[str, np.ndarray],
    model: nn.Module,
    recipe: Recipe,
    evaluations: Sequence[str],
) -> tuple[list[Row], dict[str, dict[str, Tensor]]]:
    """Rows and tensors of `_arrays`; raises KeyError, TypeError or ValueError for any others."""
    run = json.loads(str(arrays["run"]))
    rows, with_momentum = run["rows"], run["momentum"]
    _check_rows(rows, recipe, evaluations)
    if rows and recipe.momentum and not with_momentum:
        raise ValueError("its momentum is missing")
    own, parameters = model.state_dict(), dict(model.named_parameters())
    expected = {
        "model": own,
        "momentum": {name: parameters[name] for name in with_momentum},
        "best": own if rows and "valid" in evaluations else {},
    }
    names = {f"{part}/{name}" for part, tensors in expected.items() for name in tensors}
    if different := names ^ (arrays.keys() - {"run"}):
        raise ValueError(f"{min(different)} is missing or of another run")
    return rows, {
        part: {name: _like(t, arrays, f"{part}/{name}") for name, t in tensors.items()}
        for part, tensors in expected.items()
    }


def _check_rows(rows: Rows, recipe: Recipe, evaluations: Sequence[str]) -> None:
    scores = [f"{name}_{what}" for name in evaluations for what in ("acc", "predicted")]
    columns = ["epoch", "lr", "train_loss", "train_acc", "steps", *scores, "seconds"]
    for epoch, row in enumerate(rows):
        known = row["epoch"] == epoch + 1 <= recipe.epochs
        known &= row["lr"] == learning_rate(recipe, epoch) and [*row] == columns
        if not (known and all(_is_known(value) for value in row.values())):
            raise ValueError(f"its epoch {epoch + 1} is not one of this recipe")


def _is_known(value: Any) -> bool:
    """A finite number, or whole numbers in lists."""
    if not isinstance(value, list):
        return math.isfinite(value)
    return np.asarray(value).dtype == np.int64  # which lists of unlike lengths have not


def _like(own: Tensor, arrays: Mapping[str, np.ndarray], name: str) -> Tensor:
    found = torch.from_numpy(arrays[name])
    if found.shape != own.shape or found.dtype != own.dtype or _lost(found, own):
        raise ValueError(f"{name} is {found.dtype} {tuple(found.shape)} or not finite")
    return found


def _lost(found: Tensor, own: Tensor) -> bool:
    """Whether a number is not finite that is so in the untrained network, unlike an open mask."""
    return not (found.isfinite() | (found == own.cpu())).all()


@contextlib.contextmanager
def _saved_on_sigterm(save: Callable[[], None]) -> Iterator[Callable[[], AbstractContextManager]]:
    """Yields a context in which SIGTERM waits.

    Only the main thread may handle signals; in another, SIGTERM does what it did before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield contextlib.nullcontext
        return

    def stop(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would save into the first
        save()
        log.warning("stopped by SIGTERM; run again to go on after the last finished epoch")
        raise Stopped(TERMINATED)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield _sigterm_waits
    finally:
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)


@contextlib.contextmanager
def _sigterm_waits() -> Iterator[None]:
    """The handler would write to the file that is being written.

    To mask the signal is not enough: another thread would get it, and the handler run here.
    """
    came: list[int] = []
    handler = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        if came:
            signal.raise_signal(signal.SIGTERM)
