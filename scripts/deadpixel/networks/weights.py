"""The weights that a network is looked at with: published, the user's own, or drawn."""

from pathlib import Path
from typing import Any

from torch import nn

from ..data import hub
from ..errors import InputError, in_one_line
from . import checkpoints, zoo

PUBLISHED, OWN, DRAWN = "published", "own", "drawn"
CACHE = Path("~/.cache/deadpixel")


def usual(source: str) -> str:
    """Those that a network of this source is meant with: an own file's factory may load its own."""
    return PUBLISHED if source.rpartition(":")[0] in zoo.LIBRARIES else OWN


def load(model: nn.Module, source: str, weights: str, cache: Path = CACHE) -> str:
    """Put `weights` into `model`, in place, and say in words which they are.

    weights: `PUBLISHED`, by torchvision or timm; `OWN`, as the network was built; `DRAWN`, as its
    seed drew them; or a file. Downloads are checked and kept. Raises `InputError`.
    """
    if weights == DRAWN:
        return "drawn at random"
    if weights == OWN:
        return "those that it was built with"
    if weights == PUBLISHED:
        return _published(model, source, cache)
    checkpoints.load(model, Path(weights))
    return f"those of {weights}"


def _published(model: nn.Module, source: str, cache: Path) -> str:
    library, _, name = source.rpartition(":")
    if library == "timm":
        said = getattr(model, "pretrained_cfg", None) or {}
        if not said.get("hf_hub_id"):
            raise InputError(f"timm has no weights of {name} on the Hub: take --weights drawn")
        address = hub.Address(said["hf_hub_id"], "main", "model.safetensors")
        file = _from_hub(address, cache.expanduser() / "hub" / address.repository)
        checkpoints.load(model, file)
        return f"timm's, {address}"
    known = zoo.torchvisions_weights(name) if library in zoo.LIBRARIES else None
    if known is None:
        raise InputError(f"nobody publishes weights of {source}: name a file, or own or drawn")
    try:
        state = known.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"torchvision's weights of {name} could not be retrieved ({in_one_line(error)}): check "
            "the connection, or name a file, or take --weights drawn"
        ) from error
    checkpoints.load_state(zoo.with_published_weights(model), state, known.url)
    return f"torchvision's {known.name}"


def _from_hub(address: hub.Address, folder: Path) -> Path:
    file = folder / address.revision / address.file
    file.parent.mkdir(parents=True, exist_ok=True)
    hub.retrieve(address, folder / "client", file, file.with_suffix(".json"))
    return file


def preprocess(model: nn.Module, source: str, weights: str) -> dict[str, Any]:
    """Arguments of `evaluation_transform` that the weights were evaluated with, as far as known."""
    library, _, name = source.rpartition(":")
    if library == "timm":
        return zoo.evaluation_by_timm(model)
    if library in zoo.LIBRARIES and weights == PUBLISHED:
        theirs = zoo.torchvisions_weights(name).transforms()
        (resize,), (crop,) = theirs.resize_size, theirs.crop_size
        sizes = {"resize": resize, "crop": crop, "interpolation": theirs.interpolation.value}
        return {**sizes, "mean": theirs.mean, "std": theirs.std}
    return {}
