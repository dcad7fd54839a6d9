"""Print timm_architectures.csv: what timm has weights of, by family and size, for the survey."""

import csv
import sys
from collections.abc import Iterator

import timm
import torch
from timm.models import get_arch_name

COLUMNS = ["architecture", "family", "parameters", "side"]


def architectures() -> list[str]:
    """Their names, of which each may have weights by several; not those of timm's own tests."""
    found = {get_arch_name(name) for name in timm.list_pretrained()}
    return sorted(name for name in found if not name.startswith("test_"))


def row(architecture: str) -> dict[str, str]:
    """family: timm's module. side: of the only images that it takes, px, or empty."""
    with torch.device("meta"):
        network = timm.create_model(architecture)
    said = network.pretrained_cfg
    return {
        "architecture": architecture,
        "family": timm.models._registry._model_to_module[architecture],
        "parameters": str(sum(parameter.numel() for parameter in network.parameters())),
        "side": str(said["input_size"][-1]) if said.get("fixed_input_size") else "",
    }


def rows() -> Iterator[dict[str, str]]:
    """Families by name, small networks first."""
    found = map(row, architectures())
    yield from sorted(found, key=lambda of: (of["family"], int(of["parameters"])))


if __name__ == "__main__":
    table = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows())
