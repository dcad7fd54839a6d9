"""Commands and configurations of README.md and docs/, as they are written."""

import re
import shutil

import pytest
import torch

from small import NETWORK
from workflow.conftest import ROOT, Checkout
from workflow.test_mistakes import write_images

PAGES = ("README.md", "docs/experiments.md", "docs/cluster.md", "docs/causes.md")


def commands() -> list[str]:
    pages = [(ROOT / page).read_text() for page in PAGES]
    found = [
        re.findall(r"^    (?:\.venv/bin/)?(snakemake .+?)(?:  +#.*)?$", p, re.M) for p in pages
    ]
    return [*dict.fromkeys(command for page in found for command in page)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """With the reader's own network, weights and images, and the configuration of docs/own.md."""
    checkout = Checkout(tmp_path_factory.mktemp("documented") / "checkout")
    folder = checkout.folder
    (overlay,) = re.findall(r"```yaml\n(.+?)```", (ROOT / "docs/own.md").read_text(), re.S)
    (folder / "mine.yaml").write_text(overlay)
    (folder / "nets").mkdir()
    (folder / "nets/mine.py").write_text(NETWORK)
    torch.save({}, folder / "nets/mine.pt")
    write_images(folder / "photos", classes=2, each=4)
    for experiment in ("causes", "probes", "survey"):
        shutil.copy(ROOT / f"config.{experiment}.yaml", folder)
    return checkout


def test_there_are_commands_to_run():
    assert len(commands()) >= 5 and any("mine.yaml" in command for command in commands())


@pytest.mark.parametrize("command", commands())
def test_what_is_written_can_be_run(checkout, command):
    status, output = checkout.run(*command.split(), "-n")
    assert status == 0, output
    assert "Job stats" in output or "Nothing to be done" in output
