"""The page with its tables and figures, in one file that people send to each other."""

import zipfile
from collections.abc import Iterable
from pathlib import Path


def write(path: Path, results: Path, paths: Iterable[Path]) -> None:
    """A zip at `path` with the files at `paths`, and those in the folders among them.

    They are in a folder of the name of `results`, at their places in it, so that links lead where
    they led.
    """
    visible = "[!.]*"  # Snakemake keeps a time in each folder
    files = {file for path in paths for file in (path.glob(visible) if path.is_dir() else [path])}
    with zipfile.ZipFile(path, "w") as bundle:
        for file in sorted(files):
            name = Path(results.name, file.relative_to(results)).as_posix()
            held = zipfile.ZipInfo(name)  # of no time: the same files give the same bytes
            held.external_attr = 0o644 << 16
            bundle.writestr(held, file.read_bytes(), zipfile.ZIP_DEFLATED)
