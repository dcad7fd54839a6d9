"""One set-up of logging for every script, and progress that suits a terminal or a log file."""

import errno
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from .errors import InputError

log = logging.getLogger("deadpixel")
Item = TypeVar("Item")
_SECONDS_BETWEEN_LINES = 60.0


def to_file(path: Path | str) -> None:
    """Log to the file, uncaught exceptions too; Snakemake shows the file if the job fails.

    An `InputError` and a full disk are one line: the user can fix them. Anything else is a defect
    and keeps its traceback.
    """
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        filename=path,
        filemode="w",
        force=True,
    )
    logging.captureWarnings(True)
    sys.excepthook = _log_exception


def _log_exception(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, InputError):
        log.error("%s", error)
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        log.error("%s: make room and run again; what is finished is kept", error)
    else:
        log.critical("unexpected error", exc_info=(kind, error, traceback))


def progress(items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
    """Pass `items` on: with a bar on a terminal, with a line a minute elsewhere."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=what, leave=False)
        return
    last = start = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            log.info("%s: %d of %d after %.0f s", what, done, total, now - start)
            last = now
