"""Images per second of the effective receptive field, and how far from the floor of its arithmetic.

    python benchmarks/erf.py [resnet18 resnet50 ...] [--device cuda] [--images 32] [--batch-size 8]

The floor: the forward pass and the gradient of each target with respect to the image, at the rate
of the fastest square matrix product measured in the same run.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from deadpixel import erf
from deadpixel.networks import zoo

TARGETS = ("layer3", "layer4", "output")


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Shortest of several runs."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def matrix_flops_per_second(device: str, size: int = 2048) -> float:
    """Float32 matrix product."""
    a = torch.randn(size, size, device=device)
    return 2 * size**3 / seconds(lambda: a @ a)


def floor_flops(model: torch.nn.Module) -> float:
    """Per image: forward once, and back from each target at the cost of the way there."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.randn(1, 3, 224, 224, device=next(model.parameters()).device))
    whole = counter.get_total_flops()
    layer4 = sum(counter.get_flop_counts()["ResNet.layer4"].values())
    return 4 * whole - layer4


def plain_loop(model: torch.nn.Module, images: torch.Tensor) -> None:
    """Batch 1, a pass for each target, gradients of the weights too: what is written at first."""
    for image, target in itertools.product(images, TARGETS):
        pixels = image[None].clone().requires_grad_()
        kept = []
        module = model if target == "output" else model.get_submodule(target)
        handle = module.register_forward_hook(lambda _m, _a, out, kept=kept: kept.append(out))
        model(pixels)
        handle.remove()
        value = kept[0].amax() if target == "output" else kept[0][0, :, 3, 3].mean()
        value.backward()


def measure(name: str, rate: float, options: argparse.Namespace) -> str:
    """One row of the table."""
    model = zoo.build(name).to(options.device)
    images = torch.randn(options.images, 3, 224, 224)
    few = images[:4].to(options.device)
    settings = {"batch_size": options.batch_size, "device": options.device}
    ours = len(images) / seconds(lambda: erf.accumulate(model, images, TARGETS, **settings))
    plain = len(few) / seconds(lambda: plain_loop(model, few))
    flops = floor_flops(model)
    numbers = (ours, plain, ours / plain, flops / 1e9, rate / flops / ours)
    return f"| {name} | " + " | ".join(f"{number:.1f}" for number in numbers) + " |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=["resnet18", "resnet50"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    rate = matrix_flops_per_second(options.device)
    threads = torch.get_num_threads()
    print(f"{options.device}, {threads} threads, matrix product {rate / 1e9:.0f} GFLOP/s")
    print("| model | images/s | plain loop | times faster | GFLOP/image | times the floor |")
    print("|---|---|---|---|---|---|")
    for name in options.models:
        print(measure(name, rate, options), flush=True)


if __name__ == "__main__":
    main()
