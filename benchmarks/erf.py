"""The effective receptive field side by side: ours, batch-1 loops, OpenERF and the floor.

    python benchmarks/erf.py [resnet18 ...] [--device cuda] [--images 16] [--batch-size 8]
    python benchmarks/erf.py [resnet18 ...] --growth 64 512      memory and time by the number

The rounds of one run take the engines in turn, and the median over rounds counts, so that other
work on the machine troubles all of them. Preparing and checking a network, once for all images, is
not in the times. Three targets are the last maps of stride 16 and 32 (layer3 and layer4 of a
ResNet) and the output; one is that of stride 32.

The floor is a forward pass and, for each target, a way back that costs what the way there does, in
counted operations, at the rate of the folded forward pass of the same run. It takes every pixel of
every map to have a gradient: one that is cropped to a central feature's field may be below it.

OpenERF is in an environment of its own, whose Python is `--openerf`; else it is left out:
    uv venv openerf && uv pip install --python openerf/bin/python openerf torch==VERSION
"""

import argparse
import contextlib
import itertools
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from deadpixel import erf, features, reading
from deadpixel.files import parquet
from deadpixel.networks import zoo
from deadpixel.results import style
from deadpixel.targets import OUTPUT, Target, feature

NETWORKS = ("resnet18", "resnet50", "resnext50_32x4d", "resnet152", "convnext_tiny")
THREE = {"stride16": None, "stride32": None, OUTPUT: OUTPUT}
SIDE, FEW = 224, 4  # px; images of a loop, which has no batches
RESULTS = Path("results/benchmarks/erf")
SPEED = pa.schema(
    {
        "model": pa.string(),
        "device": pa.string(),
        "threads": pa.int32(),
        "engine": pa.string(),
        "targets": pa.string(),
        "batch_size": pa.int32(),
        "seconds_per_image": pa.float64(),
        "forwards": pa.float64(),  # over the folded forward pass
        "over_floor": pa.float64(),
    }
)
GROWTH = pa.schema(
    {
        "model": pa.string(),
        "device": pa.string(),
        "threads": pa.int32(),
        "images": pa.int32(),
        "batch_size": pa.int32(),
        "seconds_per_image": pa.float64(),
        "peak_mb": pa.float64(),  # resident; on a GPU what is allocated there
    }
)
FOLDED = "forward, folded"

Targets = Mapping[str, Target]


class Engine(NamedTuple):
    """A way to compute fields of `targets` of `images` images; `run` returns its seconds."""

    name: str
    targets: Targets
    batch_size: int
    images: int
    run: Callable[[], float]


def main() -> None:
    options = arguments()
    if options.worker:
        print(*growth(options.models[0], options.worker, options))
    elif options.growth:
        rows = [grown(name, n, options) for name in options.models for n in options.growth]
        save(pd.DataFrame(rows, columns=GROWTH.names), "growth", GROWTH)
    else:
        found = pd.concat([speeds(name, options) for name in options.models])
        save(found, "speed", SPEED)
        style.save(figure(found), [RESULTS / f"speed.{suffix}" for suffix in ("png", "svg")])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=NETWORKS)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--images", type=int, default=16, help="of a round")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3, help="rounds that count")
    parser.add_argument("--openerf", metavar="PYTHON", help="of an environment that has OpenERF")
    parser.add_argument("--growth", nargs="+", type=int, metavar="IMAGES")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def save(found: pd.DataFrame, name: str, schema: pa.Schema) -> None:
    parquet.write(found, RESULTS / f"{name}.parquet", schema, parquet.provenance())
    print(found.to_string(index=False, float_format="{:.3f}".format))


