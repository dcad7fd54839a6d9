"""Networks by torchvision name or from the user's own file, and their checkpoints."""

import copy
import importlib.util
import json
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from . import draws, store
from .errors import InputError


def build(source: str, *, seed: int = 0) -> nn.Module:
    """A freshly initialised network in evaluation mode, the same for the same `seed`.

    `source` is a torchvision classifier's name, such as ``resnet50``, or ``file.py:factory``, where
    ``factory()`` returns an `nn.Module` that takes images (N, 3, H, W). Raises `InputError`.
    """
    with draws.initialising(seed, draws.Purpose.NETWORK), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # GoogLeNet's change of default
        model = _from_file(source) if ":" in source else _from_torchvision(source)
    return model.eval()


def _from_torchvision(name: str) -> nn.Module:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise InputError(
            f"unknown model {name!r}: name one of torchvision's classifiers ({', '.join(known)}) "
            "or give your own as file.py:factory"
        )
    return torchvision.models.get_model(name, weights=None)


def _from_file(source: str) -> nn.Module:
    file, _, factory = source.rpartition(":")
    module = _import(Path(file))
    if not callable(getattr(module, factory, None)):
        raise InputError(f"model {source!r}: {file} defines no function {factory!r}")
    model = getattr(module, factory)()
    if not isinstance(model, nn.Module):
        raise InputError(f"model {source!r}: {factory}() returned {type(model)}, no nn.Module")
    return model


def _import(file: Path) -> ModuleType:
    if file.suffix != ".py" or not file.is_file():
        raise InputError(f"model file {file} is missing or no .py file")
    spec = importlib.util.spec_from_file_location(f"deadpixel_model_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickling look a module up by its name
    spec.loader.exec_module(module)
    return module


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
    that the result is the same every time.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.to(device).eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over batches
        norm.train()
    with torch.no_grad():
        for batch in batches:
            model(batch.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.cpu().eval()


def replace_head(model: nn.Module, n_classes: int, *, seed: int) -> nn.Module:
    """Give `model`, in place, a new last layer for `n_classes`, initialised by `seed`; returns it.

    The last layer is the last `nn.Linear` in the order of the modules, or the last `nn.Conv2d` of a
    network without any (SqueezeNet). Raises `InputError` if there is neither.
    """
    for kind in (nn.Linear, nn.Conv2d):
        named = [(name, m) for name, m in model.named_modules() if type(m) is kind]
        if named:
            break
    else:
        raise InputError("the network has no linear layer whose classes could be replaced")
    name, old = named[-1]
    width = "out_features" if kind is nn.Linear else "out_channels"
    head = copy.deepcopy(old)
    setattr(head, width, n_classes)
    head.weight = nn.Parameter(old.weight.new_empty(n_classes, *old.weight.shape[1:]))
    if old.bias is not None:
        head.bias = nn.Parameter(old.bias.new_empty(n_classes))
    with draws.initialising(seed, draws.Purpose.HEAD):
        head.reset_parameters()
    model.set_submodule(name, head)
    return model


def save_checkpoint(model: nn.Module, path: Path | str, facts: Mapping[str, Any]) -> None:
    """Write the state of `model` as safetensors, atomically and with its provenance."""
    state = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
    with store.atomic(path) as partial:
        # save_file reports a full disk as an error of its own, without its number
        partial.write_bytes(save(state, {store.METADATA_KEY.decode(): json.dumps(facts)}))


def load_checkpoint(model: nn.Module, path: Path | str) -> nn.Module:
    """Load a safetensors checkpoint, or a PyTorch one without pickle, into `model`; returns it.

    Raises `InputError` that says what differs if it is a checkpoint of another architecture.
    """
    return load_state(model, read_state(Path(path)), path)


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a ``.safetensors`` file or from a file of `torch.save`."""
    if not path.is_file():
        raise InputError(f"checkpoint {path} is missing")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle, or one with code, raises anything
        reason = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
        raise InputError(
            f"checkpoint {path} cannot be read as a state dict ({reason}): "
            "save model.state_dict() alone"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise InputError(f"checkpoint {path} is no state dict: save model.state_dict() alone")
    return state


def load_state(model: nn.Module, state: Mapping[str, Tensor], origin: Path | str) -> nn.Module:
    """Put `state` into `model`; raises `InputError` naming `origin` if they do not match.

    Batch norm's counters may be missing: torchvision's older weights have none, nothing needs them.
    """
    own = model.state_dict()
    missing = sorted(
        name for name in own.keys() - state.keys() if not name.endswith("num_batches_tracked")
    )
    unexpected = sorted(state.keys() - own.keys())
    shapes = [
        f"{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if state[name].shape != own[name].shape
    ]
    if missing or unexpected or shapes:
        problems = [
            *(f"{name} is missing" for name in missing),
            *(f"{name} is unexpected" for name in unexpected),
            *sorted(shapes),
        ]
        raise InputError(
            f"checkpoint {origin} belongs to another architecture: {'; '.join(problems[:3])}"
            + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        )
    model.load_state_dict(state, strict=False)
    return model
