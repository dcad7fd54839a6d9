"""The lists of mutants, which `tests/mutants/run.py` takes by hand, are of the code as it is."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LISTS = sorted((ROOT / "tests/mutants").rglob("*.yaml"))


@pytest.mark.parametrize("file", LISTS, ids=lambda file: file.stem)
def test_every_mutant_changes_one_place(file):
    module = file.relative_to(ROOT / "tests/mutants").with_suffix(".py")
    source = (ROOT / "scripts/deadpixel" / module).read_text()
    listing = yaml.safe_load(file.read_text())
    for old, new in listing["mutants"]:
        assert source.count(old) == 1, old
        assert new != old
    for test in listing.get("tests", [f"test_{file.stem}.py"]):
        name, _, function = test.partition("::")
        text = (ROOT / "tests/unit" / name).read_text()
        assert not function or f"\ndef {function}(" in text, test
