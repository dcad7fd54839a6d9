"""What one forward pass of a network takes: arithmetic, parameters, activations."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..networks.forward import forward
from ..surgery.windows import evaluating


@torch.no_grad()
def forward_costs(model: nn.Module, size: Sequence[int], *, channels: int = 3) -> dict[str, Any]:
    """Of one image of `size`, its height and width in px, in evaluation mode, for `costs.Network`.

    flops: floating-point operations of convolutions and matrix products, an addition and a
    multiplication counted as two. parameters: their number. activations: numbers that the modules
    without children put out; training keeps them until the way back. Raises `InputError` if the
    network fails on an image of that size.
    """
    outputs: list[int] = []

    def count(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            outputs.append(output.numel())

    leaves = [module for module in model.modules() if not [*module.children()]]
    # before a blur takes its stride: training keeps the larger map
    hooks = [module.register_forward_hook(count, prepend=True) for module in leaves]
    try:
        with evaluating(model), FlopCounterMode(display=False) as counter:
            forward(model, torch.zeros(1, channels, *size))
    finally:
        for hook in hooks:
            hook.remove()
    return {
        "size": list(size),
        "flops": counter.get_total_flops(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "activations": sum(outputs),
    }
