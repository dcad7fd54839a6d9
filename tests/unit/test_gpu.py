"""The self-test of a device passes on the CPU, and sees devices that are wrong."""

import contextlib
import itertools

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from deadpixel import training
from deadpixel.doctor import gpu
from deadpixel.files.effective import Erf

CPU = torch.device("cpu")
aten = torch.ops.aten


def to_tf32(tensor):
    """Rounded to the ten bits of mantissa that TF32 has; float64 as it is."""
    if not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.float32:
        return tensor
    bits = tensor.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


class Multiplying(TorchDispatchMode):
    """A device that rounds the factors of products to TF32."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        products = {aten.mm, aten.convolution, aten.convolution_backward}
        if function.overloadpacket in products:
            args = tree_map(to_tf32, args)
        return function(*args, **(kwargs or {}))


class Pooling(TorchDispatchMode):
    """A device that forgets the padding in the gradients of channels-last average pools."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if function.overloadpacket != aten.avg_pool2d_backward:
            return found
        is_last = found.is_contiguous(memory_format=torch.channels_last)
        return found.roll((1, 1), (2, 3)) if is_last else found


class Training(TorchDispatchMode):
    """A device that loses the gradients of a convolution's kernels in bfloat16."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if function.overloadpacket != aten.convolution_backward:
            return found
        images, kernels, bias = found
        is_half = kernels.dtype == torch.bfloat16
        return images, torch.zeros_like(kernels) if is_half else kernels, bias


def state(check):
    (found,) = check(CPU)
    return found.state


def test_the_cpu_passes_and_is_left_as_it_was():
    switches = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    for name, check in gpu.CHECKS.items():
        if name != "maps":  # which takes long
            assert state(check) == "ok", name
    after = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    assert after == switches


@pytest.mark.slow
def test_maps_of_the_cpu_are_its_own():
    (found,) = gpu.maps(CPU)
    assert found.state == "ok" and found.found.startswith("they differ from the CPU's by 0.0e+00")


def test_products_in_tf32_are_seen():
    with Multiplying():
        (found,) = gpu.tf32(CPU)
    assert found.state == "problem" and "TF32" in found.found


def test_tf32_is_allowed_before_it_is_tried_and_not_in_full_precision(monkeypatch):
    seen = []

    def products(device, dtype):
        seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        return [torch.ones(1)]

    monkeypatch.setattr(gpu, "_products", products)
    assert state(gpu.tf32) == "ok"
    assert seen[0] == ("highest", False)
    monkeypatch.setattr(gpu, "full_precision", contextlib.nullcontext)
    assert state(gpu.tf32) == "ok"
    assert seen[2] == ("high", True)


def test_pools_that_forget_the_padding_are_seen():
    with Pooling():
        (found,) = gpu.average_pools(CPU)
    assert found.state == "problem" and "188344" in found.found


@pytest.mark.parametrize("check", [gpu.tf32, gpu.average_pools])
def test_what_is_not_a_number_is_seen(monkeypatch, check):
    distances = itertools.chain([0, float("nan")], itertools.repeat(0))
    monkeypatch.setattr(gpu, "_distance", lambda *_: next(distances))
    assert state(check) == "problem"


def test_a_step_that_changes_something_else_is_seen():
    with Training():
        assert state(gpu.bfloat16) == "problem"


def test_a_step_that_is_not_in_bfloat16_is_seen(monkeypatch):
    monkeypatch.setattr(training, "_autocast", lambda *_: contextlib.nullcontext())
    assert state(gpu.bfloat16) == "problem"


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ((1, 1, 1, 1), "ok"),
        ((1, 1, 1.01, 1.01), "ok"),
        ((1, 1 + 1e-7, 1, 1), "problem"),
        ((1, 1, 1.03, 1.03), "problem"),
        ((1, float("nan"), 1, 1), "problem"),
        ((1, 1, 1, 1 + 1e-7), "ok"),
        ((1, 1, 1, 1.001), "problem"),
    ],
)
def test_maps_that_differ_are_seen(monkeypatch, factors, expected):
    """Of the CPU in float64; of the device in float64, in float32 and in float32 once more."""
    left = iter(factors)
    monkeypatch.setattr(gpu.zoo, "build", lambda _: nn.Identity())
    total = torch.rand(8, 8, dtype=torch.float64).numpy()

    def fields(*_):
        factor = next(left)
        return {"layer3": Erf(total, total, 4), "output": Erf(total * factor, total, 4)}

    monkeypatch.setattr(gpu, "_fields", fields)
    assert state(gpu.maps) == expected


def test_a_device_whose_memory_does_not_end_is_seen(monkeypatch):
    monkeypatch.setattr(gpu, "_TOO_MANY", 1)
    (found,) = gpu.memory(CPU)
    assert found.state == "problem" and found.found.endswith("none")


def test_memory_that_is_kept_is_seen(monkeypatch):
    left = iter((1000, 3000))
    monkeypatch.setattr(gpu, "_allocated", lambda _: next(left))
    (found,) = gpu.memory(CPU)
    assert found.state == "problem" and "2,000 bytes" in found.found
