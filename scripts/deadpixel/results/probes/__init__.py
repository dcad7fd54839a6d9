"""What dead pixels do: tables of each probe, and the figure of all."""

from collections.abc import Iterator
from typing import Any

import pandas as pd


def networks(rows: pd.DataFrame) -> Iterator[tuple[dict[str, Any], Any]]:
    """Model and kernels of each network, and its rows."""
    groups: Any = rows.groupby(["model", "kernels"], sort=False)
    for (model, kernels), of_network in groups:
        yield {"model": model, "kernels": kernels}, of_network
