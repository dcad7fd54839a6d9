"""How the workflow reads what the cases damage: the one place that knows the library's names."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from deadpixel import erf, erf_blocks, training
from deadpixel.data import archives, evaluation, folders, layouts, packs, retrieval
from deadpixel.files import maps, parquet, resume, schemas
from deadpixel.networks import checkpoints
from deadpixel.operations import costs

CUB = {"classes": 3, "images": 21, "test_images": 9}
SHARES = {"train": 0.5, "valid": 0.25, "test": 0.25}


def unpack(archive: Path, folder: Path, inner: str | None = None) -> None:
    archives.unpack(archive, folder, inner=inner)


def split_cub(root: Path) -> pd.DataFrame:
    return layouts.manifest(root, "cub200", SHARES, seed=0, contents=CUB)


def split_folder(root: Path, exclude: list[str]) -> pd.DataFrame:
    manifest = layouts.manifest(root, "folders", SHARES, seed=0, exclude=exclude)
    packs.pack(manifest, root, root.parent / "images.arrow", {})
    return manifest


def decode(file: Path) -> np.ndarray:
    """By way of a pack: what an image loses is said where it is packed."""
    row = pd.DataFrame({"path": [file.name], "sha256": folders.checksums([file])})
    packs.pack(row, file.parent, file.parent / "images.arrow", {})
    return packs.Pack(file.parent / "images.arrow")[0]


def pack(rows: pd.DataFrame, root: Path, manifest: Path, output: Path) -> None:
    """The manifest and the pack of images; rows: path, label, class_name and split."""
    rows = rows.assign(sha256=folders.checksums([root / path for path in rows["path"]]))
    parquet.write(rows, manifest, schemas.MANIFEST, {"seed": 0})
    packs.pack(rows, root, output, {})


def read_pack(pack: Path, manifest: Path) -> list[np.ndarray]:
    """Every image of a data set as a network sees it."""
    rows = parquet.read(manifest, schemas.MANIFEST)
    transform = evaluation.evaluation_transform(20, 16)
    chosen = evaluation.evaluation_images(pack, rows, "test", transform)
    return [chosen[index].numpy() for index in range(len(chosen))]


def write_map(frame: pd.DataFrame, file: Path) -> None:
    parquet.write(frame, file, schemas.ERF, {"n_images": 3, "seed": 0})


def read_map(file: Path) -> np.ndarray:
    return maps.read(file).mean


def read_rows(file: Path) -> pd.DataFrame:
    return parquet.read(file, schemas.MANIFEST)


def read_provenance(file: Path) -> dict[str, Any]:
    return parquet.read_provenance(file)


def load_checkpoint(model: nn.Module, file: Path) -> nn.Module:
    return checkpoints.load(model, file)


def save_checkpoint(model: nn.Module, file: Path) -> None:
    checkpoints.save(model, file, {"seed": 0})


def field(model: nn.Module, batch: torch.Tensor, target: str, **more: Any) -> np.ndarray:
    found = erf.accumulate(model, batch, [target], **more)
    return found[target].mean


def predicted(model: nn.Module, batch: torch.Tensor) -> list[int]:
    batches = batch.split(3)
    labels = [torch.zeros(len(part), dtype=torch.int64) for part in batches]
    return training.predict(model, zip(batches, labels, strict=True))[0].tolist()


def scratch(folder: Path, **settings: Any) -> resume.Scratch:
    return resume.Scratch(folder, [], **settings)


def fit(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, kept: resume.Scratch, epochs: int
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


def blocks(model: nn.Module, chosen: Any, kept: resume.Scratch) -> dict[int, Any]:
    settings = {"logit": "predicted", "batch_size": 4}
    found, _ = erf_blocks.accumulate_blocks(model, chosen, {"stem": "stem"}, 3, kept, **settings)
    return {number: fields["stem"] for number, fields in found.items()}


def retrieve(entry: dict, root: Path, downloads: Path, link: Path) -> None:
    retrieval.retrieve(retrieval.Published(**entry), root, downloads, link)


def read_records(folder: Path) -> list[costs.Record]:
    return costs.read_records(folder)
