"""Waits that end when nothing moves any more: how long a command takes depends on the machine."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

SECONDS = 180  # imports on a busy machine write nothing for long


def ended(process: subprocess.Popen, folder: Path, *logs: Path, still: float = SECONDS) -> int:
    """Exit status of `process`; raises `TimeoutExpired` if no file under `folder`, and none of
    `logs`, has changed for `still` seconds."""
    before, since = None, time.monotonic()
    while True:
        try:
            return process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            now = _state(folder, logs)
            if now != before:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > still:
                raise


def _state(folder: Path, logs: tuple[Path, ...]) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file."""
    found = [*logs]
    for place, _, names in os.walk(folder):
        found += [Path(place, name) for name in names]
    state = {}
    for file in found:
        with contextlib.suppress(FileNotFoundError):  # one has just been renamed
            status = file.lstat()
            state[str(file)] = (status.st_size, status.st_mtime_ns)
    return state
