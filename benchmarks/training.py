"""Images/s of the training loop with its augmentation, against the same loop on one batch that
already lies on the device (the ceiling)."""

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from deadpixel import kernels, microobject, training
from deadpixel.data import augment
from deadpixel.files.resume import Scratch
from deadpixel.networks import heads, zoo

CLASSES = 101


def pictures(number: int, side: int) -> list[np.ndarray]:
    """Noise of the sizes of Caltech-101, for pictures of 224 px."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(side * 200 // 224, side * 300 // 224, (number, 2))
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def images_per_second(
    model: nn.Module, train: Callable, device: torch.device, images: int
) -> float:
    """Of the second epoch; the first one warms up and compiles."""
    recipe = training.Recipe(2, 1e-3, momentum=0.9, weight_decay=5e-4, seed=0, precision="tf32")
    with tempfile.TemporaryDirectory() as folder:
        *_, last = training.fit(model, train, {}, recipe, Scratch(folder, []), device=device)
    return images / last["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", nargs="+", default=["resnet18"])
    parser.add_argument("--side", type=int, default=64, help="pixels; 224 is the paper's")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--compile", action="store_true", help="torch.compile the network as well")
    arguments = parser.parse_args()
    device, size, side = torch.device(arguments.device), arguments.batch_size, arguments.side
    number = size * arguments.batches
    augmentation = augment.Augmentation(resized_crop=side * 256 // 224, crop=side)
    labels = np.arange(number) % CLASSES
    loaded = augment.BatchedImages(
        pictures(number, side), range(number), labels, augmentation, seed=0, device=device
    )
    still = loaded(0, np.arange(size)), loaded.labels[:size]

    def ceiling(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        return itertools.repeat(still, arguments.batches)

    def ceiling_of_templates(epoch: int, chosen: np.ndarray) -> Tensor:
        return still[0][: len(chosen)]

    loops = {
        "ceiling": ceiling,
        "fine-tuning": training.epoch_batches(loaded, loaded.labels, size, 0),
        "micro-object, no augmentation": microobject.training_batches(
            ceiling_of_templates, number // 2, size, 8, 0
        ),
    }
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    for model, kind in itertools.product(arguments.models, ("odd", "padded")):
        for compiled in {False, arguments.compile}:
            found = {}
            for loop, train in loops.items():
                network = heads.replace(zoo.build(model), CLASSES, seed=0)
                network = kernels.apply(network, kind, init="random")
                network = torch.compile(network) if compiled else network
                found[loop] = images_per_second(network, train, device, number)
            shares = ", ".join(
                f"{loop} {rate:.0f} ({rate / found['ceiling']:.0%})" for loop, rate in found.items()
            )
            print(f"{model} {kind}{' compiled' if compiled else ''} images/s: {shares}", flush=True)


if __name__ == "__main__":
    main()
