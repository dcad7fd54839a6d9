"""Checkerboard and blind edge of networks with random weights, by kinds of kernels and image sizes.

    python benchmarks/edges.py [--images 24] [NETWORK ...]

By default the paper's nine, of torchvision. Weights are of one seed, batch norms calibrated on the
images, which are noise; the field is that of the mean logit. Changed kernels are drawn by the seed.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from deadpixel import blocks, erf, extent, imbalance, kernels
from deadpixel.networks import calibration, zoo
from deadpixel.targets import OUTPUT

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = """
resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d wide_resnet50_2
wide_resnet101_2
"""
ARMS = [("odd", 224), ("odd", 225), ("padded", 224), ("stem", 224), ("rest", 224)]
KINDS = yaml.safe_load((ROOT / "config.yaml").read_text())["kernels"]
STRIDE, BLOCK = 32, 4
COLUMNS = ["edge_top", "edge_bottom", "edge_left", "edge_right", "asymmetry_y", "asymmetry_x"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="*", default=NETWORKS.split())
    parser.add_argument("--images", type=int, default=24)
    options = parser.parse_args()
    names = ["network", "kernels", "px", "contrast", *COLUMNS, "mass y (px)", "mass x (px)"]
    print(_line(names))
    print(_line(["---"] * len(names)))
    for network in options.networks:
        for kind, side in ARMS:
            row = _measured(network, kind, side, options.images)
            print(_line([network, kind, str(side), *_cells(row, side)]), flush=True)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _measured(network: str, kind: str, side: int, number: int) -> dict[str, Any]:
    """Contrast of the tile without noise, edges and centre of mass, with jackknife errors."""
    model = kernels.apply(zoo.build(network), kind, KINDS[kind], init="random")
    images = torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(0))
    calibration.calibrate(model, [images], device=torch.device("cpu"))
    parts = [
        erf.accumulate(model, batch, [OUTPUT], logit="mean", batch_size=BLOCK)[OUTPUT]
        for batch in images.split(BLOCK)
    ]
    means, counts = [part.mean for part in parts], [part.count for part in parts]
    without_each = blocks.maps_without_each(means, counts)
    whole = np.average(means, axis=0, weights=counts)
    measured = extent.measure(whole, without_each, extent.Theory(stride=STRIDE))
    return {**measured, **imbalance.measure(means, counts)}


def _cells(row: Mapping[str, Any], side: int) -> Iterator[str]:
    """Centres of mass are relative to the image's middle."""
    middle = (side - 1) / 2
    yield f"{row['contrast_unbiased']:.3f} ± {row['contrast_unbiased_se']:.3f}"
    for name in COLUMNS:
        yield f"{row[name]:.2f} ± {row[f'{name}_se']:.2f}"
    for name in ("mass_y", "mass_x"):
        yield f"{row[name] - middle:.1f} ± {row[f'{name}_se']:.1f}"


if __name__ == "__main__":
    main()
