"""Where a job computes: on a GPU of its own, and never silently on the CPU."""

import contextlib
import getpass
import itertools
import math
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from ..errors import InputError
from ..logs import log

_SECONDS_BETWEEN_TRIES = 0.1
_SECONDS_BETWEEN_LINES = 60.0
_held: list[FileLock] = []  # as long as the process lives; the kernel frees them even on kill -9


def resolve(name: str, *, jobs_per_device: int = 1) -> torch.device:
    """Device for `name`, one of ``auto``, ``cuda`` and ``cpu``; says so if it is the CPU.

    A GPU is leased: it is this process's until it ends, shared with at most `jobs_per_device` - 1
    others of this user. If none is free, this waits and says so. Raises `InputError` if ``cuda`` is
    asked for and PyTorch sees no GPU. Without GPUs, ids in DEADPIXEL_DEVICES ("a,b") stand for
    them: they are leased in the same way, and the CPU computes.
    """
    if pretended := os.environ.get("DEADPIXEL_DEVICES"):
        ids = pretended.split(",")
        log.warning("leased %s; computing on the CPU", ids[lease(ids, jobs_per_device)])
        return torch.device("cpu")
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cuda" and not available:
        raise InputError("device: cuda is asked for, but PyTorch sees no GPU; use auto or cpu")
    if name == "cpu" or not available:
        log.warning("computing on the CPU (device: %s, GPUs seen: %d)", name, available)
        return torch.device("cpu")
    device = torch.device("cuda", lease(visible_ids(available), jobs_per_device))
    torch.cuda.set_device(device)
    log.info("computing on %s (%s)", describe(device), device)
    return device


def describe(device: torch.device) -> str:
    """Name of the device for a result's provenance."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def visible_ids(count: int) -> list[str]:
    """What the `count` GPUs that PyTorch sees are called outside of this process.

    Inside a SLURM job the names are the job's own: it has devices to itself already, and clusters
    that confine them call the first one 0 in every job.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    ids = visible.split(",")[:count] if visible else [str(number) for number in range(count)]
    job = os.environ.get("SLURM_JOB_ID")
    return [f"{job}-{device}" for device in ids] if job else ids


def lease(ids: Sequence[str], jobs_per_device: int = 1) -> int:
    """Index of a device in `ids` that no other process of this user holds; waits for one.

    Devices are filled evenly: a second job comes to one only when all others have a first.
    """
    start = time.monotonic()
    last_line = -math.inf
    while True:
        for slot, (index, device) in itertools.product(range(jobs_per_device), enumerate(ids)):
            lock = FileLock(_lock_of(device, slot))
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            _held.append(lock)
            return index
        if time.monotonic() - last_line > _SECONDS_BETWEEN_LINES:
            last_line = time.monotonic()
            log.info("waiting for one of %s, for %.0f s so far", ", ".join(ids), last_line - start)
        time.sleep(_SECONDS_BETWEEN_TRIES)


def leased(ids: Sequence[str]) -> list[str]:
    """Those of the devices `ids` that processes of this user hold at this moment."""
    return [device for device in ids if any(map(_is_held, _locks_of(device)))]


def _locks_of(device: str) -> Iterator[Path]:
    """Slots that were ever leased: the next one only when those before it were taken."""
    slots = (_lock_of(device, slot) for slot in itertools.count())
    return itertools.takewhile(Path.exists, slots)


def _is_held(lock: Path) -> bool:
    try:
        with FileLock(lock).acquire(blocking=False):
            return False
    except Timeout:
        return True


def _lock_of(device: str, slot: int) -> Path:
    folder = Path(tempfile.gettempdir(), f"deadpixel-{getpass.getuser()}")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    owner = folder.lstat()
    if not stat.S_ISDIR(owner.st_mode) or owner.st_uid != os.getuid():
        raise InputError(
            f"{folder} is a link or another user's: remove it, or set TMPDIR to one of your own"
        )
    return folder / f"device-{device}-{slot}.lock"
