"""A workflow with every table and figure, of few small images and an own small network."""

from pathlib import Path

import pandas as pd
import yaml

from workflow.conftest import Checkout

OVERLAY = {
    "device": "auto",
    "datasets": {"drawn": {"source": "synthetic", "classes": 2, "images_per_class": 16}},
    "split": {"train": 0.5, "valid": 0.25, "test": 0.25},
    "preprocess": {"resize": 70, "crop": 64},
    "calibration": {"images": 4, "batch_size": 2},
    "erf": {"blocks": 3, "batch_size": 2},
    "models": {"mine": {"source": "net.py:build", "targets": {"layer3": "stem", "layer4": "deep"}}},
    "size_test": {"dataset": "drawn", "weights": "calibrated", "models": ["mine"]},
    "training": {"augmentation": {"resized_crop": 70, "crop": 64}},
    "finetune": {
        "dataset": "drawn",
        "weights": "calibrated",
        "models": ["mine"],
        "repeated": {"models": [], "seeds": [0]},
        "epochs": 20,
        "batch_size": 8,
    },
    "shape_test": {"model": "mine"},
    "microobject": {
        "dataset": "drawn",
        "models": ["mine"],
        "seeds": [0],
        "epochs": 20,
        "batch_size": 16,
    },
}
# A file of the name `slow` says how many seconds a forward pass takes; `passes` then counts them.
NETWORK = """
import contextlib
import time
from pathlib import Path

from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(True))
        self.deep = nn.Conv2d(8, 8, 3, 2, 1)
        self.head = nn.Linear(8, 2)

    def forward(self, image):
        with contextlib.suppress(FileNotFoundError):
            time.sleep(float(Path("slow").read_text()))
            with Path("passes").open("a") as file:
                file.write(".")
        return self.head(self.deep(self.stem(image)).mean((2, 3)))

def build():
    return Net()
"""


def small_checkout(folder: Path, network: str = NETWORK, shards: int = 1) -> Checkout:
    checkout = Checkout(folder)
    overlay = {**OVERLAY, "erf": {**OVERLAY["erf"], "shards": shards}}
    (folder / "mine.yaml").write_text(yaml.safe_dump(overlay))
    (folder / "net.py").write_text(network)
    return checkout


def results(folder: Path) -> dict[str, pd.DataFrame]:
    """Every Parquet file, without the seconds that something took."""
    return {
        str(file.relative_to(folder)): pd.read_parquet(file, partitioning=None).drop(
            columns="seconds", errors="ignore"
        )
        for file in folder.glob("results/**/*.parquet")
    }


def assert_same(found: dict[str, pd.DataFrame], expected: dict[str, pd.DataFrame]) -> None:
    """The same files with the same numbers, to the last bit."""
    assert found.keys() == expected.keys()
    for path, frame in found.items():
        pd.testing.assert_frame_equal(frame, expected[path], check_exact=True, obj=path)
