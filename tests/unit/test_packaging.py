"""Lock, environments, configuration and documentation agree with each other."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torchvision
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONDA_NAMES = {
    "pytorch": "torch",
    "matplotlib-base": "matplotlib",
    "snakemake-minimal": "snakemake",
}


def locked() -> dict[str, str]:
    text = (ROOT / "requirements.lock").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", text, re.MULTILINE))


def test_every_environment_has_the_versions_of_the_lock():
    for file in (ROOT / "envs").glob("*.yaml"):
        for line in yaml.safe_load(file.read_text())["dependencies"]:
            name, version = line.split(" =")
            if name != "python":
                assert version == locked()[CONDA_NAMES.get(name, name)], f"{file.name}: {name}"


def test_the_environment_has_what_the_library_depends_on():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[>=<]", name)[0] for name in project["dependencies"]}
    file = ROOT / "envs/deadpixel.yaml"
    names = [line.split(" =")[0] for line in yaml.safe_load(file.read_text())["dependencies"]]
    assert needed | {"python"} == {CONDA_NAMES.get(name, name) for name in names}


def test_the_lock_is_hashed_has_no_duplicates_and_names_no_index():
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(locked())
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


def test_the_wheel_holds_the_library_and_the_papers_numbers(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"deadpixel/erf.py", "deadpixel/results/paper/table1.csv"} <= set(names)
    assert not any(name.startswith(("scripts", "tests")) for name in names)
    script = "import deadpixel.erf, deadpixel.results.published as p; print(len(p.table(1)))"
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = {"PYTHONPATH": str(tmp_path / "site")}
    found = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == "9"


GPU_MODULES = (
    *("erf", "kernels", "training", "microobject", "receptive_field", "networks.zoo"),
    *("data.augment", "data.evaluation", "operations.devices"),
)


def test_what_runs_on_a_gpu_needs_neither_snakemake_nor_lmfit():
    """Clusters bring their own PyTorch, and often little else."""
    imports = "; ".join(f"import deadpixel.{module}" for module in GPU_MODULES)
    script = (
        f"import sys; {imports}; print([m for m in ('snakemake', 'lmfit') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT / "scripts",
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == "[]"


# A finder that knows nothing of some packages, as on a machine without them.
BLOCKING = """
import importlib, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split():
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
for module in sys.argv[2:]:
    importlib.import_module(f"deadpixel.{module}")
"""


def imported_without(packages: str, *modules: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", BLOCKING, packages, *modules]
    folder = ROOT / "scripts"
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_fields_need_torch_and_numpy_and_no_workflow():
    """Nor Unix: Windows has no fcntl."""
    others = "fcntl snakemake filelock requests pandas pyarrow PIL torchvision tqdm scipy lmfit"
    ended = imported_without(others, "erf", "receptive_field", "kernels")
    assert ended.returncode == 0, ended.stderr
    assert imported_without("numpy", "erf").returncode != 0


def test_what_snakemake_asks_needs_the_standard_library_only():
    others = "torch numpy pandas pyarrow PIL torchvision tqdm scipy yaml"
    ended = imported_without(others, "operations.costs", "operations.fingerprints")
    assert ended.returncode == 0, ended.stderr


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


# Rooms from the lowest up; the modules at the front door between them. Folding has to know the hook
# that changed kernels have, so these are below the networks.
FLOORS = (
    *({"errors", "logs"}, {"files"}, {"trf"}, {"data"}, {"kernels"}, {"networks"}, {"targets"}),
    *({"receptive_field", "erf", "gaussian", "imbalance", "training"}, {"microobject"}),
    *({"results"}, {"operations"}),
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


def _outputs() -> set[str]:
    """What rules write under results/ and keep, wildcards in braces."""
    text = "\n".join(file.read_text() for file in (ROOT / "rules").glob("*.smk"))
    text = text.replace("{config['shape_test']['model']}", "{model}")
    constants = dict(re.findall(r'^([A-Z_]+) = f?"(.+)"$', text, re.MULTILINE))
    run = constants["RUN"]
    outputs: set[str] = set()
    for rule in re.findall(r"^rule .*?(?=^rule |\Z)", text, re.MULTILINE | re.DOTALL):
        block = re.search(r"    output:\n(.*?)\n    [a-z]+:", rule, re.DOTALL)
        if not block or "temp(" in block[1]:
            continue
        outputs |= {*re.findall(r'"<results>/([^"]+)"', block[1])}
        outputs |= {
            constants[name].removeprefix("<results>/").replace("{RUN}", run)
            for name in re.findall(r"\b[A-Z_]{3,}\b", block[1])
            if constants.get(name, "").startswith("<results>/")
        }
    experiments = ("size_test", "shape_test")
    return {
        path.replace("{experiment}/", f"{name}/") if path.startswith("{experiment}/") else path
        for path in outputs
        for name in experiments
    }


def _shape(path: str) -> str:
    """A path with all that varies taken out: wildcards, letters that stand for them, dots."""
    return re.sub(r"=(\{\w+\}|[A-Z])", "=*", re.sub(r"/(\{\w+\}|[A-Z])(?=[/.])", "/*", path))


def test_the_readme_names_every_output():
    """Whole paths, each with all its endings, ... for what varies; and none that no rule writes."""
    section = (ROOT / "README.md").read_text().split("## What comes out")[1].split("\n## ")[0]
    documented = set()
    for cell in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE):
        for path in re.findall(r"`([^`]+)`", cell):
            stem, _, endings = path.partition("{")
            documented |= {_shape(stem + end) for end in endings.rstrip("}").split(",")}
    patterns = {path: re.escape(path).replace(r"\.\.\.", ".+") for path in documented}
    outputs = {_shape(path) for path in _outputs()}
    assert len(outputs) > 50
    for output in outputs:
        assert any(re.fullmatch(pattern, output) for pattern in patterns.values()), output
    for path, pattern in patterns.items():
        if path != "benchmarks/RULE/*.jsonl":
            assert any(re.fullmatch(pattern, output) for output in outputs), path
