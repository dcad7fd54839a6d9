"""All checks by name: those of any machine, then those of a device that computes."""

import functools
from collections.abc import Callable, Iterable, Iterator

from . import machine, packages, surroundings
from .findings import Finding, Place, made_by

CHECKS: dict[str, Callable[[Place], Iterable[Finding]]] = {
    "system": machine.system,
    "PyTorch": packages.pytorch,
    "torchvision": packages.torchvision,
    "workflow": packages.workflow,
    "versions": packages.versions,
    "GPUs": machine.gpus,
    "disk": machine.disk,
    "writing": machine.writing,
    "locks": machine.locks,
    "SLURM": surroundings.slurm,
    "addresses": surroundings.addresses,
}


def examine(place: Place, device: str) -> Iterator[Finding]:
    """What every check finds; `device`, one of auto, cuda and cpu, is tried if it is to be had.

    With ``auto`` that is a GPU or nothing: that a CPU computes right is what the tests show.
    """
    for name, check in CHECKS.items():
        yield from made_by(name, functools.partial(check, place))
    yield from made_by("self-test", functools.partial(_tried, device))


def _tried(name: str) -> Iterator[Finding]:
    import torch

    from ..operations import devices

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto" and not count:
        yield Finding("not checked", "no GPU; --device cpu tries the CPU")
        return
    ids = devices.visible_ids(count)
    if name != "cpu" and count and len(devices.leased(ids)) == count:
        yield Finding("not checked", "your jobs have leased all GPUs", "run it again after them")
        return
    from . import gpu

    device = devices.resolve(name)
    for title, check in gpu.CHECKS.items():
        yield from made_by(f"{title} on {device}", functools.partial(check, device))
