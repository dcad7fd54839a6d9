"""Networks of torchvision and timm by name, or from the user's own file; published accuracies."""

import contextlib
import difflib
import math
import random
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import uncompiled
from ..data import draws
from ..errors import InputError
from .own import from_file


def build(source: str, *, seed: int = 0) -> nn.Module:
    """A freshly initialised network in evaluation mode, the same for the same `seed`.

    `source` is ``torchvision:NAME`` or a torchvision classifier's name alone, such as ``resnet50``;
    ``timm:NAME``, such as ``timm:convnext_tiny.fb_in1k``; or ``file.py:factory``, where
    ``factory()`` returns an `nn.Module` that takes images (N, C, H, W). Raises `InputError`.
    """
    library, _, name = source.rpartition(":")
    with _undisturbed(seed), uncompiled.imports():
        model = LIBRARIES[library](name) if library in LIBRARIES else from_file(source)
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
            if (
                torch.are_deterministic_algorithms_enabled() != deterministic
                or torch.is_deterministic_algorithms_warn_only_enabled() != warned
            ):  # to set them imports PyTorch's whole compiler
                torch.use_deterministic_algorithms(deterministic, warn_only=warned)
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            if torch.get_default_device() != device:
                torch.set_default_device(device)


def structure(source: str) -> nn.Module:
    """As `build`, but of torchvision and timm without weights, which take long to draw.

    Parameters are shapes alone (PyTorch's meta tensors), unless the network computes with them
    while it is built; buffers have their values.
    """
    if source.rpartition(":")[0] in LIBRARIES:
        with contextlib.suppress(RuntimeError), _shapes_alone():
            return build(source)
    return build(source)


_register = nn.Module.register_parameter


@contextlib.contextmanager
def _shapes_alone() -> Iterator[None]:
    """Parameters lose their values as modules take them: PyTorch has no switch for these alone."""
    nn.Module.register_parameter = _register_shape
    try:
        yield
    finally:
        nn.Module.register_parameter = _register


def _register_shape(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
    if param is not None:
        param = nn.Parameter(param.detach().to("meta"), param.requires_grad)
    _register(self, name, param)


def _from_torchvision(name: str) -> nn.Module:
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise InputError(
            _unknown(name, known)
            + "ame one of torchvision's classifiers, or timm:NAME, or give your own as "
            "file.py:factory"
        )
    return torchvision.models.get_model(name, weights=None)


def _from_timm(name: str) -> nn.Module:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise InputError(
            f"timm:{name} needs timm: install it by pip install 'deadpixel[timm]'"
        ) from error
    architecture = name.partition(".")[0]  # what follows names weights
    known = timm.list_models() if architecture == name else timm.list_pretrained()
    if name not in known:
        raise InputError(_unknown(name, known) + "ame one of timm.list_pretrained()")
    return timm.create_model(name, pretrained=False)


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 3)
    return f"unknown model {name!r}: " + (f"did you mean {' or '.join(near)}? N" if near else "n")


LIBRARIES = {"": _from_torchvision, "torchvision": _from_torchvision, "timm": _from_timm}


def with_published_weights(model: nn.Module) -> nn.Module:
    """`model`, in place, as torchvision builds it for its own weights; returns it.

    Those of GoogLeNet and Inception v3 are TensorFlow's: the networks change the colours of their
    input (`transform_input`), which no state dict says.
    """
    if hasattr(model, "transform_input"):
        vars(model)["transform_input"] = True
    return model


def evaluation_by_timm(model: nn.Module) -> dict[str, Any]:
    """`timm_transform` of a network's weights; nothing if it is none of timm's."""
    said = getattr(model, "pretrained_cfg", None)
    return timm_transform(said) if said and "timm" in sys.modules else {}


def timm_transform(pretrained_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluation transform that timm has for weights.

    By the names of `data.evaluation.evaluation_transform`; and ``crop_mode`` where timm fills up
    what lies beyond the image, which that does not do.
    """
    with uncompiled.imports():
        from timm.data.config import resolve_data_config

    said = resolve_data_config(pretrained_cfg=dict(pretrained_cfg))
    crop = [*said["input_size"][1:]]
    resize = [math.floor(side / said["crop_pct"]) for side in crop]
    square, mode = crop[0] == crop[1], said["crop_mode"]
    found = {
        "resize": resize[0] if square and mode != "squash" else resize,
        "crop": crop[0] if square else crop,
        "interpolation": said["interpolation"],
        "mean": [*said["mean"]],
        "std": [*said["std"]],
    }
    return {**found, "crop_mode": mode} if mode == "border" else found


def torchvisions_weights(name: str) -> Any:
    """torchvision's entry of its V1 weights, which the paper's numbers are of, if there are."""
    with uncompiled.imports():
        import torchvision

    try:
        return torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    except (ValueError, KeyError):
        return None


def own_side(source: str, model: nn.Module) -> int | None:
    """Of the square images, px, that a network's weights are published for, if that is known."""
    library, _, name = source.rpartition(":")
    if library not in LIBRARIES:
        return None
    if library == "timm":
        crop = evaluation_by_timm(model).get("crop")
        return crop if isinstance(crop, int) else None
    weights = torchvisions_weights(name)
    return weights.transforms.keywords["crop_size"] if weights else None


def imagenet_accuracy(name: str) -> tuple[float, float] | None:
    """acc@1 and acc@5 in percent that torchvision publishes for its V1 weights, if there are."""
    weights = torchvisions_weights(name)
    if weights is None:
        return None
    metrics = weights.meta["_metrics"]["ImageNet-1K"]
    return metrics["acc@1"], metrics["acc@5"]
