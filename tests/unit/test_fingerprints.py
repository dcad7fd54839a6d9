"""A script's fingerprint is that of all it can import, and of what they do, not of their prose."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deadpixel.operations.fingerprints import Fingerprints

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
ALL = sorted(script.stem for script in SCRIPTS.glob("*.py"))
# Importing all that a script does, as it stands, but running nothing of it.
IMPORTS = """
import ast, json, sys
sys.path.insert(0, sys.argv[1])
found = {}
for script in sys.argv[2:]:
    for name in [name for name in sys.modules if name.startswith("deadpixel")]:
        del sys.modules[name]
    tree = ast.parse(open(f"{sys.argv[1]}/{script}.py").read())
    tree.body = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    exec(compile(tree, script, "exec"), {})
    found[script] = [n for n in sys.modules if n.startswith("deadpixel.")]
print(json.dumps(found))
"""


@pytest.fixture
def scripts(tmp_path):
    """A copy to edit."""
    return Path(shutil.copytree(SCRIPTS, tmp_path / "scripts"))


def fingerprints(scripts, cache=Path("nowhere/cache.json")):
    found = Fingerprints(scripts, cache)
    return {name: found.of(name) for name in ALL}


def changed(scripts, module, old, new):
    """Scripts with another fingerprint after an edit."""
    before = fingerprints(scripts)
    file = scripts / "deadpixel" / f"{module}.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    after = fingerprints(scripts)
    return {name for name in ALL if before[name] != after[name]}


@pytest.mark.slow
def test_every_module_that_a_script_imports_is_among_its_own():
    command = [sys.executable, "-c", IMPORTS, str(SCRIPTS), *ALL]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    known = Fingerprints(SCRIPTS, Path("nowhere"))
    for script, imported in json.loads(printed).items():
        assert set(imported) <= set(known.modules(script)), script


def test_imports_inside_functions_and_of_the_package_count(tmp_path):
    library = tmp_path / "deadpixel"
    library.mkdir()
    (library / "__init__.py").write_text("")
    (tmp_path / "run.py").write_text("import deadpixel.one\nfrom deadpixel import two\n")
    (library / "one.py").write_text("def f():\n    from . import three\n")
    (library / "two.py").write_text("from deadpixel.four import x\n")
    for name in ("three", "four", "five"):
        (library / f"{name}.py").write_text("x = 1\n")
    found = Fingerprints(tmp_path, tmp_path / "cache").modules("run")
    assert found == [
        "deadpixel",
        *(f"deadpixel.{name}" for name in ("four", "one", "three", "two")),
    ]


@pytest.mark.slow
def test_prose_changes_nothing(scripts):
    assert not changed(scripts, "erf", '"""Effective receptive fields:', '"""Fields, effective:')
    assert not changed(scripts, "erf", "import itertools\n", "# a comment\nimport itertools\n")


@pytest.mark.slow
def test_a_number_changes_those_that_import_it(scripts):
    assert changed(scripts, "gaussian", "0", "1") == {"measure_fields"}
    assert changed(scripts, "erf", "batch_size: int = 32", "batch_size: int = 33") == {
        "accumulate_erf"
    }
    assert changed(scripts, "errors", "(ValueError)", "(OSError)") >= {
        "accumulate_erf",
        "make_plan",
    }


def test_what_was_kept_is_known_by_contents(scripts, tmp_path):
    """A second reading is the first's; damage is read over."""
    cache = tmp_path / "cache.json"
    first = Fingerprints(scripts, cache)
    expected = first.of("make_plan")
    first.save()
    kept = cache.read_text()
    assert Fingerprints(scripts, cache).of("make_plan") == expected
    for damaged in ("", "[1]", '{"a": 1}', kept[: len(kept) // 2]):
        cache.write_text(damaged)
        assert Fingerprints(scripts, cache).of("make_plan") == expected
    cache.write_text(kept)
    (scripts / "deadpixel/operations/plan.py").write_text("x = 1\n")
    assert Fingerprints(scripts, cache).of("make_plan") != expected
