"""What a network says of images, batch by batch."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..networks.forward import forward, full_precision, logits


@torch.no_grad()
@full_precision()
def answers(model: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """Logits (N, classes) of batches (n, C, H, W), float64 on the CPU.

    `model` and batches are on one device, and batches stay as they are. Raises `InputError` if the
    network fails, puts out no logits, or some that are infinite or undefined.
    """
    found = [logits(forward(model, batch.clone())).cpu().double() for batch in batches]
    if not all(of_batch.isfinite().all() for of_batch in found):
        raise InputError("logits are not finite: check the network's weights and its code")
    return torch.cat(found)
