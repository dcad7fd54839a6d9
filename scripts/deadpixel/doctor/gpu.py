"""Whether a device computes what the CPU does in float64, by all that the workflow asks of it.

Each check takes the device, so that the tests hold it against a CPU, and against one that is wrong.
"""

import gc
import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import erf, training
from ..errors import InputError
from ..files.effective import Erf
from ..files.resume import Scratch
from ..networks import zoo
from ..networks.forward import full_precision, tf32_products
from .findings import Finding

_CPU = torch.device("cpu")
_IMAGES, _SIDE = 4, 96
# Relative L2 norms of differences. Rounding flips ReLUs: in maps of float32 by up to a percent.
_MAPS = {torch.float64: 1e-9, torch.float32: 0.02}
_FLOAT32 = 5e-5  # of products; those of TF32 differ by 3e-4
_AGAIN = 1e-5  # gradients of max pools are summed in any order on a GPU
_BFLOAT16 = 0.1  # of what a training step changes
_TOO_MANY = 2**46  # numbers: more than any memory or address space has
_STRANGE = "report it; until then use `device: cpu`, or another build of PyTorch"


def maps(device: torch.device) -> Iterator[Finding]:
    """Effective receptive fields of resnet18 on the device and on the CPU, and once more."""
    network = zoo.build("torchvision:resnet18")
    truth = _fields(network, _CPU, torch.float64)
    worst = {}
    for dtype in _MAPS:
        found = _fields(network, device, dtype)
        worst[dtype] = _worst(_distance(found[name].mean, truth[name].mean) for name in truth)
    start = time.monotonic()
    again = _fields(network, device, torch.float32)
    seconds = time.monotonic() - start
    apart = _worst(_distance(again[name].mean, found[name].mean) for name in truth)
    told = ", ".join(f"{worst[dtype]:.1e} in {dtype}" for dtype in worst)
    told = (
        f"they differ from the CPU's by {told.replace('torch.', '')}, in two passes by {apart:.1e}"
    )
    right = all(worst[dtype] <= allowed for dtype, allowed in _MAPS.items())
    if not (right and apart <= _AGAIN):
        yield Finding("problem", told, _STRANGE)
    else:
        yield Finding("ok", f"{told}; {_IMAGES} images in {seconds:.1f} s")


def _fields(network: nn.Module, device: torch.device, dtype: torch.dtype) -> dict[str, Erf]:
    return erf.accumulate(
        network,
        _drawn(_IMAGES, 3, _SIDE, _SIDE),
        ["layer3", "output"],
        logit="mean",
        batch_size=2,
        dtype=dtype,
        device=device,
    )


def tf32(device: torch.device) -> Iterator[Finding]:
    """That products of float32 are not rounded to TF32, even where someone allowed it before."""
    with tf32_products(allowed=True), full_precision():
        found = _products(device, torch.float32)
    truth = _products(_CPU, torch.float64)
    worst = _worst(itertools.starmap(_distance, zip(found, truth, strict=True)))
    told = f"products of float32 differ by {worst:.1e}"
    if worst <= _FLOAT32:
        yield Finding("ok", f"{told}: TF32 is off where maps are computed")
    else:
        yield Finding("problem", f"{told}: they are rounded to TF32 or less", _STRANGE)


