"""What the machine has for a run: GPUs, room on its disks, folders and locks that work."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .findings import Finding, Place

_LITTLE = 0.5  # of a GPU's memory
_TRY = """
import sys
from filelock import FileLock, Timeout
try:
    FileLock(sys.argv[1]).acquire(blocking=False)
except Timeout:
    print("held")
else:
    print("free")
"""


def system(_place: Place) -> Iterator[Finding]:
    """What this is, for whoever reads it elsewhere."""
    from ..files.parquet import provenance

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    commit = provenance()["git_commit"]
    yield Finding(
        "ok",
        f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPU cores, "
        f"{memory:.0f} GB of memory" + (f", deadpixel {commit}" if commit else ""),
    )


def gpus(_place: Place) -> Iterator[Finding]:
    """Those that PyTorch sees: their memory, and whether a job of yours has leased them."""
    import torch

    from ..operations import devices

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        yield Finding("not checked", "PyTorch sees none")
    ids = devices.visible_ids(count)
    leased = devices.leased(ids)
    for index, name in enumerate(ids):
        free, total = torch.cuda.mem_get_info(index)
        capability = ".".join(map(str, torch.cuda.get_device_capability(index)))
        found = (
            f"{name} is {devices.describe(torch.device('cuda', index))}, capability {capability}; "
            f"{free / 1e9:.0f} of {total / 1e9:.0f} GB free"
        )
        if name in leased:
            yield Finding("ok", f"{found}; leased by a job of yours")
        elif free < _LITTLE * total:
            do = "another has most of its memory: wait, or hide it by CUDA_VISIBLE_DEVICES"
            yield Finding("warning", found, do)
        else:
            yield Finding("ok", found)


def disk(place: Place) -> Iterator[Finding]:
    """Room in the folder of results against what the plan says of the jobs that are left."""
    plan = place.results / "plan.parquet"
    free = shutil.disk_usage(_existing(place.results)).free / 1e9
    found = f"{free:.3g} GB free at {place.results}"
    if not plan.exists():
        do = "`snakemake plan --cores 2` says what the experiments need"
        yield Finding("not checked", f"{found}; no {plan} to hold it against", do)
        return
    from ..files import parquet, schemas

    jobs = parquet.read(plan, schemas.PLAN)
    needed = jobs.loc[jobs["measured_seconds"].isna(), "disk_mb"].sum() / 1000
    found += f"; the jobs that are left need at most {needed:.3g} GB"
    if free < needed:
        do = "make room, or name a folder on another disk as pathvars.results"
        yield Finding("problem", found, do)
    else:
        yield Finding("ok", found)


def writing(place: Place) -> Iterator[Finding]:
    """Whether files can be made in the folders of a run."""
    clone = [place.folder / name for name in ("resources", "logs", ".snakemake")]
    in_clone = (place.folder / "Snakefile").is_file()
    folders = [place.results, *(clone if in_clone else ()), Path(tempfile.gettempdir())]
    refused = 0
    for folder in folders:
        try:
            with tempfile.TemporaryFile(dir=_existing(folder)):
                continue
        except OSError as error:
            refused += 1
            do = "make it yours, or name others as pathvars (config.yaml) or TMPDIR"
            yield Finding("problem", f"{folder} cannot be written ({error.strerror})", do)
    if not refused:
        yield Finding("ok", ", ".join(map(str, folders)))


def locks(place: Place) -> Iterator[Finding]:
    """Whether a file that this process locks is locked for another, and free again after that."""
    uses = {
        _existing(place.results): "two runs or two downloads would not see each other: take "
        "another file system, or run one at a time",
        Path(tempfile.gettempdir()): "two jobs could take one GPU: set TMPDIR to a local disk",
    }
    for folder, do in uses.items():
        try:
            found = _lock_seen_twice(folder)
        except OSError as error:
            yield Finding("problem", f"no file can be locked in {folder} ({error.strerror})", do)
            continue
        if found == ["held", "free"]:
            yield Finding("ok", f"they work in {folder}")
        else:
            said = " then ".join(found)
            yield Finding("problem", f"one in {folder} is {said}, not held then free", do)


def _lock_seen_twice(folder: Path) -> list[str]:
    """What another process says of a lock that this one holds, and after it was released."""
    from filelock import FileLock

    with tempfile.TemporaryDirectory(dir=folder, prefix=".deadpixel-") as inner:
        lock = FileLock(Path(inner, "lock"))
        command = [sys.executable, "-c", _TRY, lock.lock_file]
        with lock:
            during = subprocess.run(command, capture_output=True, text=True)
        after = subprocess.run(command, capture_output=True, text=True)
    last = [(run.stdout + run.stderr).splitlines()[-1:] for run in (during, after)]
    return [lines[0] if lines else "unknown" for lines in last]


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
