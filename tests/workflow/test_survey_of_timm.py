"""`survey.timm`: which of timm's architectures are surveyed, as a dry run says."""

import csv
import re
from pathlib import Path

import pytest

LISTED = Path(__file__).resolve().parents[2] / "data/timm_architectures.csv"


@pytest.fixture
def listed():
    return [*csv.DictReader(LISTED.read_text().splitlines())]


def surveyed(checkout, **settings):
    overlay = {"survey": {"networks_per_job": 5000, **settings}}
    status, output = checkout.snakemake("survey", "-n", overlay=overlay)
    assert status == 0, output
    return re.findall(r"timm:(\w+)", output)


def test_the_smallest_of_each_family_of_each_size_in_it_or_all(checkout, listed):
    """Those that take images of one other size alone are left out."""
    of_224 = [row for row in listed if row["side"] in ("", "224")]
    families = surveyed(checkout, timm="families")
    sizes = surveyed(checkout, timm="sizes")
    everything = surveyed(checkout, timm="all")
    assert everything == [row["architecture"] for row in of_224]
    smallest = {}
    for row in sorted(of_224, key=lambda row: -int(row["parameters"])):
        smallest[row["family"]] = int(row["parameters"])
    parameters = {row["architecture"]: int(row["parameters"]) for row in listed}
    assert sorted(parameters[name] for name in families) == sorted(smallest.values())
    assert {*families} < {*sizes} < {*everything}
    octaves = {(row["family"], int(row["parameters"]).bit_length()) for row in of_224}
    assert len(sizes) == len(octaves)


def test_beside_networks_by_name(checkout):
    assert surveyed(checkout, networks=["timm:resnet18"], timm=None) == ["resnet18"]