def _products(device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Of matrices, and of a convolution with its two gradients."""
    left, right = _drawn(2, 256, 256).to(device, dtype)
    images = _drawn(4, 32, 16, 16).to(device, dtype).requires_grad_()
    kernels = _drawn(32, 32, 3, 3, seed=1).to(device, dtype).requires_grad_()
    convolved = functional.conv2d(images, kernels, padding=1)
    gradients = torch.autograd.grad(convolved.square().sum(), (images, kernels))
    return [left @ right, convolved.detach(), *gradients]


def average_pools(device: torch.device) -> Iterator[Finding]:
    """Gradients of padded average pools in channels-last order, in which networks are trained.

    PyTorch had them wrong on GPUs (https://github.com/pytorch/pytorch/issues/188344).
    """
    images = _drawn(2, 8, 10, 10)
    last = images.to(device).contiguous(memory_format=torch.channels_last)
    kinds = itertools.product((1, 2), (False, True), (False, True))
    pools = [
        nn.AvgPool2d(3, stride, 1, ceil_mode=ceil_mode, count_include_pad=include)
        for stride, ceil_mode, include in kinds
    ]
    worst = _worst(
        _distance(_gradient(pool, last), _gradient(pool, images.double())) for pool in pools
    )
    if worst <= _FLOAT32:
        yield Finding("ok", f"gradients of padded ones, channels last, differ by {worst:.1e}")
    else:
        yield Finding(
            "problem",
            f"gradients of padded ones, channels last, are wrong by {worst:.0%} "
            "(bug 188344 of PyTorch)",
            "install a later PyTorch before you train networks that have such pools",
        )


def _gradient(pool: nn.Module, images: Tensor) -> Tensor:
    images = images.detach().requires_grad_()
    return torch.autograd.grad(pool(images).square().sum(), images)[0]


def bfloat16(device: torch.device) -> Iterator[Finding]:
    """A step of training in bfloat16 against one in float32 on the CPU."""
    start = _weights(_small())
    truth = _weights(_trained(_CPU, "float32")) - start
    change = _weights(_trained(device, "bfloat16")) - start
    away = _distance(change, truth)
    told = f"what a step of training changes differs from float32 by {away:.1e}"
    if not 0 < away <= _BFLOAT16:
        yield Finding("problem", told, f"train with `precision: float32`; {_STRANGE}")
    elif device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        do = "train with `precision: float32`"
        yield Finding("warning", f"{told}; this GPU has no bfloat16 of its own: it is slow", do)
    else:
        yield Finding("ok", told)


def _small() -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        stages = [nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.GELU()]
        stages += [nn.Conv2d(16, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.GELU()]
        return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))


def _trained(device: torch.device, precision: training.Precision) -> nn.Module:
    network = _small()
    batch = _drawn(32, 3, 32, 32).to(device), torch.arange(32, device=device) % 4
    recipe = training.Recipe(1, 0.1, momentum=0.9, weight_decay=0, seed=0, precision=precision)
    with tempfile.TemporaryDirectory() as folder:
        list(
            training.fit(network, lambda _: [batch], {}, recipe, Scratch(folder, []), device=device)
        )
    return network


def _weights(network: nn.Module) -> Tensor:
    return torch.cat([weight.detach().cpu().flatten() for weight in network.parameters()])


class _Greedy(nn.Sequential):
    def forward(self, images: Tensor) -> Tensor:
        """Ask for more memory than there is."""
        torch.empty(_TOO_MANY, device=images.device)
        return super().forward(images)


def memory(device: torch.device) -> Iterator[Finding]:
    """What happens where memory ends: one message that says so, and the device goes on."""
    before = _allocated(device)
    try:
        erf.accumulate(_Greedy(_small()), _drawn(2, 3, 32, 32), ["output"], device=device)
    except InputError as error:
        message = str(error)
    else:
        message = "none"
    gc.collect()
    kept = _allocated(device) - before
    erf.accumulate(_small(), _drawn(2, 3, 32, 32), ["output"], device=device)
    if "memory" not in message.lower():
        do = "report it: jobs may end without a reason"
        yield Finding("problem", f"where memory ends the message is: {message}", do)
    elif kept:
        do = "report it: lower `erf.batch_size` meanwhile"
        yield Finding("problem", f"a failed pass keeps {kept:,} bytes of the device", do)
    else:
        yield Finding("ok", "where it ends there is a message, and the device goes on")


def _allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _distance(found: object, truth: object) -> float:
    """L2 norm of the difference over that of the truth."""
    ours, theirs = (torch.as_tensor(each).detach().cpu().double() for each in (found, truth))
    return float((ours - theirs).norm() / theirs.norm())


def _worst(distances: Iterable[float]) -> float:
    """The largest; not a number if one of them is not."""
    return float(np.max([*distances]))


CHECKS: dict[str, Callable[[torch.device], Iterable[Finding]]] = {
    "maps": maps,
    "TF32": tf32,
    "average pools": average_pools,
    "bfloat16": bfloat16,
    "memory": memory,
}
