"""The command line: ``deadpixel look SOURCE`` says what a network looks at."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import InputError, naming
from .logs import log

EPILOG = """examples:
  deadpixel look timm:resnet50 --images photos --out resnet50.html
  deadpixel look torchvision:resnet18
  deadpixel look nets/mine.py:build --weights mine.safetensors --images photos --crop 288
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    chosen = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        _look(chosen)
    except InputError as error:
        print(f"deadpixel: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("deadpixel: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deadpixel", description="Which pixels a network looks at."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    look = commands.add_parser(
        "look",
        help="what one network looks at",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    look.add_argument("source", help="torchvision:NAME, timm:NAME or FILE.py:FACTORY")
    look.add_argument(
        "--weights",
        metavar="WHICH",
        help="published, own (as FACTORY returns them), drawn, or a file",
    )
    look.add_argument("--images", type=Path, metavar="FOLDER", help="else synthetic ones are drawn")
    look.add_argument("--most", type=_whole, default=32, metavar="N", help="images (32)")
    look.add_argument("--resize", type=_whole, metavar="PX", help="shorter side before the crop")
    look.add_argument("--crop", type=_whole, metavar="PX", help="side of the network's input")
    for name, what in (("mean", "of each band, of 0 to 1"), ("std", "likewise")):
        look.add_argument(f"--{name}", type=float, nargs="+", metavar="X", help=what)
    look.add_argument("--batch-size", type=_whole, default=8, metavar="N")
    look.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    look.add_argument("--seed", type=int, default=0, help="of what is drawn (0)")
    look.add_argument("--out", type=Path, metavar="FILE.html", help="a page with maps and figures")
    look.add_argument("--json", type=Path, metavar="FILE", help="the numbers; - prints them")
    look.add_argument("--parquet", type=Path, metavar="FILE", help="the maps, as sums over images")
    return parser


def _whole(text: str) -> int:
    if not text.isdecimal() or text.strip("0") == "":
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _look(chosen: argparse.Namespace) -> None:
    for path in (chosen.out, chosen.json, chosen.parquet):
        if path and not path.absolute().parent.is_dir():
            raise InputError(f"{path}: there is no folder {path.absolute().parent}; make it first")
    from . import look as looking  # which import PyTorch: --help need not wait for it
    from .data import loose
    from .data.evaluation import evaluation_transform
    from .files import atomic, maps, parquet, schemas
    from .networks import calibration, weights, zoo
    from .operations import devices
    from .results import look as shown
    from .results import render

    device = devices.resolve(chosen.device)
    which = chosen.weights or weights.usual(chosen.source)
    network = zoo.build(chosen.source, seed=chosen.seed)
    with naming("--weights"):
        words = weights.load(network, chosen.source, which)
    preprocess = _preprocess(weights.preprocess(network, chosen.source, which), chosen)
    transform = evaluation_transform(**preprocess)
    images = loose.images(chosen.images, chosen.most, transform, seed=chosen.seed)
    if which == weights.DRAWN:
        calibration.calibrate(network, images.batches(chosen.batch_size), device=device)
    seen = looking.look(
        network, images, name=chosen.source, batch_size=chosen.batch_size, device=device
    )

    said = shown.sentences(seen)
    notes = [
        f"Weights: {words}.",
        f"Images: {len(images)} from {chosen.images}."
        if chosen.images
        else f"Images: {len(images)} synthetic ones; --images FOLDER takes yours.",
        f"Preprocess: {preprocess or 'resize 256, crop 224, mean and std of ImageNet'}. Device: "
        f"{devices.describe(device)}.",
    ]
    is_printed = str(chosen.json) == "-"
    if not is_printed:
        print(render.markdown(shown.table(seen), shown.LOOK))
        print("\n".join([*said, *notes]))
    facts = parquet.provenance(
        source=chosen.source, weights=words, preprocess=preprocess, images=str(chosen.images)
    )
    if chosen.parquet:
        parquet.write(maps.block_to_frame(seen.fields), chosen.parquet, schemas.BLOCK, facts)
    if chosen.json:
        text = json.dumps({**facts, "targets": shown.numbers(seen)}, indent=1, default=str)
        if is_printed:
            print(text)
        else:
            with atomic.writing(chosen.json) as partial:
                partial.write_text(text)
    if chosen.out:
        colours = shown.colours_of(preprocess)
        drawn = shown.figures(seen, images[0], *colours)
        with atomic.writing(chosen.out) as partial:
            partial.write_text(shown.page(seen, said, drawn, notes), encoding="utf-8")
        log.info("The page is %s: open it in a browser.", chosen.out)


def _preprocess(known: dict[str, Any], chosen: argparse.Namespace) -> dict[str, Any]:
    """With what the command line says; timm's way to fill a crop is none that there is here."""
    known = {name: of for name, of in known.items() if name != "crop_mode"}
    if chosen.crop:
        known |= {"crop": chosen.crop, "resize": chosen.resize or round(chosen.crop / 0.875)}
    elif chosen.resize:
        known["resize"] = chosen.resize
    known |= {name: of for name, of in (("mean", chosen.mean), ("std", chosen.std)) if of}
    means, stds = (len(known.get(name, (0, 0, 0))) for name in ("mean", "std"))
    if means != stds:
        raise InputError(f"--mean has {means} numbers and --std {stds}: give one of each a band")
    return known
