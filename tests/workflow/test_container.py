"""The container's definition, without building an image: what its steps say, and do here."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
LINES = re.sub(r"\\\n|^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
STEPS = [line.split(maxsplit=1) for line in LINES.splitlines() if line]
HOME = dict(reversed(STEPS))["WORKDIR"]
TRF = "results/trf/model=resnet18/kernels=odd/trf.parquet"


def arguments(instruction: str) -> list[str]:
    return [rest for name, rest in STEPS if name == instruction]


def copy(step: str, image: Path) -> None:
    *sources, target = step.split()
    for source in map(ROOT.joinpath, sources):
        if source.is_dir():
            shutil.copytree(source, image / target)
        else:
            shutil.copy2(source, image / target)


@pytest.fixture
def image(tmp_path):
    folder = tmp_path / HOME.strip("/")
    folder.mkdir(parents=True)
    return folder


def nameless():
    """What makes a command run as a user without a name, as `docker run --user` does, if it can."""
    prefix = ["unshare", "--user", "--map-user=12345"]
    can = shutil.which("unshare") and not subprocess.run([*prefix, "true"]).returncode
    return prefix if can else []


def test_its_python_is_one_that_the_project_supports():
    supported = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    (base,) = arguments("FROM")
    assert SpecifierSet(supported).contains(re.match(r"python:(\d\.\d+)-slim", base)[1])


def test_it_installs_the_lock_from_what_it_has_copied_by_then(image):
    system, install, _ = arguments("RUN")
    assert "pip" not in system
    for name, rest in STEPS[: STEPS.index(["RUN", install])]:
        if name == "COPY":
            copy(rest, image)
    making = re.search(r"make (\S+)$", install)[1]
    printed = subprocess.run(
        ["make", "--dry-run", making], cwd=image, check=True, capture_output=True, text=True
    ).stdout
    installs = [line for line in printed.splitlines() if "pip install" in line]
    assert len(installs) == 2 and all("--require-hashes" in line for line in installs)
    assert installs[1].endswith("-r requirements.lock")


def test_what_it_copies_is_enough_to_run_from_another_folder(image, tmp_path):
    for step in arguments("COPY"):
        copy(step, image)
    (image / ".venv").symlink_to(sys.prefix)
    copied = {file.name for file in image.iterdir()}
    work = tmp_path / "work"
    work.mkdir()
    entrypoint = [part.replace(HOME, str(image)) for part in json.loads(*arguments("ENTRYPOINT"))]
    command = [*nameless(), *entrypoint, TRF, "--cores", "1"]
    declared = dict(pair.split("=") for step in arguments("ENV") for pair in step.split())
    environment = {"PATH": os.environ["PATH"], **declared, "HOME": str(tmp_path)}
    run = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert (work / TRF).exists() and {file.name for file in image.iterdir()} == copied
    assert "profiles/default" in run.stderr
