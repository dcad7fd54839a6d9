"""How the workflow reads what the cases damage: the one place that knows the library's names."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from deadpixel import (
    archives,
    costs,
    cub200,
    datasets,
    erf,
    images,
    maps,
    models,
    preprocessing,
    retrieval,
    store,
    training,
)

CUB = {"classes": 3, "images": 21, "test_images": 9}
SHARES = {"train": 0.5, "valid": 0.25, "test": 0.25}


def unpack(archive: Path, folder: Path, inner: str | None = None) -> None:
    archives.unpack(archive, folder, inner=inner)


def split_cub(root: Path) -> pd.DataFrame:
    """As scripts/split_dataset.py does."""
    manifest = cub200.scan(root)
    datasets.check_contents(manifest, root, **CUB)
    return manifest


def split_folder(root: Path, exclude: list[str]) -> pd.DataFrame:
    """As scripts/split_dataset.py does."""
    manifest = datasets.split(datasets.scan(root, exclude=exclude), SHARES, seed=0)
    datasets.check_labels(manifest, root)
    images.pack(manifest, root, root.parent / "images.arrow", {})
    return manifest


def decode(file: Path) -> tuple[tuple[int, int], np.ndarray]:
    """By way of a pack: what an image loses is said where it is packed."""
    row = pd.DataFrame({"path": [file.name]}).join(datasets.measure(file.parent, [file.name]))
    images.pack(row, file.parent, file.parent / "images.arrow", {})
    size = int(row["width"].iloc[0]), int(row["height"].iloc[0])
    return size, images.Pack(file.parent / "images.arrow")[0]


def pack(rows: pd.DataFrame, root: Path, manifest: Path, output: Path) -> None:
    """The manifest and the pack of images; rows: path, label, class_name and split."""
    rows = rows.join(datasets.measure(root, rows["path"]))
    store.write(rows, manifest, store.MANIFEST, {"seed": 0})
    images.pack(rows, root, output, {})


def read_pack(pack: Path, manifest: Path) -> list[np.ndarray]:
    """Every image of a data set as a network sees it."""
    rows = store.read(manifest, store.MANIFEST)
    chosen = preprocessing.evaluation_images(pack, rows, "test", resize=20, crop=16)
    return [chosen[index].numpy() for index in range(len(chosen))]


def write_map(frame: pd.DataFrame, file: Path) -> None:
    store.write(frame, file, store.ERF, {"n_images": 3, "seed": 0})


def read_map(file: Path) -> np.ndarray:
    return maps.read(file).mean


def read_rows(file: Path) -> pd.DataFrame:
    return store.read(file, store.MANIFEST)


def read_provenance(file: Path) -> dict[str, Any]:
    return store.read_provenance(file)


def load_checkpoint(model: nn.Module, file: Path) -> nn.Module:
    return models.load_checkpoint(model, file)


def save_checkpoint(model: nn.Module, file: Path) -> None:
    models.save_checkpoint(model, file, {"seed": 0})


def field(model: nn.Module, batch: torch.Tensor, target: str, **more: Any) -> np.ndarray:
    found = erf.accumulate(model, batch, [target], **more)
    return found[target].mean


def predicted(model: nn.Module, batch: torch.Tensor) -> list[int]:
    batches = batch.split(3)
    labels = [torch.zeros(len(part), dtype=torch.int64) for part in batches]
    return training.predict(model, zip(batches, labels, strict=True))[0].tolist()


def scratch(folder: Path, **settings: Any) -> store.Scratch:
    return store.Scratch(folder, [], **settings)


def fit(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, kept: store.Scratch, epochs: int
) -> list[dict]:
    """Rows of a training run that keeps its state after every epoch."""
    train = training.epoch_batches(lambda epoch, chosen: images[chosen], labels, 4, 0)
    recipe = training.Recipe(3, 0.05, 0.9, 5e-4, 0)
    rows = training.fit(
        model,
        train,
        {"valid": lambda: [(images, labels)]},
        recipe,
        kept,
        device=torch.device("cpu"),
        seconds_between_saves=-1,
    )
    return [row for row, _ in zip(rows, range(epochs), strict=False)]


def blocks(model: nn.Module, chosen: Any, kept: store.Scratch) -> dict[int, Any]:
    return erf.accumulate_blocks(model, chosen, ["stem"], 3, kept, logit="predicted", batch_size=4)[
        "stem"
    ]


def retrieve(entry: dict, root: Path, downloads: Path, link: Path) -> None:
    retrieval.retrieve(retrieval.Published(**entry), root, downloads, link)


def read_records(folder: Path) -> list[costs.Record]:
    return costs.read_records(folder)
