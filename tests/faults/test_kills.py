"""Whatever is killed, wherever: the same command again finishes the work with the same numbers.

DEADPIXEL_FAULT_SEED=N draws the kinds and moments of an earlier run again; each run prints its N.
DEADPIXEL_FAULT_NETWORK=inverted or grouped kills the work of another network of `faults.networks`,
DEADPIXEL_FAULT_KILLS=N kills N times and no more:

    DEADPIXEL_FAULT_NETWORK=inverted pytest tests/faults/test_kills.py
"""

import collections
import itertools
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from faults.conftest import COMMAND, kill_all, running_in, slow_checkout
from small import assert_same, results
from waiting import ended

MOST = int(os.environ.get("DEADPIXEL_FAULT_KILLS", "0"))  # 0: all turns
# How often something is killed because a job of this rule runs, before such jobs are let finish.
TURNS = {
    "train_microobject": 2,
    "finetune_model": 1,
    "accumulate_erf": 1,
    "measure_fields": 1,
    "calibrate_weights": 1,
    "pack_images": 1,
    "plot_erf_maps": 1,
}
AT_WORK = 0.8  # share of kills that wait for it: imports are the longest part of most jobs
SECONDS = 1.5  # up to so long after that, if the job still runs
KINDS = {
    "all": "SIGKILL to the process group",
    "snakemake": "SIGKILL to Snakemake alone",
    "stop": "SIGTERM to Snakemake",
    "interrupt": "SIGINT to the process group, as by Ctrl-C",
    "job": "SIGKILL to a job",
    "job_stop": "SIGTERM to a job",
    "job_limit": "SIGTERM to a job, SIGKILL moments later, as at a time limit",
}
SCRIPT = re.compile(r".*/\.snakemake/scripts/\w+\.(\w+)\.py")


class Job(NamedTuple):
    """A process of Snakemake's, the script of its rule, and what it is at."""

    process: psutil.Process
    rule: str
    at: str


def jobs_of(snakemake: subprocess.Popen) -> list[Job]:
    found = []
    try:
        for process in psutil.Process(snakemake.pid).children(recursive=True):
            command = process.cmdline()
            if len(command) == 2 and (script := SCRIPT.fullmatch(command[1])):
                found.append(Job(process, script[1], whereabouts(process)))
    except psutil.NoSuchProcess:  # one has just ended
        pass
    return found


def whereabouts(job: psutil.Process) -> str:
    """By the files that a job has open: its log is the first."""
    files = [Path(file.path) for file in job.open_files()]
    for file in files:
        if file.suffix == ".part" or ".partial" in file.name:
            return f"writing {file.name}"
    for file in files:
        if "logs" in file.parts and file.suffix == ".log":
            return (file.read_text().splitlines() or ["started"])[-1]
    return "importing"


def at_work(job: Job) -> bool:
    if job.rule in ("train_microobject", "finetune_model"):
        return re.search("epochs: |writing ", job.at) is not None
    return job.at != "importing"


def kill(
    snakemake: subprocess.Popen, kind: str, rng: random.Random, hits: collections.Counter
) -> str | None:
    """Kill when a job runs whose turn it is, and say where; None if Snakemake ends before."""
    anywhere, patience = rng.random() > AT_WORK, rng.uniform(0, SECONDS) * rng.random()
    first_seen: dict[psutil.Process, float] = {}
    while snakemake.poll() is None:
        jobs = jobs_of(snakemake)
        left = [job for job in jobs if hits[job.rule] < TURNS.get(job.rule, 0)]
        fewest = min((hits[job.rule] for job in left), default=0)  # so both kinds of training
        ready = [job for job in left if hits[job.rule] == fewest and (anywhere or at_work(job))]
        now = time.monotonic()
        ready = [j for j in ready if now - first_seen.setdefault(j.process, now) >= patience]
        if not ready:
            patience *= 0.99  # some jobs are short
            time.sleep(0.01)
            continue
        victim = rng.choice(ready)
        try:
            if kind in ("all", "interrupt"):
                os.killpg(snakemake.pid, signal.SIGKILL if kind == "all" else signal.SIGINT)
            elif kind == "snakemake":
                snakemake.kill()
            elif kind == "stop":
                snakemake.terminate()
            elif kind == "job":
                victim.process.kill()
            else:
                victim.process.terminate()
        except psutil.NoSuchProcess:
            continue
        if kind == "job_limit":
            time.sleep(rng.uniform(0, 0.05))
            if victim.process.is_running():
                victim.process.kill()
        hit = [victim] if kind.startswith("job") else jobs
        hits[victim.rule] += 1
        return "; ".join(f"{job.rule}: {job.at}" for job in hit)
    return None


def files(folder: Path) -> set[Path]:
    """Every file of the results, hidden ones too, and what is left of the scratch folder."""
    found = [path for path in (folder / "results").rglob("*") if path.is_file()]
    return {p.relative_to(folder) for p in [*found, *folder.glob("results/.scratch/*/*")]}


def assert_finished(folder: Path, reference: Path) -> None:
    assert_same(results(folder), results(reference))
    assert files(folder) == files(reference)
    for path in files(reference):
        if path.suffix in {".png", ".svg", ".pdf", ".md", ".html", ".jpg"}:
            assert (folder / path).read_bytes() == (reference / path).read_bytes(), path


@pytest.fixture
def checkout(tmp_path):
    yield slow_checkout(tmp_path / "checkout")
    kill_all(tmp_path / "checkout")


def test_whatever_is_killed_the_same_command_finishes(reference, checkout, tmp_path, capsys):
    seed = int(os.environ.get("DEADPIXEL_FAULT_SEED", random.SystemRandom().randrange(10**6)))
    rng = random.Random(seed)
    rounds = (rng.sample([*KINDS], len(KINDS)) for _ in itertools.count())
    kinds = itertools.chain.from_iterable(rounds)
    began = time.monotonic()
    record = tmp_path / "kills.txt"

    def tell(line):
        with capsys.disabled(), record.open("a") as file:
            print(line, flush=True)
            print(line, file=file)

    tell(f"\nDEADPIXEL_FAULT_SEED={seed}, recorded in {record}")
    kills, status = 0, None
    hits: collections.Counter = collections.Counter()
    while status != 0:
        log = tmp_path / "output.log"
        kind = next(kinds)
        snakemake = checkout.start(*COMMAND, log=log)
        at = None if MOST and kills >= MOST else kill(snakemake, kind, rng, hits)
        status = ended(snakemake, checkout.folder, log)
        failed = log.read_text().count("Error in rule")
        what = f"{KINDS[kind]}: {at}" if at else "undisturbed"
        tell(f"{time.monotonic() - began:6.1f} s, exit {status:2}: {what}")
        kills += at is not None
        if kind != "interrupt":
            assert failed <= (at is not None and kind.startswith("job")), log.read_text()
        assert at or status == 0, log.read_text()
    assert kills == MOST if MOST else kills >= 5, "most of what was to be killed ended before"
    assert_finished(checkout.folder, reference)
    assert not running_in(checkout.folder)
    status, output = checkout.run(*COMMAND)
    assert status == 0 and "Nothing to be done" in output, output
