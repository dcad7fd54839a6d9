"""Where a job computes: never silently on the CPU."""

from collections.abc import Callable

import pytest
import torch

from deadpixel import devices
from deadpixel.errors import InputError


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let PyTorch see so many GPUs."""

    def see(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "NVIDIA H200")

    return see


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
        ("INFO", "computing on NVIDIA H200")
    ]


def test_cuda_without_gpu(gpus: Callable[[int], None]) -> None:
    gpus(0)
    with pytest.raises(InputError, match=r"cuda .* no GPU"):
        devices.resolve("cuda")
