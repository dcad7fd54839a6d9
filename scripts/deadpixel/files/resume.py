"""Where long jobs keep what they have finished, so that they go on after a kill."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..logs import log
from .atomic import writing


class Scratch:
    """Where a long job keeps what it has finished, until its results are written.

    Each job has a folder; in it, one named by a hash of everything that the work depends on. So
    after a kill the job goes on where it was, and one with other settings starts from nothing.
    """

    def __init__(self, job: Path | str, inputs: Iterable[Path | str], **settings: Any) -> None:
        """Depend on what the `inputs` hold, not on where or when, and on `settings`."""
        files = [_digest(Path(file)) for file in inputs]
        key = hashlib.sha256(json.dumps([files, settings], sort_keys=True, default=str).encode())
        self._job = Path(job)
        self._folder = self._job / key.hexdigest()[:20]

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """Arrays saved under `name`; None if there are none, or, which is logged, damaged ones."""
        file = self._folder / f"{name}.npz"
        if not os.path.lexists(file):
            return None
        problem = "it is damaged"
        try:
            if not file.is_file():  # do not open it either: a pipe would wait for its other end
                problem = "it is no plain file"
            elif _is_whole(file):
                with np.load(file, allow_pickle=False) as arrays:
                    return dict(arrays)
        except OSError as error:
            problem = str(error)
        log.warning("%s is computed again: %s", file, problem)
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)
        return None

    def save(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep arrays under `name`, atomically, a checksum behind them."""
        with writing(self._folder / f"{name}.npz") as partial:
            np.savez(partial, **arrays)  # pyright: ignore[reportArgumentType]
            with partial.open("rb+") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
                file.write(digest)

    def clear(self) -> None:
        """The results are written: forget all of the job, under earlier settings too."""
        for folder in self._job.glob("[0-9a-f]" * 20):
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # there is something else in it
            self._job.rmdir()


_WHOLE = 2**30  # bytes; of larger files, which are packs, both ends: there they keep a checksum

_END = 2**26


def _digest(file: Path) -> str:
    size = file.stat().st_size
    with file.open("rb") as opened:
        if size <= _WHOLE:
            return hashlib.file_digest(opened, "sha256").hexdigest()
        found = hashlib.sha256(f"{size} ".encode() + opened.read(_END))
        opened.seek(-_END, os.SEEK_END)
        found.update(opened.read())
    return found.hexdigest()


def _is_whole(file: Path) -> bool:
    """Whether the last 32 bytes of the file are the checksum of all before them."""
    found, left = hashlib.sha256(), file.stat().st_size - hashlib.sha256().digest_size
    with file.open("rb") as opened:
        while left > 0:
            part = opened.read(min(left, _END))
            found.update(part)
            left -= len(part) or left
        return opened.read() == found.digest()
