"""Which packages are installed, and whether they fit together."""

import re
import shutil
import warnings
from collections.abc import Iterator
from importlib import metadata

from ..errors import in_one_line
from .findings import Finding, Place

OLDEST = (2, 8)  # PyTorch
WORKFLOW = ("pulp", "requests", "snakemake", "snakemake-executor-plugin-slurm", "urllib3")
_NAMED = 5


def pytorch(_place: Place) -> Iterator[Finding]:
    """Its version, what it was built for, and whether it sees a GPU."""
    try:
        import torch
    except (ImportError, OSError) as error:
        do = "install it: `make .venv/installed`, or `pip install torch`"
        yield Finding("problem", f"it cannot be imported ({in_one_line(error)})", do)
        return
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    found = f"{torch.__version__}, built for {built}"
    oldest = ".".join(map(str, OLDEST))
    if tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) < OLDEST:
        yield Finding("problem", found, f"install PyTorch {oldest} or later")
        return
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        sees = torch.cuda.is_available()
    if sees:
        yield Finding("ok", found)
    elif shutil.which("nvidia-smi"):
        reasons = "".join(f" ({one.message})" for one in said[:1])
        yield Finding(
            "warning",
            f"{found}; nvidia-smi is here, yet it sees no GPU{reasons}",
            "if this machine has one: install the build of PyTorch for its driver, and see that "
            "CUDA_VISIBLE_DEVICES is not empty",
        )
    else:
        yield Finding(
            "warning",
            f"{found}; it sees no GPU, so that the CPU computes",
            "that is enough for `make demo` and `deadpixel look`; for the paper's experiments "
            "`snakemake plan --cores 2` says how long it takes",
        )


def torchvision(_place: Place) -> Iterator[Finding]:
    """Whether it is of the same make as PyTorch: else it cannot be imported."""
    from .. import uncompiled

    try:
        with uncompiled.imports():
            import torchvision
    except ModuleNotFoundError:
        raise
    except Exception as error:
        do = "install torch and torchvision together, from one channel"
        yield Finding("problem", f"it does not fit this PyTorch ({in_one_line(error)})", do)
    else:
        yield Finding("ok", torchvision.__version__)


def workflow(place: Place) -> Iterator[Finding]:
    """Whether Snakemake and what it needs are there, beside the library."""
    lacking = [name for name in WORKFLOW if not _version(name)]
    if not lacking:
        yield Finding("ok", f"Snakemake {_version('snakemake')}")
    elif (place.folder / "Snakefile").is_file():
        do = "set it up by `make .venv/installed` and run what is in .venv/bin, or install "
        yield Finding("problem", f"{', '.join(lacking)} lacking", f"{do}'deadpixel[workflow]'")
    else:
        yield Finding("not checked", "no workflow here, but the library alone")


def versions(place: Place) -> Iterator[Finding]:
    """Installed packages against the lock of the clone."""
    lock = place.folder / "requirements.lock"
    if not lock.is_file():
        yield Finding("not checked", f"there is no {lock.name} here", "run it in your clone")
        return
    pinned = dict(re.findall(r"^([a-z0-9.-]+)==([^ ;\\]+)", lock.read_text(), re.MULTILINE))
    installed = {name: version for name in pinned if (version := _version(name))}
    others = [
        f"{name} {version} ({pinned[name]})"
        for name, version in installed.items()
        if version.partition("+")[0] != pinned[name].partition("+")[0]
    ]
    if others:
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        yield Finding(
            "warning",
            f"other than in the lock: {', '.join(others[:_NAMED])}{more}",
            "results may differ from the published ones in their last digits, or a package may "
            "fail: `make .venv/installed` in a fresh clone installs the lock",
        )
    else:
        yield Finding("ok", f"{len(installed)} packages as in the lock")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
