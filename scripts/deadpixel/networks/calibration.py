"""Batch-norm statistics of an untrained network, measured on images."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import InputError
from ..logs import log
from .forward import forward, full_precision


def calibrate(model: nn.Module, batches: Iterable[Tensor], *, device: torch.device) -> None:
    """Set the batch-norm statistics of `model` to the averages over `batches`, in place.

    As `torch.optim.swa_utils.update_bn`, but with dropout and stochastic depth switched off, so
    that the result is the same every time. Raises `InputError` if the network fails, there are no
    images or the statistics are not finite; the log names what keeps the statistics it had.
    """
    norms = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }
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


def _calibration_pass(model: nn.Module, batch: Tensor) -> None:
    try:
        forward(model, batch)
    except InputError as error:
        advice = "; choose a calibration.images that leaves no last batch of one" * (len(batch) < 2)
        raise InputError(f"{error}{advice}") from error


def _check_statistics(model: nn.Module, norms: Mapping[str, _BatchNorm]) -> None:
    if not norms:
        log.warning("no batch norm has statistics to calibrate: the weights are those of the seed")
    for name, norm in norms.items():
        statistics = [norm.running_mean, norm.running_var]
        if not all(values is not None and values.isfinite().all() for values in statistics):
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
