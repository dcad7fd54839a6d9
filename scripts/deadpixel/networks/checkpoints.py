"""Checkpoint files, and whether what they hold can be the weights of a network.

Files from elsewhere have no checksum of all that they hold: what can be damage is refused where
no trained network looks like it, and named in the log where one may. The workflow's own have one.
"""

import hashlib
import json
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as as_bytes
from torch import Tensor, nn

from ..errors import InputError, in_one_line
from ..files import atomic, parquet
from ..logs import log

_REAL = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
_CHECKSUM = "deadpixel_sha256"
_TRANSFORM_INPUT = "transform_input"  # of torchvision's GoogLeNet and Inception v3
_ALONE = "save model.state_dict() alone"
_AGAIN = "get the file again or save it again"


def write_state(path: Path, state: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors as safetensors, atomically, with their provenance and their checksum."""
    metadata = {parquet.METADATA_KEY.decode(): json.dumps(facts), _CHECKSUM: _digest(state)}
    with atomic.writing(path) as partial:
        # save_file reports a full disk as an error of its own, without its number
        partial.write_bytes(as_bytes(dict(state), metadata))


def read_facts(path: Path | str) -> dict[str, Any]:
    """The provenance that `write_state` has put into a file; nothing of files from elsewhere."""
    if not _is_safetensors(Path(path)):
        return {}
    with safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get(parquet.METADATA_KEY.decode(), "{}"))


def _digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f"{name} {state[name].dtype} {tuple(state[name].shape)}".encode())
        digest.update(state[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a safetensors file or one of `torch.save`, whatever its name ends with.

    Pickled code is not run. Raises `InputError` that names the file.
    """
    if not path.exists():
        raise InputError(f"checkpoint {path} is missing: name a file that is there")
    if not path.is_file():
        raise InputError(f"checkpoint {path} is a folder or a device, no file: name the file")
    try:
        state = _read(path)
    except InputError:
        raise
    except Exception as error:  # a damaged pickle, or one with code, raises anything
        reason = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
        raise InputError(
            f"checkpoint {path} cannot be read as a state dict ({reason}): {_ALONE}, or {_AGAIN}"
        ) from error
    if not isinstance(state, dict):
        raise InputError(
            f"checkpoint {path} holds a {type(state).__name__}, no state dict: {_ALONE}"
        )
    for name, value in state.items():
        if isinstance(value, Mapping) and any(isinstance(t, Tensor) for t in value.values()):
            raise InputError(
                f"checkpoint {path} keeps its state dict under {name!r}, one of "
                f"{', '.join(map(repr, state))}: save that part alone"
            )
    for name, value in state.items():
        _check_entry(path, name, value)
    return state


def _read(path: Path) -> Any:
    with path.open("rb") as file:
        start = file.read(2)
    if not start:
        raise InputError(f"checkpoint {path} is empty, 0 bytes: {_AGAIN}")
    if _is_safetensors(path):
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            checksum = (file.metadata() or {}).get(_CHECKSUM)
        if checksum not in (None, _digest(state)):
            raise InputError(
                f"checkpoint {path} is damaged: it has another checksum than it was saved with; "
                f"delete it and run again, or {_AGAIN}"
            )
        return state
    if start.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:  # PyTorch does not look at its checksums
            damaged = archive.testzip()
        if damaged:
            raise InputError(
                f"checkpoint {path} is damaged: {damaged} has another checksum than it was saved "
                f"with; {_AGAIN}"
            )
    with path.open("rb") as file:
        return torch.load(file, map_location="cpu", weights_only=True)


def _check_entry(path: Path, name: object, value: object) -> None:
    """Raises `InputError` unless this is a name and an ordinary tensor."""
    if not isinstance(name, str):
        raise InputError(f"checkpoint {path} is no state dict, {name!r} is no name: {_ALONE}")
    if not isinstance(value, Tensor):
        raise InputError(
            f"checkpoint {path} is no state dict, {name} is a {type(value).__name__}: {_ALONE}"
        )
    if value.is_meta or value.layout is not torch.strided or value.is_quantized:
        kind = "has no values" if value.is_meta else "is quantised or sparse"
        raise InputError(f"checkpoint {path}: {name} {kind}; save an ordinary, dense tensor")


def check_names(path: Path | str, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raises `InputError` unless `state` has the tensors of `own`, and these shapes.

    Batch norm's counters may be missing: torchvision's older weights have none, nothing needs them.
    So may a second name of a tensor: safetensors saves it under one.
    """
    needed = {name for name in own if not name.endswith("num_batches_tracked")}
    twins = _twins(own)
    missing = sorted(
        name
        for name in needed - state.keys()
        if not any(twin in state for twin in twins.get(name, ()))
    )
    if missing and (prefix := _prefix(state, needed)):
        raise InputError(
            f"checkpoint {path} has {prefix!r} in front of every name, as wrappers of a network "
            f"put it: save {{name.removeprefix({prefix!r}): tensor, ...}}"
        )
    unexpected = sorted(state.keys() - own.keys())
    shapes = [
        f"{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if state[name].shape != own[name].shape
    ]
    problems = [
        *(f"{name} is missing" for name in missing),
        *(f"{name} is unexpected" for name in unexpected),
        *sorted(shapes),
    ]
    if problems:
        raise InputError(
            f"checkpoint {path} belongs to another architecture: {'; '.join(problems[:3])}"
            + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
            + ": name the checkpoint of this network, or the network that it is of"
        )
    for name, others in twins.items():
        for other in others:
            if {name, other} <= state.keys() and not torch.equal(state[name], state[other]):
                raise InputError(
                    f"checkpoint {path}: {name} and {other} are one tensor in the network and two "
                    f"in the file; {_AGAIN}"
                )


def _prefix(state: Mapping[str, Tensor], needed: Iterable[str]) -> str:
    """What stands in front of every name of `needed` in `state`, if anything does."""
    first = next(iter(sorted(needed)), "")
    found = {name.removesuffix(first) for name in state if first and name.endswith("." + first)}
    return next((p for p in sorted(found) if all(p + name in state for name in needed)), "")


def _twins(own: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """The other names of each tensor that has several."""
    by_memory: dict[tuple, list[str]] = {}
    for name, tensor in own.items():
        if tensor.numel() and not tensor.is_meta:
            memory = tensor.data_ptr(), tensor.shape, tensor.stride()
            by_memory.setdefault(memory, []).append(name)
    return {
        name: [other for other in names if other != name]
        for names in by_memory.values()
        for name in names
        if len(names) > 1
    }


def check_values(path: Path | str, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raises `InputError` for what no network's weights are; logs what may be meant.

    `own` is the state of the network as it was initialised: what is zero or infinite there too (a
    new head, a mask of attention) is meant.
    """
    converted, zero, cut = set(), [], []
    for name, value in state.items():
        here = own[name]
        if value.dtype != here.dtype:
            if not {value.dtype, here.dtype} <= _REAL:
                raise InputError(
                    f"checkpoint {path}: {name} is {_short(value)}, in the network "
                    f"{_short(here)}; save it as that"
                )
            converted.add(f"{_short(value)} to {_short(here)}")
        _check_numbers(path, name, value.to(here.dtype), here)
        if not here.any():
            continue
        if value.any():
            if lost := _zeros_at_the_end(value, here):
                cut.append(f"at the end of {name} (the last {lost} of {value.numel()} values)")
        elif value.ndim > 1 or name.endswith("running_var"):
            raise InputError(
                f"checkpoint {path}: all of {name} is zero, as in a file that was cut short and "
                f"filled up; {_AGAIN}"
            )
        elif value.is_floating_point() and name.endswith("weight"):
            zero.append(f"all over {name}")
    if converted:
        log.warning("checkpoint %s is converted from %s", path, ", ".join(sorted(converted)))
    if found := zero + cut:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        named = ", ".join(found[:3]) + more
        log.warning("checkpoint %s has zeros %s: if not meant, %s", path, named, _AGAIN)


def _check_numbers(path: Path | str, name: str, value: Tensor, here: Tensor) -> None:
    if not value.isfinite().all() and not torch.equal(value, here):
        kind = "NaN" if value.isnan().any() else "infinite"
        raise InputError(f"checkpoint {path}: {name} has values that are {kind}; {_AGAIN}")
    if name.endswith("running_var") and (value < 0).any():
        raise InputError(f"checkpoint {path}: {name} has negative variances; {_AGAIN}")


def _zeros_at_the_end(value: Tensor, here: Tensor) -> int:
    """How many values, up to the last one, are zero though the network starts with others.

    None where they are one channel, which training may leave dead.
    """
    if not value.is_floating_point() or not value.ndim:
        return 0
    lost = int((value != 0).flatten().flip(0).int().argmax())
    is_more = lost > value[0].numel()
    return lost if is_more and here.flatten()[value.numel() - lost :].any() else 0


def _short(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def save(model: nn.Module, path: Path | str, facts: Mapping[str, Any]) -> None:
    """Write the state of `model` as safetensors, atomically, with its provenance and checksum.

    So is whether it changes the colours of its input, which follows the weights it started from.
    """
    if hasattr(model, _TRANSFORM_INPUT):
        facts = {**facts, _TRANSFORM_INPUT: getattr(model, _TRANSFORM_INPUT)}
    state = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
    write_state(Path(path), state, facts)


def load(model: nn.Module, path: Path | str) -> nn.Module:
    """Load a safetensors checkpoint, or a PyTorch one without pickle, into `model`; returns it.

    Raises `InputError` that says what differs if it is a checkpoint of another architecture.
    """
    load_state(model, read_state(Path(path)), path)
    facts = read_facts(path)
    if _TRANSFORM_INPUT in facts:
        setattr(model, _TRANSFORM_INPUT, facts[_TRANSFORM_INPUT])
    return model


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"  # after the length of the header, the header


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
        vars(versioned)["_metadata"] = vars(own)["_metadata"]
        model.load_state_dict(versioned, strict=False)
    except Exception as error:  # networks may have their own ways of loading
        raise InputError(
            f"checkpoint {origin} cannot be loaded ({in_one_line(error)}): save it with the "
            "version of the network that loads it"
        ) from error
    return model
