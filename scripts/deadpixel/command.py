"""The command line: ``deadpixel look SOURCE`` says what a network looks at.

``deadpixel doctor`` says what on a machine stands in the way.
"""

import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .errors import InputError, naming
from .files import atomic
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
        return chosen.run(chosen)
    except InputError as error:
        print(f"deadpixel: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("deadpixel: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deadpixel", description="Which pixels a network looks at."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_look(commands)
    _add_doctor(commands)
    return parser


def _add_look(commands: Any) -> None:
    look = commands.add_parser(
        "look",
        help="what one network looks at",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    look.set_defaults(run=_look)
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


def _add_doctor(commands: Any) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="what on this machine stands in the way of a run",
        description="Check this machine; a GPU is also tried. The exit status is 1 if there is a "
        "problem. Run it in your clone of the workflow, if you have one.",
    )
    doctor.set_defaults(run=_doctor)
    doctor.add_argument("--results", type=Path, default=Path("results"), metavar="FOLDER")
    doctor.add_argument("--offline", action="store_true", help="ask no server")
    doctor.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto", help="to try")
    doctor.add_argument("--json", type=Path, metavar="FILE", help="the findings; - prints them")


def _whole(text: str) -> int:
    if not text.isdecimal() or text.strip("0") == "":
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _look(chosen: argparse.Namespace) -> int:
    _check_folders(chosen.out, chosen.json, chosen.parquet)
    from . import look as looking  # which import PyTorch: --help need not wait for it
    from .data import loose
    from .data.evaluation import evaluation_transform
    from .files import maps, parquet, schemas
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
        _put(chosen.json, {**facts, "targets": shown.numbers(seen)})
    if chosen.out:
        colours = shown.colours_of(preprocess)
        drawn = shown.figures(seen, images[0], *colours)
        with atomic.writing(chosen.out) as partial:
            partial.write_text(shown.page(seen, said, drawn, notes), encoding="utf-8")
        log.info("The page is %s: open it in a browser.", chosen.out)
    return 0


def _doctor(chosen: argparse.Namespace) -> int:
    _check_folders(chosen.json)
    from .doctor import checks, findings

    place = findings.Place(Path(), chosen.results, chosen.offline)
    is_printed = str(chosen.json) == "-"
    found = []
    with _only_errors():
        for finding in checks.examine(place, chosen.device):
            found.append(finding)
            if not is_printed:
                print(finding, flush=True)
    if not is_printed:
        print(findings.summary(found))
    if chosen.json:
        _put(chosen.json, [asdict(finding) for finding in found])
    return int(any(finding.state == "problem" for finding in found))


@contextlib.contextmanager
def _only_errors() -> Iterator[None]:
    """What is called says nothing beside the findings."""
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _check_folders(*files: Path | None) -> None:
    for path in files:
        if path and not path.absolute().parent.is_dir():
            raise InputError(f"{path}: there is no folder {path.absolute().parent}; make it first")


def _put(file: Path, content: Any) -> None:
    """As JSON into the file; - is the terminal."""
    text = json.dumps(content, indent=1, default=str)
    if str(file) == "-":
        print(text)
    else:
        with atomic.writing(file) as partial:
            partial.write_text(text)


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
