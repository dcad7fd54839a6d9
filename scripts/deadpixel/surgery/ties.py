"""Kernels that several modules share: all of them change in the same way, or none."""

from collections import defaultdict
from collections.abc import Mapping

from torch import nn

from .changes import Change, kernels


def broken(model: nn.Module, changes: Mapping[str, Change]) -> dict[str, str]:
    """Why some of the `changes`, by name of the module, would untie kernels, in words."""
    owners = _owners(model)
    reasons: dict[str, str] = {}
    gains = {name: change.hook.gains for name, change in changes.items()}
    while True:
        found = {
            name: f"it shares its kernel with {other}, which cannot change in the same way"
            for name in gains
            for _, _, kernel in kernels(model.get_submodule(name))
            for other in owners[kernel]
            if gains.get(other) != gains[name]
        }
        if not found:
            return reasons
        reasons |= found
        gains = {name: gain for name, gain in gains.items() if name not in found}


def _owners(model: nn.Module) -> dict[nn.Parameter, list[str]]:
    """Names of the modules that hold each parameter; a parametrised one counts as its module's."""
    owners: dict[nn.Parameter, list[str]] = defaultdict(list)
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners[parameter].append(f".{name}".partition(".parametrizations")[0][1:])
    return owners
