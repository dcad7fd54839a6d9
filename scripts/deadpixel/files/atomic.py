"""Files that are written at once or not at all."""

import contextlib
import errno
import glob
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes that name only if the block succeeds.

    What killed writers of `path` left is removed: no other is alive (see `operations.orphans`).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.partial*"):
        stale.unlink(missing_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial{path.suffix}")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:  # most writers do not say which file it was
            error.filename = error.filename or str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)
