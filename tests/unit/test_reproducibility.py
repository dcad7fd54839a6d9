"""Same seed, same numbers: what that holds for, and where only to rounding."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from deadpixel import microobject, training
from deadpixel.data import augment, draws, splits
from deadpixel.data.draws import Purpose
from deadpixel.files.resume import Scratch
from deadpixel.networks import heads, zoo

ROOT = Path(__file__).resolve().parents[2]
IMAGES = np.arange(500)


def digest(array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def drawn_everywhere() -> dict[str, str]:
    """Digests of every draw of a run of seed 3 in its epoch 2."""
    sizes = 200 + np.stack([IMAGES % 97, IMAGES % 89], axis=1)
    boxes, angles, flips = augment.draw(augment.Augmentation(), 3, 2, IMAGES, sizes)
    labels = pd.DataFrame(
        {"label": IMAGES % 7, "class_name": IMAGES % 7, "path": IMAGES, "sha256": IMAGES}
    )
    split = splits.split(labels, {"train": 0.7, "valid": 0.15, "test": 0.15}, seed=3)["split"]
    return {
        "split": digest(split.map({"train": 0, "valid": 1, "test": 2}).to_numpy(np.int64)),
        "order": digest(np.concatenate(training.shuffled(500, 64, 3, 2))),
        "boxes": digest(boxes),
        "angles": digest(angles),
        "flips": digest(flips),
        "training squares": digest(
            microobject.places(3, Purpose.TRAINING_SQUARES, 2, IMAGES, (224, 224), 8)
        ),
        "test squares": digest(
            microobject.places(3, Purpose.TEST_SQUARES, 0, IMAGES, (224, 224), 8)
        ),
        "seeds": digest(np.array([draws.torch_seed(3, purpose) for purpose in Purpose])),
    }


def initial_weights() -> dict[str, torch.Tensor]:
    """Of normal and of uniform distribution, and a head, all of seed 3."""
    network = zoo.build(f"{Path(__file__).resolve()}:normal_and_uniform", seed=3)
    return heads.replace(network, 5, seed=3).state_dict()


def normal_and_uniform() -> nn.Module:
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = nn.Sequential(nn.Conv2d(3, 32, 7), pooled, nn.Linear(32, 10))
    nn.init.kaiming_normal_(network[0].weight)
    return network


PINNED = {
    "split": "a312bd2b8e57993b",
    "order": "76cc58f492740d4d",
    "boxes": "934d74ce670615b7",
    "angles": "ea3e801910e3df5e",
    "flips": "5c586d6079fbc8dc",
    "training squares": "52ccbd4db71050ae",
    "test squares": "91ce2e918291bde7",
    "seeds": "1ba976b4c57aacb9",
}


def test_draws_are_those_of_any_other_machine():
    assert drawn_everywhere() == PINNED


SCRIPT = """
import sys
sys.path[:0] = ["scripts", "tests/unit"]
import json, test_reproducibility as this
weights = {name: tensor.tolist() for name, tensor in this.initial_weights().items()}
print(json.dumps([this.drawn_everywhere(), weights]))
"""


@pytest.mark.slow
def test_draws_depend_on_neither_processor_nor_threads():
    """Those of the simplest instructions are the same; initial weights are so to rounding."""
    simple = " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", []))
    environment = {
        **os.environ,
        **{"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
        **{"NPY_DISABLE_CPU_FEATURES": simple, "OMP_NUM_THREADS": "2"},
    }
    printed = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    drawn, weights = json.loads(printed)
    assert drawn == PINNED
    for name, tensor in initial_weights().items():
        error = (torch.tensor(weights[name]) - tensor).abs().max() / tensor.abs().max()
        assert error < 8 * torch.finfo(tensor.dtype).eps, name


def small_network(seed: int) -> nn.Module:
    """With what draws while it trains."""
    with draws.initialising(seed, Purpose.NETWORK):
        stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        return nn.Sequential(stem, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3)).append(
            nn.Linear(8, 8)
        )


@pytest.mark.parametrize("kernels", ["odd", "padded"])
def test_a_run_is_the_same_to_the_bit_on_one_machine(tmp_path, kernels):
    """Draws, augmentation, squares, three epochs of training, evaluation."""
    pixels = [
        np.random.default_rng(i).integers(0, 256, (40, 30 + i, 3), dtype=np.uint8)
        for i in range(12)
    ]
    recipe = training.Recipe(3, 0.05, 0.9, 5e-4, seed=5, precision="bfloat16")

    def run(folder):
        model = training.starting_network(small_network(5), 2, kernels, init="random", seed=5)
        images = augment.BatchedImages(
            pixels, range(12), [0] * 12, augment.Augmentation(36, 32), seed=5, device="cpu"
        )
        train = microobject.training_batches(images, 12, 8, 4, 5)
        test = microobject.evaluation_batches([(images(0, range(12)), torch.zeros(12))], 4, 5)
        scratch = Scratch(tmp_path / folder, [])
        evaluations = {"test": lambda: test}
        rows = [
            *training.fit(model, train, evaluations, recipe, scratch, device=torch.device("cpu"))
        ]
        torch.rand(7)  # what others draw is of no account
        return [{**row, "seconds": 0} for row in rows], model.state_dict()

    (rows, state), (again, same) = run("first"), run("second")
    assert rows == again
    assert all(torch.equal(state[name], same[name]) for name in state)
