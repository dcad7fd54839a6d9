"""Where a job computes. Never silently on the CPU."""

import torch

from .errors import InputError
from .logs import log


def resolve(name: str) -> torch.device:
    """Device for `name`, one of ``auto``, ``cuda`` and ``cpu``; says so if it is the CPU.

    Raises `InputError` if ``cuda`` is asked for and PyTorch sees none.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cuda" and not available:
        raise InputError("device: cuda is asked for, but PyTorch sees no GPU; use auto or cpu")
    if name == "cpu" or not available:
        log.warning("computing on the CPU (device: %s, GPUs seen: %d)", name, available)
        return torch.device("cpu")
    device = torch.device("cuda")
    log.info("computing on %s", torch.cuda.get_device_name(device))
    return device


def describe(device: torch.device) -> str:
    """Name of the device for a result's provenance."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
