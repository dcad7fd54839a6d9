"""Three maps of the network: as trained, then fine-tuned with odd and with even kernels.

PYTHONPATH=scripts python examples/efficientnet_lite0/picture.py picture.png
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from deadpixel.files import maps, parquet, schemas
from deadpixel.results import erf_maps, fields, style

RESULTS = Path("results/efficientnet_lite0")
ROW, TARGET = "odd", "stride32"
TITLES = {
    ("file", "odd"): "as trained on ImageNet",
    ("finetuned", "odd"): "two epochs, odd kernels",
    ("finetuned", "padded"): "two epochs, padded kernels",
}
TITLE = "EfficientNet-Lite0, its last map\n200 synthetic images"


def of_each(name: str) -> Iterator[tuple[str, str, Path]]:
    """The title and the kernels of each of the three, and where its file of that name is."""
    for (weights, kernels), title in TITLES.items():
        key = f"dataset=images/model=efficientnet_lite0/weights={weights}/kernels={kernels}"
        yield title, kernels, RESULTS / name.format(key=key, kernels=kernels)


def rows(name: str, schema: Any) -> pd.DataFrame:
    """Those of the target, which has the title of its map for a name."""
    found = [
        parquet.read(path, schema).assign(title=title, kernels=ROW)
        for title, _, path in of_each(name)
    ]
    of_target: Any = pd.concat(found).query("target == @TARGET")
    return of_target.assign(target=of_target["title"]).drop(columns="title")


def main(png: str) -> None:
    """Draw what the workflow stored."""
    stored = maps.read_each(
        [str(path) for *_, path in of_each(f"erf/{{key}}/target={TARGET}/erf.parquet")]
    )
    means = {title: field.mean for title, field in zip(TITLES.values(), stored, strict=True)}
    tiles = fields.tiles_of(rows("fields/{key}/tiles.parquet", schemas.TILES))
    fits = rows("fields/{key}/fits.parquet", schemas.FITS)
    trf = rows("trf/model=efficientnet_lite0/kernels={kernels}/trf.parquet", schemas.TRF)
    indexed = (frame.set_index(["kernels", "target"]) for frame in (fits, trf))
    style.save(erf_maps.figure({ROW: means}, tiles, *indexed, TITLE), [png])


if __name__ == "__main__":
    main(sys.argv[1])
