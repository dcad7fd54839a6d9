"""The page with its tables and figures, in one file that people send to each other."""

import zipfile
from collections.abc import Iterable
from pathlib import Path


def write(path: Path, results: Path, files: Iterable[Path]) -> None:
    """A zip at `path` with `files`, in a folder of the name of `results` and at their places in it.

    Links between them lead where they led.
    """
    with zipfile.ZipFile(path, "w") as bundle:
        for file in sorted(set(files)):
            name = Path(results.name, file.relative_to(results)).as_posix()
            held = zipfile.ZipInfo(name)  # of no time: the same files give the same bytes
            held.external_attr = 0o644 << 16
            bundle.writestr(held, file.read_bytes(), zipfile.ZIP_DEFLATED)
