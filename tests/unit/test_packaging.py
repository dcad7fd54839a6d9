"""What is installed: lock, environments, wheel and extras; and what imports what."""

import ast
import functools
import importlib
import os
import re
import subprocess
import sys
import tomllib
import venv
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import yaml
from packaging.requirements import Requirement
from PIL import Image
from torch import nn

import forked

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {
    "pytorch": "torch",
    "matplotlib-base": "matplotlib",
    "snakemake-minimal": "snakemake",
}
# What schedules the scripts: they themselves import none of it.
SCHEDULING = {"pulp", "snakemake", "snakemake-executor-plugin-slurm"}
FRONT_DOOR = (
    *("receptive_field", "erf", "gaussian", "imbalance", "extent", "sensitivity"),
    *("kernels", "training", "microobject", "targets", "blocks"),
)


def packages(requirements: Iterable[str]) -> set[str]:
    """Their names alone."""
    return {re.split(r"[\[>=<]", requirement)[0] for requirement in requirements}


NEEDED = packages(PROJECT["dependencies"])
EXTRAS = {name: packages(extra) for name, extra in PROJECT["optional-dependencies"].items()}


def locked() -> dict[str, str]:
    text = (ROOT / "requirements.lock").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", text, re.MULTILINE))


def test_every_environment_has_the_versions_of_the_lock():
    for file in (ROOT / "envs").glob("*.yaml"):
        for line in yaml.safe_load(file.read_text())["dependencies"]:
            name, version = line.split(" =")
            if name != "python":
                assert version == locked()[CONDA_NAMES.get(name, name)], f"{file.name}: {name}"


def test_the_environment_of_scripts_has_all_but_what_schedules_them():
    file = ROOT / "envs/deadpixel.yaml"
    names = [line.split(" =")[0] for line in yaml.safe_load(file.read_text())["dependencies"]]
    expected = (NEEDED | EXTRAS["workflow"] | EXTRAS["timm"]) - SCHEDULING | {"python"}
    assert {CONDA_NAMES.get(name, name) for name in names} == expected


def test_the_environment_of_the_plan_has_all_that_it_imports():
    lines = yaml.safe_load((ROOT / "envs/plan.yaml").read_text())["dependencies"]
    names = {line.split(" =")[0] for line in lines}
    missing = NEEDED.union(*EXTRAS.values()) - {CONDA_NAMES.get(name, name) for name in names}
    modules = ("operations.job", "files.parquet")
    forked.result(functools.partial(import_without, missing, *modules, then=share_out_jobs))
    for needed in ("pandas", "pulp"):
        with pytest.raises(AssertionError, match=f"No module named '{needed}'"):
            forked.result(functools.partial(import_without, [needed], then=share_out_jobs))


def share_out_jobs() -> None:
    """So that no simple list is the best, and the integer programme is asked."""
    from deadpixel.operations import plan, schedule

    seconds = enumerate((3.0, 3.0, 2.0, 2.0, 2.0))
    jobs = [schedule.Job(f"job {number}", own, True, 0, ()) for number, own in seconds]
    spans = plan.makespans(jobs, solver_seconds=3).set_index("devices")
    assert spans.loc[2, "list_seconds"] == 7 and spans.loc[2, "optimum_seconds"] == 6


def test_the_catalogue_of_workflows_finds_what_it_reads():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage.keys() == {"mandatory-flags", "software-stack-deployment", "report"}
    assert usage["mandatory-flags"].keys() == {"desc", "flags"} and usage["report"] is True
    deployment = usage["software-stack-deployment"]
    assert deployment.keys() == {"conda", "apptainer", "apptainer+conda"}
    assert all(isinstance(works, bool) for works in deployment.values())
    readme = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in readme and "workflow" in readme


def test_the_lock_is_hashed_has_no_duplicates_and_names_no_index():
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(locked())
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_the_library_its_types_and_the_papers_numbers(wheel, tmp_path):
    names = set(zipfile.ZipFile(wheel).namelist())
    tables = {f"deadpixel/results/paper/table{number}.csv" for number in (1, 2, 3, 4)}
    templates = {f"deadpixel/results/pages/{name}" for name in ("report.html", "style.css")}
    assert {"deadpixel/erf.py", "deadpixel/py.typed", *tables, *templates} <= names
    assert not any(name.startswith(("scripts", "tests")) for name in names)
    (entries,) = (name for name in names if name.endswith("entry_points.txt"))
    assert b"deadpixel = deadpixel.command:main" in zipfile.ZipFile(wheel).read(entries)
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    assert forked.result(rows_of_the_papers_table, tmp_path / "site") == 9


def rows_of_the_papers_table(site: Path) -> int:
    """As the library that is installed at `site` has them; to be called in an own process."""
    forget({"deadpixel"})
    sys.path.insert(0, str(site))
    published = importlib.import_module("deadpixel.results.published")
    assert Path(importlib.import_module("deadpixel.erf").__file__).is_relative_to(site)
    return len(published.table(1))


