"""A script's fingerprint is that of all it can import, and of what they do, not of their prose."""

import ast
import shutil
import sys
from pathlib import Path

import pytest

import forked
from deadpixel.operations.fingerprints import Fingerprints

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
ALL = sorted(script.stem for script in SCRIPTS.glob("*.py"))


@pytest.fixture
def scripts(tmp_path):
    """A copy to edit."""
    return Path(shutil.copytree(SCRIPTS, tmp_path / "scripts"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """What is known of the files as they are: only those that a test edits are read again."""
    file = tmp_path_factory.mktemp("known") / "cache.json"
    known = Fingerprints(SCRIPTS, file)
    fingerprints(known)
    known.save()
    return file


def fingerprints(known):
    return {name: known.of(name) for name in ALL}


def changed(scripts, cache, module, old, new):
    """Scripts with another fingerprint after an edit."""
    before = fingerprints(Fingerprints(scripts, cache))
    file = scripts / "deadpixel" / f"{module}.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    after = fingerprints(Fingerprints(scripts, cache))
    return {name for name in ALL if before[name] != after[name]}


def imported():
    """Modules of the library after all imports of each script, as it stands, but no other line."""
    found = {}
    for script in ALL:
        for name in [name for name in sys.modules if name.startswith("deadpixel")]:
            del sys.modules[name]
        tree = ast.parse((SCRIPTS / f"{script}.py").read_text())
        tree.body = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        exec(compile(tree, script, "exec"), {})
        found[script] = {name for name in sys.modules if name.startswith("deadpixel.")}
    return found


@pytest.mark.slow
def test_every_module_that_a_script_imports_is_among_its_own():
    known = Fingerprints(SCRIPTS, Path("nowhere"))
    for script, modules in forked.result(imported).items():
        assert modules <= set(known.modules(script)), script


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


def test_prose_changes_nothing(scripts, cache):
    assert not changed(scripts, cache, "erf", '"""Effective receptive fields:', '"""Fields:')
    assert not changed(scripts, cache, "erf", "import itertools\n", "# why\nimport itertools\n")


def test_a_number_changes_those_that_import_it(scripts, cache):
    assert changed(scripts, cache, "gaussian", "0", "1") == {"measure_fields"}
    assert changed(scripts, cache, "erf", "batch_size: int = 32", "batch_size: int = 33") == {
        "accumulate_erf",
        "measure_starts",
        "probe_network",
    }  # and no training
    assert changed(scripts, cache, "errors", "(ValueError)", "(OSError)") >= {
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
