"""Waits that end when nothing moves any more: how long a command takes depends on the machine."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SECONDS = 180  # imports on a busy machine write nothing for long


def ended(process: subprocess.Popen, folder: Path, *logs: Path, still: float = SECONDS) -> int:
    """Exit status of `process`; raises `TimeoutError` if no file under `folder`, and none of
    `logs`, has changed for `still` seconds."""
    for _ in _moving(folder, logs, still):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=1)
    raise AssertionError


def until(
    condition: Callable[[], object],
    process: subprocess.Popen,
    folder: Path,
    *logs: Path,
    still: float = SECONDS,
) -> None:
    """Wait until `condition` is true; raises `TimeoutError` as `ended` does, and `AssertionError`
    if `process`, which is to make it true, ends before."""
    for _ in _moving(folder, logs, still):
        looked = time.monotonic()
        while time.monotonic() - looked < 1:
            running = process.poll() is None
            if condition():
                return
            assert running, f"exit status {process.returncode} before what was waited for"
            time.sleep(0.01)


def _moving(folder: Path, logs: tuple[Path, ...], still: float) -> Iterator[None]:
    """A turn each time that is asked for, while files change."""
    before, since = None, time.monotonic()
    while time.monotonic() - since <= still:
        yield
        now = _state(folder, logs)
        if now != before:
            before, since = now, time.monotonic()
    raise TimeoutError(f"nothing has changed in {folder} for {still} seconds")


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
