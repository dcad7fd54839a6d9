"""Training images per second: torchvision's chain, and the batched one that stands in for it.

    python benchmarks/augment.py [--device cuda] [--images 512] [--batch-size 64]

Images of noise of Caltech-101's sizes, augmented to 224 x 224 pixels. Run it with OMP_NUM_THREADS=1
for the rate of one core: torchvision's chain runs on one whatever is allowed.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from deadpixel.data.augment import TRAINING_IMAGES, Augmentation, draw


def caltech_like(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = np.column_stack([rng.integers(200, 301, count), np.full(count, 300)])
    return [rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in map(rng.permutation, sizes)]


def seconds_per_epoch(name: str, pixels: list[np.ndarray], options: argparse.Namespace) -> float:
    """Shortest of several epochs, after one to warm up."""
    every = np.arange(len(pixels))
    settings = {"seed": 0, "device": options.device}
    images = TRAINING_IMAGES[name](pixels, every, every, Augmentation(), **settings)
    times = []
    for epoch in range(4):
        start = time.perf_counter()
        for first in range(0, len(pixels), options.batch_size):
            images(epoch, every[first : first + options.batch_size])
        if options.device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def microseconds_per_draw(batch_size: int, repeats: int = 50) -> float:
    """Of one image, drawn in batches."""
    indices, sizes = np.arange(batch_size), np.full((batch_size, 2), 300)
    start = time.perf_counter()
    for epoch in range(repeats):
        draw(Augmentation(), 0, epoch, indices, sizes)
    return (time.perf_counter() - start) / repeats / batch_size * 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    pixels = caltech_like(options.images)
    print(f"{options.device}, {torch.get_num_threads()} threads, batches of {options.batch_size}")
    print(f"draws: {microseconds_per_draw(options.batch_size):.1f} microseconds per image")
    print("| augmentation | images/s |")
    print("|---|---|")
    for name in TRAINING_IMAGES:
        rate = len(pixels) / seconds_per_epoch(name, pixels, options)
        print(f"| {name} | {rate:.0f} |", flush=True)


if __name__ == "__main__":
    main()
