"""A job ends with its Snakemake, and one that is started again takes the place of an orphan."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import deadpixel
from deadpixel.operations import orphans

SCRIPT = """
import signal, sys, time
from pathlib import Path
from types import SimpleNamespace
from deadpixel import logs
from deadpixel.operations import job

job.begin(SimpleNamespace(log=[sys.argv[1]]))
logs.log.info("alone")
time.sleep(float(sys.argv[2]))
"""
# Starts the program that its arguments are, and waits for it.
SNAKEMAKE = "import subprocess, sys; subprocess.run(sys.argv[1:])"


@pytest.fixture
def start(tmp_path):
    processes = []

    def start(script: str, seconds: float, *through: str) -> subprocess.Popen:
        command = [*through, sys.executable, script, "logs/job.log", str(seconds)]
        env = {**os.environ, "PYTHONPATH": str(Path(deadpixel.__file__).parents[1])}
        processes.append(
            subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
        )
        return processes[-1]

    for number, name in enumerate(("first.py", "second.py")):
        (tmp_path / name).write_text(SCRIPT)
        os.utime(tmp_path / name, (number, number))
    yield start
    for process in processes:
        process.kill()
        process.communicate()


def wait_for_log(tmp_path: Path) -> None:
    log, deadline = tmp_path / "logs/job.log", time.monotonic() + 30
    while not (log.exists() and "alone" in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_job_ends_with_its_snakemake(start, tmp_path):
    snakemake = start("first.py", 60, sys.executable, "-c", SNAKEMAKE)
    wait_for_log(tmp_path)
    (job,) = psutil.Process(snakemake.pid).children()
    time.sleep(1.5 * orphans._SECONDS_BETWEEN_LOOKS)
    assert job.is_running()
    snakemake.kill()
    job.wait(30)
    assert (tmp_path / "logs/job.log").read_text().endswith("so it ends, too: run again\n")


def test_the_older_process_is_ended(start, tmp_path):
    first = start("first.py", 60)
    wait_for_log(tmp_path)
    second = start("second.py", 0)
    assert second.wait(30) == 0
    assert first.wait(30) == -signal.SIGTERM


def test_an_older_process_that_comes_late_ends_itself(start, tmp_path):
    second = start("second.py", 60)
    wait_for_log(tmp_path)
    first = start("first.py", 0)
    assert first.wait(30) == 1
    assert f"process {second.pid} has taken over" in first.stderr.read()
    assert second.poll() is None


def test_a_killed_process_is_no_obstacle(start, tmp_path):
    first = start("second.py", 60)
    wait_for_log(tmp_path)
    first.kill()
    first.wait()
    assert start("first.py", 0).wait(30) == 0


def test_a_number_that_another_process_has_by_now_is_left_alone(monkeypatch, tmp_path):
    """On file systems where a lock outlives its process, the number may be anybody's."""
    assert orphans._born(os.getpid()) == orphans._born(os.getpid()) != ""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert orphans._born(ended.pid) == ""
    signalled = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signalled.append(pid))
    waits = iter([None, None])
    monkeypatch.setattr(orphans.time, "sleep", lambda _: next(waits))
    host = socket.gethostname()
    for born, expected in (("another time", []), (orphans._born(os.getpid()), [os.getpid()])):
        (tmp_path / ".job.log.lock").write_text(f"{host} {os.getpid()} 0 {born}")
        with (tmp_path / ".job.log.lock").open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            waits = iter([None, None])
            with pytest.raises(StopIteration):
                orphans.replace_predecessor(tmp_path / "job.log")
        assert signalled == expected
