"""Expected sensitivity against fields that are measured in random networks, for docs/findings.

    python benchmarks/sensitivity.py [--draws 12] [--first 0] [--side 224] [NAME ...]

By default one of each family of torchvision's classifiers. Each is drawn so many times, its batch
norms are calibrated on noise, and the gradients of its mean logit are of other noise. All draws are
blocks: what two of them share is no chance, neither of images nor of weights. Networks that have a
file in results/benchmarks/sensitivity are not measured again; then the table is printed, and of
all families the figure drawn.
"""

import argparse
import json
import logging
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from deadpixel import imbalance, sensitivity
from deadpixel.blocks import standard_error
from deadpixel.files import atomic
from deadpixel.networks import calibration, zoo
from deadpixel.results import style

NAMES = """
alexnet vgg11 vgg11_bn squeezenet1_1 googlenet inception_v3 resnet18 resnet50 resnext50_32x4d
wide_resnet50_2 densenet121 mobilenet_v2 mobilenet_v3_small mnasnet1_0 shufflenet_v2_x1_0
efficientnet_b0 efficientnet_v2_s regnet_x_400mf regnet_y_400mf convnext_tiny swin_t swin_v2_t
maxvit_t
"""
IMAGES, FOR_CALIBRATION, UNEVEN = 2, 8, 0.1
SPAWN = multiprocessing.get_context("spawn")
RESULTS = Path("results/benchmarks/sensitivity")
FIGURE = Path(__file__).resolve().parents[1] / "docs/images/sensitivity.png"
COLUMNS = ["contrast", "correlation", "slope", "of_squares"]
Row = dict[str, float | str]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=NAMES.split())
    parser.add_argument("--draws", type=int, default=12)
    parser.add_argument("--first", type=int, default=0, help="seed of the first draw")
    parser.add_argument("--side", type=int, default=224, help="of images, px")
    options = parser.parse_args()
    rows = []
    for name in options.names:
        seeds = range(options.first, options.first + options.draws)
        file = RESULTS / f"{name}_{options.side}px_{seeds.start}-{seeds.stop}.json"
        if not file.exists():  # in a process of its own, as PyTorch keeps memory of each network
            process = SPAWN.Process(target=_compare, args=(name, seeds, options.side, file))
            process.start()
            process.join()
        rows.append(json.loads(file.read_text()))
    rows.sort(key=lambda row: -row["expected"])
    print("| network | expected | measured | correlation | slope | slope of squares |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        uneven = row["expected"] > UNEVEN
        cells = [f"{row[c]:.3f} ± {row[f'{c}_se']:.3f}" for c in COLUMNS]
        shown = cells if uneven else [cells[0], *["-"] * 3]
        print(f"| {row['network']} | {row['expected']:.3f} | {' | '.join(shown)} |")
    if options.names == NAMES.split():
        _draw(rows)


def _compare(name: str, seeds: range, side: int, file: Path) -> None:
    logging.disable()
    row = _compared(name, seeds, side)
    with atomic.writing(file) as partial:
        partial.write_text(json.dumps(row))


def _compared(name: str, seeds: range, side: int) -> Row:
    """Contrast of the tile that all draws share, and how it goes with the expected one."""
    measured = [_gradients(name, seed, side) for seed in seeds]
    expected = sensitivity.expected(zoo.structure(name), (side, side))
    fields = _tiles([np.maximum(part, 0).mean(0) for part in measured])
    squares = _tiles([(part**2).mean(0) for part in measured])
    tile, of_squares = _tiles([expected, expected**2])
    row: Row = {"network": name, "expected": float(np.sqrt(np.mean(tile**2)))}
    row |= _with_error("contrast", fields, _contrast)
    row |= _with_error(
        "correlation",
        fields,
        lambda t: np.mean(t.mean(0) * tile) / _contrast(t) / row["expected"],
    )
    row |= _with_error("slope", fields, lambda t: np.mean(t.mean(0) * tile) / np.mean(tile**2))
    row |= _with_error(
        "of_squares",
        squares,
        lambda t: np.mean(t.mean(0) * of_squares) / np.mean(of_squares**2),
    )
    return row


def _gradients(name: str, seed: int, side: int) -> np.ndarray:
    """(N, H, W), means over colours, relative to their root mean square."""
    model = zoo.build(name, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(FOR_CALIBRATION + IMAGES, 3, side, side, generator=generator)
    calibration.calibrate(model, [noise[:FOR_CALIBRATION]], device=torch.device("cpu"))
    image = noise[FOR_CALIBRATION:].requires_grad_()
    (gradient,) = torch.autograd.grad(model.requires_grad_(False)(image).mean(1).sum(), image)
    found = gradient.double().mean(1).numpy()
    return found / np.sqrt(np.mean(found**2))


def _tiles(fields: list[np.ndarray]) -> np.ndarray:
    """(B, 32, 32), less one."""
    return np.stack([imbalance.mean_tile(field, imbalance.PERIOD) - 1 for field in fields])


def _contrast(tiles: np.ndarray) -> float:
    """Root mean product of the tiles of two draws, over all pairs."""
    total, number = tiles.sum(0), len(tiles)
    products = np.mean(total**2 - (tiles**2).sum(0)) / (number * (number - 1))
    return float(np.sign(products) * np.sqrt(abs(products)))


def _with_error(name: str, tiles: np.ndarray, measure: Callable[[np.ndarray], float]) -> Row:
    """By leaving out one draw at a time."""
    without_each = [measure(np.delete(tiles, number, 0)) for number in range(len(tiles))]
    return {name: float(measure(tiles)), f"{name}_se": standard_error(without_each)}


def _draw(rows: list[Row]) -> None:
    """Where slopes are within a tenth of one the area is grey."""
    expected, measured, error = (
        np.array([row[name] for row in rows], float)
        for name in ("expected", "contrast", "contrast_se")
    )
    line = np.linspace(0, 1.08 * max(expected.max(), measured.max()))
    with mpl.rc_context(style.STYLE):
        figure = Figure(figsize=(4, 3), layout="constrained")
        axes = figure.subplots()
        axes.fill_between(line, 0.9 * line, 1.1 * line, color=style.GREY, alpha=0.2, lw=0)
        axes.errorbar(expected, measured, error, fmt="o", ms=3, lw=0.8)
        axes.set(xlabel="contrast expected from structure", ylabel="contrast measured")
    style.save(figure, [FIGURE])


if __name__ == "__main__":
    main()
