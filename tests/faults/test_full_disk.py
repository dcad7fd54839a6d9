"""A full disk: one line that names the file, nothing finished is lost or done again."""

import re
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from deadpixel.data import packs, synthetic
from deadpixel.files import parquet, resume, schemas
from deadpixel.networks import checkpoints
from deadpixel.results import style
from faults.conftest import COMMAND, kill_all, slow_checkout
from packs import listed
from small import assert_same, results

# All but the fine-tuning.
TARGETS = ("results/tables/table1.parquet", "results/tables/table4.parquet")
FULL = re.compile(
    r"ERROR \[Errno 28\] .*No space left on device: 'results/.+': make room and run again; "
    "what is finished is kept"
)


class Disk:
    """A small one, in memory."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        mounted = self._mount("size=64k")
        if mounted.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")

    def _mount(self, options: str) -> subprocess.CompletedProcess:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    def resize(self, size: int) -> None:
        assert self._mount(f"remount,size={size}").returncode == 0

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.folder)], check=True)


@pytest.fixture
def checkout(tmp_path):
    yield slow_checkout(tmp_path / "checkout")
    kill_all(tmp_path / "checkout")


@pytest.fixture
def disk(checkout):
    disk = Disk(checkout.folder / "results")
    try:
        yield disk
    finally:
        disk.unmount()


def finished(disk: Disk) -> dict[Path, int]:
    """Times of change of the results."""
    found = [path for path in disk.folder.rglob("*") if path.is_file()]
    return {path: path.stat().st_mtime_ns for path in found if ".scratch" not in path.parts}


def size_of(folder: Path) -> int:
    """Bytes that its files take in whole pages, a page for each folder included."""
    return sum(-(-path.stat().st_size // 4096) * 4096 + 4096 for path in folder.rglob("*"))


def test_after_room_is_made_the_same_command_finishes(reference, checkout, disk):
    data = reference / "results/data/dataset=drawn"
    pictures, pack = size_of(data / "images"), (data / "images.arrow").stat().st_size
    kept: dict[Path, int] = {}
    for size in (pictures // 2, pictures + pack // 2, pictures + pack + 300_000):
        disk.resize(size)
        status, output = checkout.run(*COMMAND, "--", *TARGETS)
        assert status != 0
        assert FULL.search(output), output
        assert "Traceback" not in output
        now = finished(disk)
        assert kept.items() <= now.items(), "what was finished is lost or was done again"
        assert len(now) > len(kept)
        kept = now
        assert not [path for path in kept if ".partial" in path.name]
    disk.resize(64_000_000)
    status, output = checkout.run(*COMMAND, "--", *TARGETS)
    assert status == 0, output
    assert kept.items() <= finished(disk).items()
    found, expected = results(checkout.folder), results(reference)
    assert_same(found, {path: expected[path] for path in found})


def _frame(rows: int) -> pd.DataFrame:
    numbers = np.random.default_rng(0).random(rows)
    return pd.DataFrame({"row": 0, "col": 0, "mean": numbers, "se": numbers})


def _write_figure(file: Path) -> None:
    figure, axes = plt.subplots()
    axes.imshow(np.random.default_rng(0).random((300, 300)), interpolation="nearest")
    style.save(figure, [file])


def _write_pack(file: Path, source: Path) -> None:
    synthetic.generate(source, classes=1, images_per_class=1, seed=0)
    names = [f"{synthetic.CLASSES[0]}/image_0001.jpg"]
    packs.pack(listed(names, source), source, file, {})


WRITERS = {
    "map.parquet": lambda file: parquet.write(_frame(20_000), file, schemas.ERF, {}),
    "state.npz": lambda file: resume.Scratch(file.parent, []).save(
        "state", {"state": np.ones(20_000)}
    ),
    "weights.safetensors": lambda file: checkpoints.save(torch.nn.Linear(200, 200), file, {}),
    "figure.png": _write_figure,
    "figure.svg": _write_figure,
    "figure.pdf": _write_figure,
    "image_0003.jpg": lambda file: synthetic.generate(
        file.parent, classes=1, images_per_class=9, seed=0
    ),
    "images.arrow": lambda file: _write_pack(file, file.parents[1] / "pictures"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_names_its_file_and_leaves_nothing_half(disk, name):
    with pytest.raises(OSError, match=f"No space left on device: '.*{name}'") as error:
        WRITERS[name](disk.folder / name)
    assert error.value.errno == 28
    assert not [*disk.folder.rglob(".*")]
    assert not [*disk.folder.rglob(name)]
