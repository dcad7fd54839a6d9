"""What is written agrees with what there is: configuration, README, Markdown, versions."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import torch
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 120


def _described(schema: dict, definitions: dict, path: str = "") -> dict[str, bool]:
    """Whether each key of the configuration, also of its sections, has a description."""
    schema = definitions.get(schema.get("$ref", "").rpartition("/")[2], {}) | schema
    found = {}
    for name, part in schema.get("properties", {}).items():
        key = f"{path}{name}"
        found[key] = "description" in part
        found |= _described(part, definitions, f"{key}.")
    return found


def test_every_key_of_the_configuration_is_described():
    """By the schema, by a comment above or behind it, or by name in the comment on its section."""
    schema = yaml.safe_load((ROOT / "schemas/config.schema.yaml").read_text())
    described = _described(schema, schema["$defs"])
    sections: list[str] = []
    comments = {}  # on each section, by its path
    comment = ""
    for line in (ROOT / "config.yaml").read_text().splitlines():
        key = re.match(r"( *)([a-z_]+):", line)
        if key:
            sections = [*sections[: len(key[1]) // 2], key[2]]
            path, section = ".".join(sections), ".".join(sections[:-1])
            comments[path] = comment
            named = re.search(rf"\b{key[2]}\b", comments.get(section, ""))
            if path in described and (comment or "#" in line or named):
                described[path] = True
        comment = comment + line if line.lstrip().startswith("#") else ""
    assert len(described) > 60
    assert [key for key, has in described.items() if not has] == []


def _pattern(path: str) -> str:
    """A documented path as a regular expression: capital letters and ... stand for what varies.

    A column's name is one of them after its equals sign: dataset=D.
    """
    parts = re.split(r"(?<![\w])([A-Z]+)(?![\w])", path)
    varying = ["[^/]+" if part.isupper() else re.escape(part) for part in parts]
    return "".join(varying).replace(r"\.\.\.", ".+")


@pytest.mark.slow
def test_every_output_is_documented(tmp_path):
    """All that Snakemake would make of the demo, and nothing else."""
    section = (ROOT / "docs/outputs.md").read_text()
    documented = set()
    for cell in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE):
        for path in re.findall(r"`([^`]+)`", cell):
            stem, _, rest = path.partition("{")
            parts, _, ending = rest.partition("}")
            documented |= {_pattern(stem + part + ending) for part in parts.split(",")}
    (tmp_path / "examples").symlink_to(ROOT / "examples")  # the demo's network
    snakemake = [sys.executable, "-m", "snakemake", "all", "plan", "--summary"]
    of_demo = ["--snakefile", ROOT / "Snakefile", "--configfile", ROOT / "config.demo.yaml"]
    command = [*snakemake, *of_demo, "--directory", tmp_path]
    listed = subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL)
    files = {line.split("\t")[0] for line in listed.splitlines()[1:]}
    results = {file.removeprefix("results/demo/") for file in files if "/.scratch/" not in file}
    assert len(results) > 100
    for file in results:
        assert any(re.fullmatch(pattern, file) for pattern in documented), file
    for pattern in documented:
        of_jobs = pattern.startswith("benchmarks/")  # which Snakemake lists only once they have run
        assert of_jobs or any(re.fullmatch(pattern, file) for file in results), pattern


@pytest.mark.slow
def test_the_eleven_lines_of_python_in_the_readme_run_as_they_are(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    (library,) = (block for block in blocks if "from deadpixel import" in block)
    assert len([line for line in library.splitlines() if line]) == 11
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        exec(library, found)
    assert Image.open("layer4.png").size == Image.open("expected.png").size == (224, 224)
    assert found["maps"]["layer4"].count == len(found["images"])
    assert "layer4.0.conv2" in found["changed"]
    size, sigma, others = capsys.readouterr().out.splitlines()
    assert f"  # {size} px" in library
    radius, l1 = map(float, others.split())
    assert 20 < float(sigma) < radius < 224 and 0 < l1 < 2


FOLDERS = (".", "docs", "docs/findings", "results", "examples/*")
MARKDOWN = [file for folder in FOLDERS for file in ROOT.glob(f"{folder}/*.md")]


def test_lines_of_markdown_are_short():
    """But for rows of tables and lines that are one link, which cannot be broken."""
    for file in MARKDOWN:
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            fits = len(line) <= LONGEST or line.startswith("|")
            assert fits, f"{file.name}, line {number}: {len(line)} characters"


def test_links_of_markdown_lead_to_files():
    for file in MARKDOWN:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", file.read_text()):
            if "://" not in target:
                assert (file.parent / target).exists(), f"{file.name}: {target}"


def test_the_notebook_is_kept_as_it_ran_and_small():
    """With its figure, for who reads it on the web. A test of the demo runs it."""
    file = ROOT / "docs/inspect_results.ipynb"
    notebook = nbformat.read(file, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} == {"execute_result", "display_data"}
    assert any("image/png" in output.data for output in outputs)
    assert file.stat().st_size < 200_000
    for target in re.findall(r"\]\(([^)#]+)", file.read_text()):
        assert (file.parent / target).exists(), target


def test_the_version_is_the_same_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    released = re.findall(r"^## \[(\d.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == version
