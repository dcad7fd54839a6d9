"""Where a job computes: never silently on the CPU."""

import getpass
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest
import torch

import forked
from deadpixel import logs
from deadpixel.errors import InputError
from deadpixel.operations import devices


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


def test_who_looks_whether_a_device_is_leased_takes_none(gpus: Callable[[int], None]) -> None:
    """Also where the job in a device's first slot has ended and that in its second has not."""
    gpus(2)
    assert devices.leased(["0", "1"]) == []
    for _ in range(3):
        devices.resolve("auto", jobs_per_device=2)
    assert devices.leased(["0", "1"]) == ["0", "1"]
    first, second, _ = devices._held
    first.release()
    second.release()
    for _ in range(2):
        assert devices.leased(["0", "1"]) == ["0"]


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


def _hold(sender: Connection, log: Path) -> None:
    """Lease a or b, send which, and keep it."""
    logs.to_file(str(log))
    sender.send(devices.lease(["a", "b"]))
    time.sleep(600)


@pytest.fixture
def jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[Connection, ForkProcess]]:
    """Five processes that lease a or b, by what receives the index that they have."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    started = [forked.started(_hold, tmp_path / f"{number}.log") for number in range(5)]
    yield {receiver: process for process, receiver in started}
    for process, _ in started:
        process.kill()
        process.join()


def test_five_jobs_on_two_devices(jobs: dict[Connection, ForkProcess], tmp_path: Path) -> None:
    """Never two on one; and that of a job which ends, even killed, goes to one that waits."""
    waiting, holding = {*jobs}, {}
    while waiting:
        (job, *others) = wait(waiting, timeout=60)
        assert not others or not holding, "two for one that ended"
        waiting.remove(job)
        index = job.recv()
        assert index not in holding
        holding[index] = job
        if len(holding) == 2:
            assert not wait(waiting, timeout=0.3)
            jobs[holding.pop(index)].kill()
    assert "waiting for one of a, b" in "".join(f.read_text() for f in tmp_path.glob("*.log"))