def speeds(name: str, options: argparse.Namespace) -> pd.DataFrame:
    """Rows of `SPEED`, one for each engine."""
    model = zoo.build(name).eval().to(options.device)
    images = torch.randn(options.images, 3, SIDE, SIDE)
    three = reading.read(model, images[:2].to(options.device), THREE)
    one = {"stride32": three["stride32"]}
    with contextlib.ExitStack() as stack:
        engines = [
            forward_plain(model, images, options),
            forward_folded(model, images, three, options),
            *(ours(model, images, targets, options) for targets in (three, one)),
            *(loop(model, images[:FEW], targets, options) for targets in (three, one)),
            replknet_loop(model, images[:FEW], one, options),
        ]
        if options.openerf:
            engines.append(stack.enter_context(openerf(name, one, options)))
        seconds = medians(engines, options.repeats)
    forward = seconds[[engine.name for engine in engines].index(FOLDED)]
    ways = ways_there(model, three)
    return pd.DataFrame(
        [
            (
                *(name, options.device, torch.get_num_threads(), engine.name),
                ", ".join(target.module for target in engine.targets.values()),
                *(engine.batch_size, of_image, of_image / forward),
                of_image / forward / (1 + sum(ways[target] for target in engine.targets)),
            )
            for engine, of_image in zip(engines, seconds, strict=True)
        ],
        columns=SPEED.names,
    )


def medians(engines: Sequence[Engine], repeats: int) -> list[float]:
    """Seconds per image of each engine; the first round warms up and does not count."""
    rounds = [[engine.run() / engine.images for engine in engines] for _ in range(repeats + 1)]
    return [statistics.median(of_engine) for of_engine in zip(*rounds[1:], strict=True)]


