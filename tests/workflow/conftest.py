"""The real workflow, run by the real Snakemake in a copy of the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from waiting import ended

ROOT = Path(__file__).resolve().parents[2]
PARTS = ["Makefile", "Snakefile", "config.yaml", "config.demo.yaml", "requirements.lock"]
FOLDERS = ["data", "envs", "examples", "profiles", "report", "rules", "schemas", "scripts"]


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

    def start(self, *command: str, log: Path = Path(os.devnull)) -> subprocess.Popen:
        """Start a program of this environment, in a process group of its own; what it prints goes
        to `log`, which its orphans can print to as well."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path}
        # ours, not the user's
        for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONDONTWRITEBYTECODE"):
            environment.pop(variable, None)
        with log.open("w") as printed:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, *command: str) -> tuple[int, str]:
        """Exit status and everything that was printed."""
        log = self.folder.with_name(f"{self.folder.name}.log")
        status = ended(self.start(*command, log=log), self.folder, log)
        return status, log.read_text()

    def snakemake(self, *arguments: str, overlay: dict | None = None) -> tuple[int, str]:
        """Run Snakemake, with `overlay` as a user's own config file over config.yaml."""
        if overlay is not None:
            (self.folder / "mine.yaml").write_text(yaml.safe_dump(overlay))
            arguments = (*arguments, "--configfile", "mine.yaml")
        return self.run("snakemake", *arguments)

    def planned(self, *arguments: str) -> dict[str, str]:
        """Files that Snakemake would make, each with its rule."""
        status, output = self.snakemake(*arguments, "--summary")
        assert status == 0, output
        rows = [line.split("\t") for line in output.splitlines() if line.count("\t") == 5]
        return {file: rule for file, _, rule, *_, plan in rows if plan == "update pending"}


def jobs(output: str) -> dict[str, int]:
    """How many jobs of each rule a run, dry or not, says it has."""
    _, _, table = output.partition("Job stats:")
    rows = [line.split() for line in table.split("total")[0].splitlines()[3:] if line.strip()]
    return {rule: int(count) for rule, count in rows}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


# What the demo's numbers are good for is seen by who runs it: here a few images and epochs do.
FEWER = {
    "datasets": {"synthetic": {"classes": 4, "images_per_class": 40}},
    "calibration": {"images": 16},
    "finetune": {"epochs": 2},
    "microobject": {"images": 64, "seeds": [0, 1], "epochs": 2},
    "causes": {
        "microobject": [
            {"models": ["resnet10"], "kernels": ["odd", "padded", "stem"], "seeds": [0, 1]}
        ]
    },
    "probes": {
        "reference": 32,
        "images": 4,
        "shift": 2,
        "attack": {"population": 5, "generations": 1},
        "saliency": {"samples": 1, "steps": 1},
    },
}


def lay_over(settings: dict, fewer: dict) -> None:
    for key, value in fewer.items():
        if isinstance(value, dict):
            lay_over(settings[key], value)
        else:
            assert key in settings, f"no setting of the demo: {key}"
            settings[key] = value


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """What `make demo` leaves behind, of fewer images, in this environment instead of a new one."""
    checkout = Checkout(tmp_path_factory.mktemp("demo") / "checkout")
    (checkout.folder / ".venv").symlink_to(sys.prefix)
    file = checkout.folder / "config.demo.yaml"
    settings = yaml.safe_load(file.read_text())
    lay_over(settings, FEWER)
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    status, output = checkout.run("make", "--old-file=.venv/installed", "demo")
    assert status == 0, output
    assert "The report is results/demo/report.html" in output
    return checkout
