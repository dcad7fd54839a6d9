"""Networks by torchvision name or from the user's own file, and their checkpoints."""

import contextlib
import copy
import difflib
import random
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from . import draws
from .checkpoints import check_names, check_values, read_state, write_state
from .errors import InputError, in_one_line
from .forward import forward, full_precision, logits
from .logs import log
from .own_networks import from_file


def build(source: str, *, seed: int = 0) -> nn.Module:
    """A freshly initialised network in evaluation mode, the same for the same `seed`.

    `source` is a torchvision classifier's name, such as ``resnet50``, or ``file.py:factory``, where
    ``factory()`` returns an `nn.Module` that takes images (N, 3, H, W). Raises `InputError`.
    """
    with _undisturbed(seed):
        model = from_file(source) if ":" in source else _from_torchvision(source)
    return model.eval()


@contextlib.contextmanager
def _undisturbed(seed: int) -> Iterator[None]:
    """Draw by `seed`; whatever a network's code draws or sets for all of PyTorch is put back."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  others may use it
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    gradients, device = torch.is_grad_enabled(), torch.get_default_device()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    with draws.initialising(seed, draws.Purpose.NETWORK), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # GoogLeNet's change of default
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(gradients)
            torch.use_deterministic_algorithms(deterministic, warn_only=warned)
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            if torch.get_default_device() != device:
                torch.set_default_device(device)


def _from_torchvision(name: str) -> nn.Module:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = difflib.get_close_matches(name, known, 3)
        raise InputError(
            f"unknown model {name!r}: "
            + (f"did you mean {' or '.join(near)}? N" if near else "n")
            + "ame one of torchvision's classifiers, or give your own as file.py:factory"
        )
    return torchvision.models.get_model(name, weights=None)


def imagenet_accuracy(name: str) -> tuple[float, float] | None:
    """acc@1 and acc@5 in percent that torchvision publishes for its V1 weights, if there are."""
    try:
        weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    except (ValueError, KeyError):
        return None
    metrics = weights.meta["_metrics"]["ImageNet-1K"]
    return metrics["acc@1"], metrics["acc@5"]


def calibrate(model: nn.Module, batches: Iterable[Tensor], *, device: torch.device) -> None:
    """Set the batch-norm statistics of `model` to the averages over `batches`, in place.

    As `torch.optim.swa_utils.update_bn`, but with dropout and stochastic depth switched off, so
    that the result is the same every time. Raises `InputError` if the network fails, there are no
    images or the statistics are not finite; the log names what keeps the statistics it had.
    """
    norms = {name: m for name, m in model.named_modules() if _is_calibrated(m)}
    momenta = [norm.momentum for norm in norms.values()]
    model.to(device).eval()
    seen = 0
    try:
        for norm in norms.values():
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over batches
            norm.train()
        with torch.no_grad(), full_precision():
            for batch in batches if norms else ():
                _calibration_pass(model, batch.to(device))
                seen += len(batch)
    finally:
        for norm, momentum in zip(norms.values(), momenta, strict=True):
            norm.momentum = momentum
        model.cpu().eval()
    if norms and not seen:
        raise InputError("there are no images to calibrate batch norms on: let there be some")
    _check_statistics(model, norms)


def _is_calibrated(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None


def _calibration_pass(model: nn.Module, batch: Tensor) -> None:
    try:
        forward(model, batch)
    except InputError as error:
        advice = "; choose a calibration.images that leaves no last batch of one" * (len(batch) < 2)
        raise InputError(f"{error}{advice}") from error


def _check_statistics(model: nn.Module, norms: Mapping[str, nn.Module]) -> None:
    if not norms:
        log.warning("no batch norm has statistics to calibrate: the weights are those of the seed")
    for name, norm in norms.items():
        if not (norm.running_mean.isfinite().all() and norm.running_var.isfinite().all()):
            raise InputError(
                f"batch norm {name} gets values that are infinite or NaN from the calibration "
                "images: let the layers before it start from smaller weights"
            )
    reached = {name for name, norm in norms.items() if norm.num_batches_tracked}
    kept = [
        name
        for name, module in model.named_modules()
        if getattr(module, "running_mean", None) is not None and name not in reached
    ]
    if kept:
        log.warning("not calibrated, as they are frozen or not called: %s", ", ".join(kept))


def replace_head(model: nn.Module, n_classes: int, *, seed: int, side: int = 224) -> nn.Module:
    """Give `model`, in place, a new last layer for `n_classes`, initialised by `seed`; returns it.

    The last layer is the linear layer or convolution that is called last in a forward pass of an
    image of `side` x `side` px, so none of an auxiliary head. Raises `InputError` if there is none
    or if the network does not put out `n_classes` logits with the new one: it is then no head.
    """
    name = _last_layer(model, side)
    old = model.get_submodule(name)
    width = "out_features" if isinstance(old, nn.Linear) else "out_channels"
    if old._parameters.get("weight") is None:
        raise InputError(f"the head {name} computes its weights: make it an ordinary layer")
    head = copy.deepcopy(old)
    setattr(head, width, n_classes)
    head.weight = nn.Parameter(old.weight.new_empty(n_classes, *old.weight.shape[1:]))
    if old.bias is not None:
        head.bias = nn.Parameter(old.bias.new_empty(n_classes))
    with draws.initialising(seed, draws.Purpose.HEAD):
        head.reset_parameters()
    model.set_submodule(name, head)
    _check_head(model, name, n_classes, side)
    return model


def _check_head(model: nn.Module, name: str, n_classes: int, side: int) -> None:
    try:
        found = logits(_evaluated(model, side)).shape[1]
        problem = f"there are {found} logits" if found != n_classes else ""
    except InputError as error:
        problem = str(error)
    if problem:
        raise InputError(
            f"{name}, the last layer that is called, is not the head: made for {n_classes} "
            f"classes, {problem}; let the network end in the layer that puts out its logits"
        )


def _last_layer(model: nn.Module, side: int) -> str:
    called: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
    ]
    try:
        _evaluated(model, side)
    finally:
        for hook in hooks:
            hook.remove()
    if not called:
        raise InputError("the network calls no linear layer whose classes could be replaced")
    return called[-1]


@torch.no_grad()
def _evaluated(model: nn.Module, side: int) -> Any:
    """What `model` puts out for a black image in evaluation mode; it is left in its own modes."""
    modes = {module: module.training for module in model.modules()}
    try:
        return forward(model.eval(), torch.zeros(1, 3, side, side))
    finally:
        for module, mode in modes.items():
            module.training = mode


def save_checkpoint(model: nn.Module, path: Path | str, facts: Mapping[str, Any]) -> None:
    """Write the state of `model` as safetensors, atomically, with its provenance and checksum."""
    state = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
    write_state(Path(path), state, facts)


def load_checkpoint(model: nn.Module, path: Path | str) -> nn.Module:
    """Load a safetensors checkpoint, or a PyTorch one without pickle, into `model`; returns it.

    Raises `InputError` that says what differs if it is a checkpoint of another architecture.
    """
    return load_state(model, read_state(Path(path)), path)


def load_state(model: nn.Module, state: Mapping[str, Tensor], origin: Path | str) -> nn.Module:
    """Put `state` into `model`, which is as it was initialised; returns it.

    Raises `InputError` naming `origin` if they do not match or the values are no network's; `model`
    is then as it was.
    """
    own = model.state_dict()
    check_names(origin, state, own)
    check_values(origin, state, own)
    try:
        # shapes and names are those of this version of the network, whichever saved them
        versioned = OrderedDict(state)
        versioned._metadata = own._metadata
        model.load_state_dict(versioned, strict=False)
    except Exception as error:  # networks may have their own ways of loading
        raise InputError(
            f"checkpoint {origin} cannot be loaded ({in_one_line(error)}): save it with the "
            "version of the network that loads it"
        ) from error
    return model
