"""The real workflow on a real SLURM of one node with two fake GPUs, through profiles/slurm."""

import functools
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from small import OVERLAY, assert_same, results, small_checkout
from waiting import ended, until

HERE = Path(__file__).parent
CANNOT_INSTALL = 77  # exit status of start-slurm.sh
RUN = "results/microobject/epochs/dataset=drawn/model=mine/kernels=odd/seed=0/epochs.parquet"
RUN_LOG = "logs/train_microobject/drawn+mine+odd+0.log"
# Both tests of the paper and the other task; maps of fine-tuned networks are made like the others.
TABLES = [
    *("results/tables/table1.parquet", "results/tables/table4.parquet"),
    *(
        "results/finetune/epochs/dataset=drawn/model=mine/weights=calibrated/"
        f"kernels={kernels}/seed=0/epochs.parquet"
        for kernels in ("odd", "padded")
    ),
]
# The profile as it is, but for the pause before the first look at a job.
ON_SLURM = (
    sys.executable,
    str(HERE / "fastpoll.py"),
    "--workflow-profile=profiles/slurm",
    "--slurm-init-seconds-before-status-checks=1",
    "--configfile=mine.yaml",
)
STILL = 600  # seconds without a change of any file: jobs may have to wait for their turn
# Two of training, one of the test images and three that compare its first two, one by one.
PASSES_OF_AN_EPOCH = 6
# Calibration, maps in two shards, two runs of fine-tuning and of the other task.
GPU_JOBS = 7
GPU_RULES = (
    *("calibrate_weights", "finetune_model", "train_microobject"),
    *("accumulate_erf", "accumulate_erf_2"),
)


class Task(NamedTuple):
    """One job step, from its first to its last second."""

    device: str
    begin: float
    end: float


class Slurm:
    """A cluster that runs."""

    def __init__(self, folder: Path) -> None:
        self._record = folder / "log/tasks"

    def tasks(self) -> dict[str, Task]:
        """Steps that have ended, by job."""
        begun, ended = {}, {}
        for line in self._record.read_text().splitlines():
            event, at, job, device = line.split()
            if event == "begin":
                begun[job] = (device, float(at))
            else:
                ended[job] = float(at)
        return {job: Task(*begun[job], end) for job, end in ended.items()}


def free_ports() -> int:
    """The first of two free ports."""
    for port in range(20000, 30000, 2):
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
        return port
    raise RuntimeError("no free ports")


@pytest.fixture(scope="module")
def slurm():
    if torch.cuda.is_available():
        pytest.skip("jobs would compute on this machine's GPU, and fake ones stand for it")
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # sockets need a short path
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_LAB", str(folder))
        patch.setenv("SLURM_LAB_PORT", str(free_ports()))
        try:
            started = subprocess.run(
                [HERE / "start-slurm.sh"], check=False, capture_output=True, text=True
            )
            if started.returncode == CANNOT_INSTALL:
                pytest.skip(started.stderr.strip().splitlines()[-1])
            assert started.returncode == 0, started.stderr
            patch.setenv("SLURM_CONF", str(folder / "etc/slurm.conf"))
            patch.setenv("PATH", str(folder / "bin"), prepend=os.pathsep)
            yield Slurm(folder)
        finally:
            subprocess.run([HERE / "stop-slurm.sh"], check=True)
            shutil.rmtree(folder)


@pytest.fixture(scope="module")
def finished(slurm, tmp_path_factory):
    """A checkout whose workflow has run on the cluster."""
    checkout = small_checkout(tmp_path_factory.mktemp("slurm") / "checkout", shards=2)
    status, output = checkout.run(*ON_SLURM, "--", *TABLES)
    assert status == 0, output
    return checkout


@pytest.fixture(scope="module")
def local(finished, tmp_path_factory):
    """Waits for the results of the same configuration without a cluster, and gives their folder.

    They are made while a test waits for a time limit, with as many threads as jobs have on the
    cluster, on which the last bits of sums over a batch depend.
    """
    checkout = small_checkout(tmp_path_factory.mktemp("local") / "checkout", shards=2)
    threads = [f"{rule}=2" for rule in GPU_RULES]
    command = ("snakemake", "--cores=2", "--configfile=mine.yaml", "--set-threads", *threads)
    log = checkout.folder.with_name("local.log")
    process = checkout.start(*command, "--", *TABLES, log=log)

    @functools.cache
    def wait() -> Path:
        assert ended(process, checkout.folder, log) == 0, log.read_text()
        return checkout.folder

    yield wait
    stop(process)


def stop(process: subprocess.Popen) -> None:
    """Kill what a failed test has left running."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def test_each_gpu_is_given_to_one_job_at_a_time(slurm, finished):
    tasks = slurm.tasks().values()
    on_gpu = [task for task in tasks if task.device != "none"]
    assert len(on_gpu) == GPU_JOBS
    assert {task.device for task in on_gpu} == {"0", "1"}
    together = [
        (one.device, other.device)
        for one, other in itertools.combinations(on_gpu, 2)
        if one.begin < other.end and other.begin < one.end
    ]
    assert together, "one GPU was never used"
    assert all(one != other for one, other in together)
    assert "computing on the CPU (device: auto" in (finished.folder / RUN_LOG).read_text()


def train_again(slurm, checkout, *options, seconds, interrupt=lambda _: None):
    """Train, so many seconds per forward pass, until the job ends too soon and is tried again."""
    (checkout.folder / RUN).unlink()
    (checkout.folder / RUN_LOG).unlink()
    slow = checkout.folder / "slow"
    slow.write_text(str(seconds))
    (checkout.folder / "passes").unlink(missing_ok=True)
    before, log = len(slurm.tasks()), checkout.folder.with_name("train.log")
    process = checkout.start(*ON_SLURM, *options, "--", RUN, log=log)
    try:
        interrupt(process)
        until(lambda: len(slurm.tasks()) > before, process, checkout.folder, still=STILL)
        slow.unlink()  # that the second try is a short one
        status, output = ended(process, checkout.folder, log, still=STILL), log.read_text()
    finally:
        stop(process)
    assert status == 0, output
    assert "stopped by SIGTERM; run again to go on" in output
    again = re.search(r"going on after epoch (\d+)", (checkout.folder / RUN_LOG).read_text())
    assert 1 <= int(again[1]) < OVERLAY["microobject"]["epochs"]
    assert len(slurm.tasks()) >= before + 2  # a busy machine may need a third try


def test_a_job_out_of_time_is_tried_again_and_goes_on(slurm, finished, local):
    """Its limit is five minutes; it is stopped two, or as SLURM likes three, before its end.

    By then it has started on any machine, and 20 epochs would take twice as long.
    """
    train_again(slurm, finished, "--set-resources", "train_microobject:runtime=5", seconds=4)


def test_a_cancelled_job_is_tried_again_and_goes_on(slurm, finished):
    def cancel(process):
        passes, enough = finished.folder / "passes", 3 * PASSES_OF_AN_EPOCH
        until(lambda: passes.exists() and passes.stat().st_size >= enough, process, finished.folder)
        job = subprocess.run(["squeue", "-h", "-o", "%A"], capture_output=True, check=True)
        subprocess.run(["scancel", *job.stdout.decode().split()], check=True)

    train_again(slurm, finished, seconds=0.2, interrupt=cancel)


def test_results_are_those_of_one_machine(finished, local):
    """Those of the jobs that were interrupted included."""
    on_slurm, on_one_machine = results(finished.folder), results(local())
    assert len(on_slurm) >= 20
    assert_same(on_slurm, on_one_machine)