@pytest.fixture
def programs(wheel, tmp_path):
    """Programs of a new environment with the wheel and what it says that it needs.

    pip refuses to install what needs more than the links to this environment's packages.
    """
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    (site,) = environment.glob("lib/python*/site-packages")
    for distribution in needed_distributions():
        files = distribution.files or []
        for name in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if not (site / name).exists():
                (site / name).symlink_to(distribution.locate_file(name))
    pip = [sys.executable, "-m", "pip", "--python", environment / "bin/python", "--quiet"]
    subprocess.run([*pip, "install", "--no-index", wheel], check=True)
    return environment / "bin"


def needed_distributions() -> Iterator[metadata.Distribution]:
    """What the library needs, and what that needs, and so on, of what is installed here."""
    seen = set()
    left = [Requirement(line) for line in PROJECT["dependencies"]]
    while left:
        needed = left.pop()
        for extra in ("", *needed.extras):
            if (needed.name, extra) in seen:
                continue
            seen.add((needed.name, extra))
            distribution = metadata.distribution(needed.name)
            yield distribution
            further = map(Requirement, distribution.requires or [])
            left += [of for of in further if not of.marker or of.marker.evaluate({"extra": extra})]


NETWORK = """
from torch import nn

def build():
    halves = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*halves, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
"""


@pytest.mark.slow
def test_what_pip_installs_looks_at_a_network_of_ones_own(programs, tmp_path):
    """Outside of the clone, without the workflow's packages, and the doctor says so."""
    (tmp_path / "mine.py").write_text(NETWORK)
    (tmp_path / "photos").mkdir()
    for number in range(2):
        Image.new("RGB", (90, 80), (80 * number, 9, 9)).save(tmp_path / f"photos/{number}.png")
    alone = {name: of for name, of in os.environ.items() if not name.startswith("PYTHON")}

    def printed(*arguments: str) -> str:
        command = [programs / "deadpixel", *arguments]
        run = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr + run.stdout
        return run.stdout

    options = ("--images", "photos", "--crop", "64", "--out", "mine.html")
    table = printed("look", "mine.py:build", *options)
    assert "Images: 2 from photos." in table and "| stride4  |" in table
    assert "data:image/png" in (tmp_path / "mine.html").read_text()
    assert "workflow: no workflow here, but the library alone" in printed("doctor", "--offline")


def forget(packages: set[str]) -> None:
    """As if they had not been imported yet."""
    for module in [*sys.modules]:
        if _package(module) in packages:
            del sys.modules[module]


def _package(module: str) -> str:
    return module.partition(".")[0]


class Without:
    """A finder that knows nothing of some packages, as on a machine that has none of them."""

    def __init__(self, finder: Any, missing: set[str]) -> None:
        self.finder, self.missing = finder, missing

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)

    def find_spec(self, name: str, *where: Any) -> Any:
        return None if _package(name) in self.missing else self.finder.find_spec(name, *where)


def import_without(
    missing: Iterable[str], *modules: str, then: Callable[[], None] | None = None
) -> None:
    """Import modules of the library, and run `then`, without the packages that are `missing`.

    To be called in an own process.
    """
    names = {"PIL" if name == "pillow" else name.replace("-", "_") for name in missing}
    forget({*names, "deadpixel"})
    sys.meta_path[:] = [Without(finder, names) for finder in sys.meta_path]
    for module in modules:
        importlib.import_module(f"deadpixel.{module}")
    if then:
        then()


