"""Where a job computes: never silently on the CPU."""

import getpass
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from deadpixel.errors import InputError
from deadpixel.operations import devices
from waiting import ended


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[int], None]]:
    """Let PyTorch see so many GPUs, none of them leased."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for variable in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "DEADPIXEL_DEVICES"):
        monkeypatch.delenv(variable, raising=False)

    def see(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "NVIDIA H200")
        monkeypatch.setattr(torch.cuda, "set_device", lambda _device: None)

    yield see
    for lock in devices._held:
        lock.release()
    devices._held.clear()


@pytest.mark.parametrize(("name", "count"), [("cpu", 0), ("cpu", 1), ("auto", 0)])
def test_cpu_comes_with_a_warning(
    gpus: Callable[[int], None], caplog: pytest.LogCaptureFixture, name: str, count: int
) -> None:
    """It says what was asked for and how many GPUs there are."""
    gpus(count)
    device = devices.resolve(name)
    assert device == torch.device("cpu")
    assert devices.describe(device) == "cpu"
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"on the CPU (device: {name}, GPUs seen: {count})" in record.message


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_gpu_is_taken_and_named(
    gpus: Callable[[int], None], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    gpus(1)
    caplog.set_level("INFO")
    device = devices.resolve(name)
    assert device.type == "cuda"
    assert devices.describe(device) == "NVIDIA H200"
    assert [(r.levelname, r.message) for r in caplog.records] == [
        ("INFO", "computing on NVIDIA H200 (cuda:0)")
    ]


def test_cuda_without_gpu(gpus: Callable[[int], None]) -> None:
    gpus(0)
    with pytest.raises(InputError, match=r"cuda .* no GPU"):
        devices.resolve("cuda")


def test_each_lease_is_of_another_device_until_all_have_one(gpus: Callable[[int], None]) -> None:
    """In one process as in many: locks are of open files."""
    gpus(3)
    assert [devices.resolve("cuda").index for _ in range(3)] == [0, 1, 2]


def test_small_jobs_share_a_device_when_all_have_one(gpus: Callable[[int], None]) -> None:
    gpus(2)
    found = [devices.resolve("auto", jobs_per_device=2).index for _ in range(4)]
    assert found == [0, 1, 0, 1]


def test_devices_are_named_as_others_name_them(
    gpus: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By CUDA_VISIBLE_DEVICES; in a SLURM job, which has its own, by the job."""
    assert devices.visible_ids(2) == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-8a1b")
    assert devices.visible_ids(2) == ["3", "GPU-8a1b"]
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert devices.visible_ids(2) == ["17-3", "17-GPU-8a1b"]


@pytest.mark.parametrize("kind", ["a link", "a file", "another's"])
def test_a_folder_of_leases_that_another_could_have_made_is_refused(
    gpus: Callable[[int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    gpus(1)
    folder = tmp_path / f"deadpixel-{getpass.getuser()}"
    if kind == "a link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    elif kind == "a file":
        folder.write_text("")
    else:
        folder.mkdir()
        monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(InputError, match="is a link or another user's: remove it, or set TMPDIR"):
        devices.lease(["0"])


HOLDER = """
import sys, time
sys.path.insert(0, "scripts")
from deadpixel import logs
from deadpixel.operations import devices
logs.to_file(sys.argv[1])
asked = time.time()
index = devices.lease(["a", "b"])
print(index, asked, time.time(), flush=True)
time.sleep(float(sys.argv[2]))
print(time.time(), flush=True)
"""


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[[float], subprocess.Popen]]:
    """Start a process that leases a or b for so many seconds."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    started: list[subprocess.Popen] = []

    def start(seconds: float) -> subprocess.Popen:
        log = str(tmp_path / f"{len(started)}.log")
        command = [sys.executable, "-c", HOLDER, log, str(seconds)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_five_jobs_on_two_devices(
    hold: Callable[[float], subprocess.Popen], tmp_path: Path
) -> None:
    """Never two on one, and none idle while a job waits."""
    jobs = [hold(2.0) for _ in range(5)]
    runs = []
    for job in jobs:
        assert ended(job, tmp_path) == 0
        index, asked, start, end = map(float, job.stdout.read().split())
        runs.append((index, start, end, asked))
    for device in (0, 1):
        spans = sorted((start, end) for index, start, end, _ in runs if index == device)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
        last_wait = max(start for _, start, _, asked in runs if start - asked > 0.5)
        busy = sum(min(end, last_wait) - start for start, end in spans if start < last_wait)
        assert busy >= 0.9 * (last_wait - spans[0][0])


@pytest.mark.slow
def test_a_killed_holder_frees_its_device(
    hold: Callable[[float], subprocess.Popen], tmp_path: Path
) -> None:
    first, second = hold(60), hold(60)
    taken = [int(process.stdout.readline().split()[0]) for process in (first, second)]
    assert sorted(taken) == [0, 1]
    third = hold(0)
    log = tmp_path / "2.log"
    while not log.exists() or "waiting for one of a, b" not in log.read_text():
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    killed = time.time()
    index, _, start = third.stdout.readline().split()
    assert int(index) == taken[0]
    assert float(start) - killed < 5
