"""Break the science on purpose: every mutant that a module's own unit tests do not see is printed.

``OMP_NUM_THREADS=1 python tests/mutants/run.py [MODULE ...]``. ``MODULE.yaml``, such as
``data/draws.yaml``, lists the mutants of a library module: the text as it is, which occurs once in
it, and the text instead; ``tests`` names the unit tests where they are not ``test_MODULE.py``, and
``without`` those of them that take long (pytest's ``-k``). By hand only: a mutant takes as long as
its tests.
"""

import argparse
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import lmfit  # noqa: F401  imported before the first fork, so that no mutant pays for it
import matplotlib.figure  # noqa: F401
import pandas  # noqa: F401
import pyarrow.parquet  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
import torchvision  # noqa: F401
import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_MOST_SECONDS = 120  # a mutant may never end


class Mutant(NamedTuple):
    """One change of a module's text, and the tests that have to see it."""

    module: str
    old: str
    new: str
    tests: tuple[str, ...]
    without: str


def listed(module: str) -> Iterator[Mutant]:
    """The mutants of a module; raises `ValueError` where the text is not there exactly once."""
    source = (ROOT / "scripts/deadpixel" / f"{module}.py").read_text()
    listing = yaml.safe_load((HERE / f"{module}.yaml").read_text())
    own = [f"test_{Path(module).name}.py"]
    tests = tuple(f"tests/unit/{name}" for name in listing.get("tests", own))
    for old, new in listing["mutants"]:
        if source.count(old) != 1:
            raise ValueError(f"{module}: {old!r} occurs {source.count(old)} times, not once")
        yield Mutant(module, old, new, tests, listing.get("without", ""))


def survives(mutant: Mutant) -> bool:
    """Whether the tests pass all the same, in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        scripts = Path(folder, "scripts")
        shutil.copytree(ROOT / "scripts", scripts, ignore=shutil.ignore_patterns("__pycache__"))
        file = scripts / "deadpixel" / f"{mutant.module}.py"
        file.write_text(file.read_text().replace(mutant.old, mutant.new))
        child = os.fork()
        if not child:
            signal.alarm(_MOST_SECONDS)
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            os.chdir(ROOT)
            options = ["-x", "-q", "--tb=no", "--assert=plain", "-p", "no:cacheprovider"]
            options += ["-o", f"pythonpath={scripts} tests"]
            if mutant.without:
                options += ["-k", f"not ({mutant.without})"]
            os._exit(int(pytest.main([*options, *mutant.tests])))
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def main() -> None:
    """Print a line for each survivor, and how many of each module were seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*")
    files = sorted(file.relative_to(HERE).with_suffix("") for file in HERE.rglob("*.yaml"))
    modules = parser.parse_args().modules or [*map(str, files)]
    mutants = {module: [*listed(module)] for module in modules}
    gc.freeze()  # pytest collects garbage, and of all that is imported here there is none
    seen = total = 0
    for module, of_module in mutants.items():
        if not survives(of_module[0]._replace(new=of_module[0].old)):
            raise SystemExit(f"{module}: its tests fail as it is, and would see whatever comes")
        killed = len(of_module)
        for mutant in of_module:
            if survives(mutant):
                killed -= 1
                print(f"  not seen: {module}: {mutant.old!r} -> {mutant.new!r}", flush=True)
        print(f"{module}: {killed} of {len(of_module)}", flush=True)
        seen, total = seen + killed, total + len(of_module)
    print(f"{seen} of {total} mutants are seen by unit tests ({seen / total:.0%})")
    sys.exit(seen < 0.95 * total)


if __name__ == "__main__":
    main()
