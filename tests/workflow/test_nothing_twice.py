"""What is planned again after a change: all that it changes, and nothing else. Dry runs only."""

import json
import re
from pathlib import Path

import pytest
import yaml

from small import OVERLAY, small_checkout

OF_MAPS = "/erf|/fields/|fits|imbalance|extent|receptive_fields|table[12]|correlations|fig[14]"
FORWARD = {"model": "mine", "size": [64, 64], "flops": 9, "parameters": 8, "activations": 7}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workflow whose results Snakemake takes for finished, though they hold nothing."""
    checkout = small_checkout(tmp_path_factory.mktemp("finished") / "checkout")
    for name in checkout.planned("--configfile", "mine.yaml"):
        write(checkout.folder / name)
    command = ("--touch", "--forceall", "--cores", "1", "--configfile", "mine.yaml")
    status, output = checkout.snakemake(*command)
    assert status == 0, output
    return checkout


def write(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.name == "images":
        file.mkdir(exist_ok=True)
    elif file.name == "flops.json":
        file.write_text(json.dumps([{**FORWARD, "kernels": kind} for kind in ("odd", "padded")]))
    else:
        file.write_text("{}")


def planned(checkout, overlay=None) -> set[str]:
    """Rules that have something to make with this overlay in place of the usual one."""
    (checkout.folder / "other.yaml").write_text(yaml.safe_dump(overlay or OVERLAY))
    return {*checkout.planned("--configfile", "other.yaml").values()}


def test_fewer_blocks_are_other_errors(finished):
    fewer = {**OVERLAY, "erf": {**OVERLAY["erf"], "blocks": 2}}
    assert {"accumulate_erf", "measure_fields"} <= planned(finished, fewer)


def test_another_definition_is_measured_beside_the_papers(finished):
    """With the same weights, in a folder of its own."""
    erf = {**OVERLAY["erf"], "definition": "absolute"}
    (finished.folder / "other.yaml").write_text(yaml.safe_dump({**OVERLAY, "erf": erf}))
    files = finished.planned("--configfile", "other.yaml")
    rules = {*files.values()}
    assert {"accumulate_erf", "measure_fields", "collect_fields", "make_size_test"} <= rules
    assert not rules & {"calibrate_weights", "finetune_model", "compute_trf"}
    measured = [file for file in files if re.search(OF_MAPS, file)]
    assert len(measured) > 20
    assert all(file.startswith("results/definition=absolute/") for file in measured)


@pytest.fixture
def edit(finished):
    """Change a file of the library or a script, until the end of the test."""
    before = {}

    def change(name: str, old: str, new: str) -> None:
        file = finished.folder / "scripts" / name
        before[file] = file.read_text()
        assert old in before[file]
        file.write_text(before[file].replace(old, new, 1))

    yield change
    for file, text in before.items():
        file.write_text(text)


def test_prose_and_knobs_compute_nothing_again(finished, edit):
    edit("deadpixel/erf.py", '"""Effective receptive fields:', '"""Said otherwise:')
    edit("deadpixel/files/parquet.py", "import contextlib\n", "# a comment\nimport contextlib\n")
    edit("accumulate_erf.py", "import time\n", "# a comment\nimport time\n")
    knobs = {"erf": {**OVERLAY["erf"], "batch_size": 5, "shards": 2}, "jobs_per_device": 3}
    assert not planned(finished, {**OVERLAY, **knobs, "device": "cpu"})


def test_code_computes_what_imports_it_again(finished, edit):
    edit("deadpixel/gaussian.py", "\nimport lmfit", "\nCHANGED = 1\nimport lmfit")
    found = planned(finished)
    assert "measure_fields" in found
    assert not found & {"accumulate_erf", "finetune_model"}


def test_a_target_needs_its_own_networks_only(finished):
    """Of the paper's nine networks one, and one kind of kernels."""
    size_test = {"dataset": "drawn", "weights": "calibrated", "models": ["resnet18"]}
    overlay = {
        "datasets": OVERLAY["datasets"],
        "size_test": size_test,
        "finetune": {"dataset": "drawn"},
    }
    (finished.folder / "one.yaml").write_text(yaml.safe_dump(overlay))
    files = [*finished.planned("size_test", "--configfile", "one.yaml")]
    assert {*re.findall(r"model=(\w+)", "\n".join(files))} == {"resnet18"}
    assert not [file for file in files if "padded" in file]
    assert any(file.endswith("weights=calibrated/kernels=odd/imbalance.parquet") for file in files)


PARSING = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "pyarrow", "torchvision", "PIL"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
from snakemake.cli import main
try:
    main(sys.argv[1:])
finally:
    assert not [path for path in sys.path if path.endswith("/scripts")]
"""


def test_planning_imports_no_torch_and_no_pyarrow(finished):
    """With conda they are not in Snakemake's own environment; records are read all the same.

    A damaged one stops nothing, and is named in one line.
    """
    file = finished.folder / "results/benchmarks/accumulate_erf/cut.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('{"rule_name": "accum')
    command = ("-n", "--forceall", "--configfile", "mine.yaml")
    status, output = finished.run("python", "-c", PARSING, *command)
    assert status == 0, output
    assert "accumulate_erf" in output
    assert output.count("passed over 1 damaged records") == 1
    assert "accumulate_erf/cut.jsonl" in output and "Traceback" not in output
