"""The paper's numbers, and what they are of: beside ours only where ours are of the same."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

_TABLES = Path(__file__).parent / "paper"
_TRAINING = {
    "data set": "caltech101",
    "batch size": 64,
    "learning rate": 0.01,
    "momentum": 0.9,
    "weight decay": 5e-4,
    "shares": [0.7, 0.15, 0.15],
    "resized crop": 256,
    "scale": [0.8, 1.0],
    "rotation": 15,
    "training crop": 224,
}
_FIELDS = {
    "split": "test",
    "images": "all",
    "target": "layer4",
    "definition": "kim",
    "precision": None,
    "resize": 256,
    "crop": 224,
    "interpolation": "bilinear",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
SETTINGS: dict[str, dict[str, Any]] = {
    "size test": {"data set": "cub200", "weights": "imagenet", **_FIELDS},
    "fine-tuning": {**_TRAINING, "weights": "imagenet", "epochs": 200, "changed kernels": "zero"},
    "fields after fine-tuning": _FIELDS,
    "micro-object": {
        **_TRAINING,
        "epochs": 50,
        "changed kernels": "random",
        "square": 8,
        "threshold": 0.9,
        "images": "all",
    },
}
_ARITHMETIC = {"trf": {"target", "crop"}}  # what the theoretical size depends on


def table(number: int) -> pd.DataFrame:
    """Table 1, 2, 3 or 4 as printed in the paper, one row per model."""
    return pd.read_csv(_TABLES / f"table{number}.csv")


def differences(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """How our settings differ from the paper's, a phrase each by the name of the setting.

    settings: by the names of `SETTINGS`, each with all of that one's keys.
    """
    return {
        name: f"{name}: {settings[part][name]} instead of {theirs}"
        for part in settings
        for name, theirs in SETTINGS[part].items()
        if settings[part][name] != theirs
    }


def beside(number: int, networks: Mapping[str, str], differ: Collection[str]) -> pd.DataFrame:
    """The numbers of a table of the paper that may stand beside ours, indexed by our model names.

    networks: torchvision's name of each of our models; those that the paper lacks have no row.
    differ: names of the settings that differ. If any does, nothing measured stays; the theoretical
    size does, unless one differs that it depends on.
    """
    printed = table(number).set_index("model")
    ours = {model: name for model, name in networks.items() if name in printed.index}
    rows = printed.loc[[*ours.values()]].set_axis(pd.Index([*ours], name="model")).astype(float)
    for name in rows:
        if set(differ) & _ARITHMETIC.get(name, set(differ)):
            rows[name] = float("nan")
    return rows


def note(number: int, differ: Mapping[str, str]) -> list[str]:
    """A sentence for readers on why the paper's numbers are left out; none if they are not."""
    if not differ:
        return []
    reasons = "; ".join(differ.values())
    return [
        f"The paper's measured numbers (Table {number}) are left out, because ours are of "
        f"something else: {reasons}."
    ]
