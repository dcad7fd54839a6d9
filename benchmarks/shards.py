"""Maps of one network in shards: one worker after the other against all at once, a thread each.

    python benchmarks/shards.py [resnet18] [--shards 2] [--images 96]

A worker is a process from its imports to its file; the merge of the files is counted, too. Checks
that maps of all shards are those of one pass.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from deadpixel import erf_blocks
from deadpixel.data import packs
from deadpixel.data.evaluation import EvaluationImages, evaluation_transform
from deadpixel.files import maps, parquet, resume, schemas
from deadpixel.files.effective import joined
from deadpixel.networks import zoo

BLOCKS = 10
FILES = "shards={}/block={}/sums.parquet"


def work(model: str, n_images: int, shard: int, shards: int, folder: Path) -> None:
    """What one job does."""
    torch.set_num_threads(1)
    pack = packs.Pack(folder / "images.arrow")
    chosen = EvaluationImages(pack, np.arange(n_images), [0] * n_images, evaluation_transform())
    blocks, _ = erf_blocks.accumulate_blocks(
        zoo.build(model),
        chosen,
        {"layer4": "layer4"},
        BLOCKS,
        resume.Scratch(folder / "scratch", [], shard=shard, shards=shards),
        shard=shard,
        shards=shards,
        logit="predicted",
        batch_size=8,
    )
    for number, fields in blocks.items():
        path = folder / FILES.format(shards, number)
        parquet.write(maps.block_to_frame(fields), path, schemas.BLOCK, {})


def write_pack(n_images: int, folder: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(n_images)]
    for name in names:
        pixels = rng.integers(0, 255, (256, 256, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    rows = [(name, packs.checksum(folder / name)) for name in names]
    manifest = pd.DataFrame(rows, columns=["path", "sha256"])
    packs.pack(manifest, folder, folder / "images.arrow", {})


def seconds(model: str, n_images: int, shards: int, folder: Path) -> float:
    """Wall time of all workers at once and of the merge."""
    command = [sys.executable, __file__, model, "--images", str(n_images), "--worker"]
    start = time.perf_counter()
    workers = [
        subprocess.Popen([*command, str(shard), str(shards), str(folder)])
        for shard in range(shards)
    ]
    assert all(worker.wait() == 0 for worker in workers)
    merged(shards, folder)
    return time.perf_counter() - start


def merged(shards: int, folder: Path) -> np.ndarray:
    files = folder.glob(FILES.format(shards, "*"))
    blocks = maps.read_blocks(files)["layer4"]
    return joined(blocks).mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="resnet18")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        shard, shards, folder = arguments.worker
        work(arguments.model, arguments.images, int(shard), int(shards), Path(folder))
        return
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        write_pack(arguments.images, folder)
        alone, together = (
            seconds(arguments.model, arguments.images, shards, folder)
            for shards in (1, arguments.shards)
        )
        one, many = merged(1, folder), merged(arguments.shards, folder)
        apart = np.abs(one - many).max() / np.abs(one).max()
    print(f"one worker {alone:.1f} s, {arguments.shards} workers {together:.1f} s: ", end="")
    print(f"{together / alone:.2f} of the time; largest difference {apart:.1e}")


if __name__ == "__main__":
    main()
