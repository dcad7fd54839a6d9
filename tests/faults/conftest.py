"""The small workflow where every moment of a job lasts long enough to be hit."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from faults.networks import CHOSEN
from small import small_checkout
from workflow.conftest import Checkout

# Two jobs at once, each with a device that it leases.
COMMAND = (
    *("env", f"DEADPIXEL_DEVICES=fault-{os.getpid()}-a,fault-{os.getpid()}-b"),
    *("snakemake", "--cores=4", "--resources=gpu=2", "--configfile=mine.yaml"),
)
# A kill finds a state and a line in the log that are an epoch old, not up to a minute.
SAVES = """
from deadpixel import logs, training

training.fit.__kwdefaults__["seconds_between_saves"] = 0
logs._SECONDS_BETWEEN_LINES = 0
"""


def slow_checkout(folder: Path) -> Checkout:
    checkout = small_checkout(folder, CHOSEN + SAVES, shards=2)
    (folder / "slow").write_text("0.03")
    return checkout


@pytest.fixture(scope="session")
def reference(tmp_path_factory) -> Path:
    """A folder where the workflow has run undisturbed."""
    checkout = slow_checkout(tmp_path_factory.mktemp("reference") / "checkout")
    status, output = checkout.run(*COMMAND)
    assert status == 0, output
    return checkout.folder


def running_in(folder: Path) -> list[psutil.Process]:
    """Processes that were started there and still live."""
    return [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(folder)]


def kill_all(folder: Path) -> None:
    for process in running_in(folder):
        os.kill(process.pid, signal.SIGKILL)
