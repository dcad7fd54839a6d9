"""Checkerboard and blind edge of networks with random weights, by kinds of kernels and image sizes.

    python benchmarks/edges.py [--images 24] [NETWORK ...]     measured, an hour for nine networks
    python benchmarks/edges.py --expected [NETWORK ...]         over all weights, a minute

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
from deadpixel.sensitivity import Structure
from deadpixel.targets import OUTPUT

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = """
resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d wide_resnet50_2
wide_resnet101_2
"""
ARMS = [("odd", 224), ("odd", 225), ("padded", 224), ("padded", 225), ("stem", 224), ("rest", 224)]
KINDS = yaml.safe_load((ROOT / "config.yaml").read_text())["kernels"]
STRIDE, BLOCK = 32, 4
COLUMNS = ["edge_top", "edge_bottom", "edge_left", "edge_right", "asymmetry_y", "asymmetry_x"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="*", default=NETWORKS.split())
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--expected", action="store_true")
    options = parser.parse_args()
    names = ["network", "kernels", "px", "contrast", *COLUMNS, "mass y (px)", "mass x (px)"]
    print(_line(names))
    print(_line(["---"] * len(names)))
    for network in options.networks:
        for kind, side in ARMS:
            row = (
                _expected(network, kind, side)
                if options.expected
                else _measured(network, kind, side, options.images)
            )
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


def _expected(network: str, kind: str, side: int) -> dict[str, Any]:
    """The same of the expected sensitivity (`deadpixel.sensitivity`), which has no errors."""
    image = torch.empty(1, 3, side, side, device="meta")
    model = kernels.apply(zoo.structure(network), kind, KINDS[kind], image=image)
    field = Structure(model, (side, side)).field()
    tile = imbalance.mean_tile(field, STRIDE)
    contrast = {"contrast_unbiased": imbalance.tile_contrast(tile)}
    return {**extent.measure(field, field[None][:0], extent.Theory(stride=STRIDE)), **contrast}


def _cells(row: Mapping[str, Any], side: int) -> Iterator[str]:
    """Centres of mass are relative to the image's middle."""
    middle = (side - 1) / 2
    shown = [("contrast_unbiased", 0.0, 3), *((name, 0.0, 2) for name in COLUMNS)]
    for name, zero, decimals in (*shown, ("mass_y", middle, 1), ("mass_x", middle, 1)):
        error = row.get(f"{name}_se", np.nan)
        known = f" ± {error:.{decimals}f}" if np.isfinite(error) else ""
        yield f"{round(row[name] - zero, decimals) + 0.0:.{decimals}f}{known}"  # no -0.0


if __name__ == "__main__":
    main()
