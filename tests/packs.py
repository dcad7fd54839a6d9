"""Packs for tests."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from deadpixel.data import packs


def listed(names: Sequence[str], folder: Path) -> pd.DataFrame:
    """What a manifest says of image files: their paths and checksums."""
    return pd.DataFrame(
        {"path": [*names], "sha256": [packs.checksum(folder / name) for name in names]}
    )