def ways_there(model: nn.Module, targets: Targets) -> dict[str, float]:
    """Operations until a target is there, as a share of those of the whole forward pass."""
    found: dict[str, int] = {}

    def note(tensor: Tensor, name: str, _target: Target) -> Tensor:
        found[name] = counter.get_total_flops()
        return tensor

    image = torch.zeros(1, 3, SIDE, SIDE, device=next(model.parameters()).device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        features.observed(model, image, targets, note)
    return {name: operations / counter.get_total_flops() for name, operations in found.items()}


def timed(device: str, work: Callable[[], object]) -> Callable[[], float]:
    """`work` as what returns its seconds."""

    def run() -> float:
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        return time.perf_counter() - start

    return run


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def forward_plain(model: nn.Module, images: Tensor, options: argparse.Namespace) -> Engine:
    return forward("forward, as it is", model, images, options)


def forward_folded(
    model: nn.Module, images: Tensor, targets: Targets, options: argparse.Namespace
) -> Engine:
    device = torch.device(options.device)
    folded = features.prepared(model, images[:2], targets, device, torch.float32)
    return forward(FOLDED, folded, images, options)


def forward(name: str, model: nn.Module, images: Tensor, options: argparse.Namespace) -> Engine:
    """A pass without gradients."""

    @torch.no_grad()
    def work() -> None:
        for batch in images.split(options.batch_size):
            model(batch.to(options.device))

    return Engine(name, {}, options.batch_size, len(images), timed(options.device, work))


def ours(model: nn.Module, images: Tensor, targets: Targets, options: argparse.Namespace) -> Engine:
    """What `erf.accumulate` does once a network is prepared."""
    measurement = measuring(model, images[:2], targets, options.device)

    def work() -> None:
        measurement.over((batch, None) for batch in images.split(options.batch_size))

    run = timed(options.device, work)
    return Engine("ours", targets, options.batch_size, len(images), run)


def measuring(model: nn.Module, few: Tensor, targets: Targets, device: str) -> erf.Measurement:
    found = erf.Measurement(model, targets, "predicted", "kim", "shared", torch.float32, device)
    found.prepare(few)
    return found


def loop(model: nn.Module, images: Tensor, targets: Targets, options: argparse.Namespace) -> Engine:
    """One image and one target at a time, gradients of weights too: what is written at first."""

    def work() -> None:
        for image, (name, target) in itertools.product(images, targets.items()):
            pixels = image[None].to(options.device).requires_grad_()
            found = at_centre(model, pixels, name, target)
            (found.amax() if name == OUTPUT else found.mean()).backward()
            assert pixels.grad is not None
            pixels.grad[0].mean(0).relu().cpu()

    return Engine("batch-1 loop", targets, 1, len(images), timed(options.device, work))


def replknet_loop(
    model: nn.Module, images: Tensor, targets: Targets, options: argparse.Namespace
) -> Engine:
    """As RepLKNet's erf/visualize_erf.py does it, which computes something else than the paper.

    The sum of the ReLU of the last map's central feature, its gradient with respect to one image,
    of that the ReLU summed over colours, added up by NumPy.
    """
    ((name, target),) = targets.items()

    def work() -> None:
        total = np.zeros((SIDE, SIDE))
        for image in images:
            pixels = image[None].to(options.device).requires_grad_()
            value = at_centre(model, pixels, name, target).relu().sum()
            (gradient,) = torch.autograd.grad(value, pixels)
            total += gradient.relu().sum((0, 1)).cpu().numpy()

    return Engine("RepLKNet's loop", targets, 1, len(images), timed(options.device, work))


def at_centre(model: nn.Module, pixels: Tensor, name: str, target: Target) -> Tensor:
    """The central feature (C,) of one image, or its logits."""
    found = features.observed(model, pixels, {name: target}, feature)
    return found[name][0]


@contextlib.contextmanager
def openerf(name: str, targets: Targets, options: argparse.Namespace) -> Iterator[Engine]:
    """A process in an environment of its own, on the network of that name that timm has."""
    worker = Path(__file__).with_name("openerf_worker.py")
    command = [options.openerf, str(worker), name, str(FEW), options.device]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        asked, answers = process.stdin, process.stdout

        def run() -> float:
            print(file=asked, flush=True)
            return float(answers.readline())

        yield Engine("OpenERF", targets, 1, FEW, run)
        asked.close()


def grown(name: str, images: int, options: argparse.Namespace) -> list[str | float]:
    """A row of `GROWTH`, from a process of its own, whose peak nothing else raises."""
    command = [sys.executable, __file__, name, "--worker", str(images)]
    command += ["--device", options.device, "--batch-size", str(options.batch_size)]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    seconds, peak = map(float, found)
    known = [name, options.device, torch.get_num_threads(), images, options.batch_size]
    return [*known, seconds / images, peak]


def growth(name: str, images: int, options: argparse.Namespace) -> tuple[float, float]:
    """Seconds for three targets of so many images, drawn batch by batch; peak memory in MB."""
    model = zoo.build(name).eval().to(options.device)
    few = torch.randn(2, 3, SIDE, SIDE)
    targets = reading.read(model, few.to(options.device), THREE)
    measurement = measuring(model, few, targets, options.device)
    sizes = [len(part) for part in torch.arange(images).split(options.batch_size)]
    batches = ((torch.randn(size, 3, SIDE, SIDE), None) for size in sizes)
    seconds = timed(options.device, lambda: measurement.over(batches))()
    if options.device == "cuda":
        return seconds, torch.cuda.max_memory_allocated() / 1e6
    # not ru_maxrss, which begins with the peak of the process that started this one
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return seconds, int(peak) / 1e3


def figure(found: pd.DataFrame) -> Figure:
    """Times over the floor, a panel for each network."""
    rows = found[found["targets"] != ""]
    engines, models = ([*dict.fromkeys(rows[of])] for of in ("engine", "model"))
    several = rows["targets"].str.contains(",")
    with mpl.rc_context(style.STYLE):
        drawn, panels = style.panels(len(models), 1.9, 1.7)
        for name, (panel,) in zip(models, panels, strict=True):
            for label, of_number in (("one target", ~several), ("three targets", several)):
                dots = rows[(rows["model"] == name) & of_number]
                places = [engines.index(engine) for engine in dots["engine"]]
                panel.plot(dots["over_floor"], places, "o", label=label)
            panel.axvline(1, color=style.GREY, linewidth=0.6)
            panel.set(title=name, xlabel="times the floor", xlim=(0, None))
            panel.set(yticks=range(len(engines)), yticklabels=engines)
            panel.set(ylim=(len(engines) - 0.5, -0.5))
        style.legend_beside(drawn, panels[:, 0])
        return drawn


if __name__ == "__main__":
    main()
