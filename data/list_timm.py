"""Print timm.csv: the weights and the evaluation transform of each network that timm has."""

import csv
import sys
from collections.abc import Iterator

import timm
from timm.models import get_pretrained_cfg

from deadpixel.networks.zoo import timm_transform

COLUMNS = ["name", "repository", "resize", "crop", "interpolation", "mean", "std"]


def rows() -> Iterator[dict[str, str]]:
    """Of each network whose weights are timm's own and whose images are filled up with nothing."""
    for name in timm.list_pretrained():
        said = get_pretrained_cfg(name)
        if said and (said.hf_hub_id or "").startswith("timm/") and said.crop_mode != "border":
            transform = timm_transform(said.to_dict())
            lists = {key: " ".join(map(str, _listed(value))) for key, value in transform.items()}
            yield {"name": name, "repository": said.hf_hub_id, **lists}


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


if __name__ == "__main__":
    table = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows())