def measure_and_log() -> None:
    """What the front door is for, with the library as it is imported now."""
    from deadpixel import erf, gaussian, imbalance, kernels, logs, receptive_field

    stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
    padded, _ = kernels.pad(nn.Sequential(*stem, nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    receptive_field.theoretical(padded, "1", input_size=(32, 32))
    images = torch.randn(4, 3, 32, 32)
    found = erf.accumulate(padded, images, ["1"], batch_size=2, device="cpu")["1"]
    gaussian.fit(found.mean), imbalance.indices(found.mean)
    sys.stderr.isatty = lambda: True  # a terminal, where training shows a bar
    list(logs.progress([1], total=1, what="epochs"))


def test_the_front_door_needs_no_extra():
    missing = set().union(*EXTRAS.values())
    forked.result(functools.partial(import_without, missing, *FRONT_DOOR, then=measure_and_log))


def test_fields_need_torch_and_numpy_alone():
    """Clusters bring their own PyTorch, and often little else. Windows has no fcntl."""
    missing = {"fcntl", *(NEEDED - {"torch", "numpy"}), *EXTRAS["workflow"]}
    forked.result(import_without, missing, "erf", "receptive_field", "kernels")
    with pytest.raises(AssertionError, match="No module named 'numpy'"):
        forked.result(import_without, {"numpy"}, "erf")


def test_what_runs_on_a_gpu_needs_neither_snakemake_nor_lmfit():
    """Nor torchvision, which takes as long to import as torch, before one of its networks."""
    on_gpus = ("networks.zoo", "data.augment", "data.evaluation", "operations.devices")
    missing = {"lmfit", "torchvision", *SCHEDULING}
    forked.result(import_without, missing, "training", "microobject", *on_gpus)


def test_what_snakemake_asks_needs_the_standard_library_only():
    missing = {"yaml", *NEEDED, *EXTRAS["workflow"]}
    forked.result(
        import_without, missing, "operations.costs", "operations.fingerprints", "surgery.kinds"
    )


def test_tables_of_where_squares_are_seen_need_no_torch():
    forked.result(import_without, {"torch", "torchvision"}, "results.seen", "results.explained")


@pytest.mark.slow
def test_the_pages_of_the_library_build_without_a_warning(tmp_path):
    import matplotlib.font_manager  # noqa: F401  asks programs for fonts, which pdoc forbids
    import pdoc.render

    pdoc.render.configure(show_source=False, search=False)  # twice as fast
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pdoc.pdoc("deadpixel", output_directory=tmp_path)
    names = {"/".join(page.relative_to(tmp_path).parts) for page in tmp_path.rglob("*.html")}
    assert {"deadpixel/erf.html", "deadpixel/networks/zoo.html"} <= names


def test_the_registry_has_the_weights_of_torchvisions_enum():
    """URLs, and the checksums that are part of them, of every classifier it lists."""
    published = yaml.safe_load((ROOT / "data/registry.yaml").read_text())["weights"]["files"]
    paper = yaml.safe_load((ROOT / "config.yaml").read_text())["models"]
    assert published.keys() >= paper.keys()
    for model, entry in published.items():
        weights = torchvision.models.get_model_weights(model)["IMAGENET1K_V1"]
        assert entry["url"] == weights.url
        digits = entry["url"].removesuffix(".pth").rpartition("-")[2]
        assert entry["sha256"].startswith(digits) and len(entry["sha256"]) in {len(digits), 64}
        assert abs(entry["bytes"] - weights.meta["_file_size"] * 2**20) < 1024


def test_the_registry_has_the_transforms_of_torchvisions_enum():
    """Where they differ from the configuration's, and nothing where they do not."""
    published = yaml.safe_load((ROOT / "data/registry.yaml").read_text())["weights"]["files"]
    common = yaml.safe_load((ROOT / "config.yaml").read_text())["preprocess"]
    for model, entry in published.items():
        theirs = torchvision.models.get_model_weights(model)["IMAGENET1K_V1"].transforms()
        (resize,), (crop,) = theirs.resize_size, theirs.crop_size
        said = {
            "resize": resize,
            "crop": crop,
            "interpolation": theirs.interpolation.value,
            "mean": theirs.mean,
            "std": theirs.std,
        }
        expected = {name: value for name, value in said.items() if value != common[name]}
        assert entry.get("preprocess", {}) == expected, model
        assert theirs.antialias


# Rooms from the lowest up; the modules at the front door between them. Folding has to know the hook
# that changed kernels have, so these are below the networks.
FLOORS = (
    *(
        {"errors", "logs", "uncompiled", "ahead", "copies"},
        {"targets"},
        {"files"},
        {"trf", "variances"},
        {"data"},
        {"surgery"},
        {"kernels"},
        {"networks"},
    ),
    *({"features", "backward"}, {"reading"}, {"blocks", "precision"}),
    {"receptive_field", "sensitivity", "erf", "erf_blocks", "gaussian", "imbalance", "extent"},
    {"training", "tiles", "fields", "convergence", "blind_edge", "survey"},
    *(
        {"microobject", "look"},
        {"probes"},
        {"results"},
        {"operations"},
        {"doctor"},
        {"command", "__main__"},
    ),
)


def _imported(module: Path) -> Iterator[str]:
    """The rooms, or modules at the front door, that a module of the library imports from."""
    library = ROOT / "scripts/deadpixel"
    package = module.relative_to(library).parts[:-1]
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            path = [*base, *(node.module.split(".") if node.module else ())]
            yield from [path[0]] if path else (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("deadpixel"):
            yield f"absolute import of {node.module}"


def test_imports_only_go_down():
    """A module imports from its own floor or from those before it in the list."""
    library = ROOT / "scripts/deadpixel"
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    for file in library.rglob("*.py"):
        own = file.relative_to(library).parts[0].removesuffix(".py")
        for room in _imported(file) if own != "__init__" else ():
            assert floor[room] <= floor[own], f"{file} imports {room}"
