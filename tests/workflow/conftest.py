"""The real workflow, run by the real Snakemake in a copy of the checkout."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import pytest
import yaml

from waiting import ended

ROOT = Path(__file__).resolve().parents[2]
PARTS = ["Makefile", "Snakefile", "config.yaml", "config.demo.yaml", "requirements.lock"]
FOLDERS = ["data", "envs", "profiles", "report", "rules", "schemas", "scripts"]


class Checkout:
    """A copy of the project to run commands in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        for name in PARTS:
            shutil.copy2(ROOT / name, folder / name)
        for name in FOLDERS:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)

    def start(self, *command: str, stdout: int | IO = subprocess.PIPE) -> subprocess.Popen:
        """Start a program of this environment in a process group of its own."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path}
        for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # ours, not the user's
            environment.pop(variable, None)
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *command: str) -> tuple[int, str]:
        """Exit status and everything that was printed."""
        with tempfile.TemporaryFile("w+") as output:
            status = ended(self.start(*command, stdout=output), self.folder)
            output.seek(0)
            return status, output.read()

    def snakemake(self, *arguments: str, overlay: dict | None = None) -> tuple[int, str]:
        """Run Snakemake, with `overlay` as a user's own config file over config.yaml."""
        if overlay is not None:
            (self.folder / "mine.yaml").write_text(yaml.safe_dump(overlay))
            arguments = (*arguments, "--configfile", "mine.yaml")
        return self.run("snakemake", *arguments)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """What `make demo` leaves behind, in this environment instead of a new one."""
    checkout = Checkout(tmp_path_factory.mktemp("demo") / "checkout")
    (checkout.folder / ".venv").symlink_to(sys.prefix)
    status, output = checkout.run("make", "--old-file=.venv/installed", "demo")
    assert status == 0, output
    assert "The report is results/demo/report.html" in output
    return checkout
