"""Configurations and commands, as dry runs of the real Snakemake in children of this process."""

import contextlib
import functools
import importlib
import json
import os
import random
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from deadpixel.errors import InputError
from fuzz.core import Case, Foreign, Silent, in_child
from fuzz.damage import NO_FILES, written
from small import NETWORK, OVERLAY
from workflow.conftest import FOLDERS, PARTS, ROOT

SECONDS = 60
# Of files behind --configfile, which Snakemake parses before any Snakefile. docs/troubleshooting.md
# lists them, since most name no file.
FOREIGN = re.compile(
    r"Config file must be given as JSON or YAML|Config file is not valid JSON or YAML|"
    r"Config file \S+ not found|UnicodeDecodeError: 'utf-8' codec|RecursionError: maximum|"
    r"\w+Error: \[Errno \d+\] [\w ]+: '\S+/mine.yaml'"
)
ERROR = re.compile(r"^(\w*(?:Error|Exception))\b.*(?: in |:)", re.MULTILINE)

# Exceptions that say nothing to a user.
UNMEANT = {
    *("TypeError", "ValueError", "KeyError", "AttributeError", "IndexError", "NameError"),
    *("OSError", "FileNotFoundError", "IsADirectoryError", "PermissionError"),
    *("UnicodeDecodeError", "AssertionError", "JSONDecodeError", "FileExistsError"),
    *("NotADirectoryError",),
}

# The least that each may be.
COUNTS = {
    **{"seed": 0, "jobs_per_device": 1, "preprocess.resize": 1, "preprocess.crop": 1},
    **{"erf.images": 2, "erf.blocks": 2, "erf.shards": 1, "erf.batch_size": 1},
    **{"calibration.images": 2, "calibration.batch_size": 2, "finetune.epochs": 1},
    **{"finetune.batch_size": 2, "microobject.images": 2, "microobject.size": 1},
    **{"microobject.epochs": 1, "microobject.batch_size": 4},
    **{"training.augmentation.resized_crop": 1, "training.augmentation.crop": 1},
    **{"datasets.drawn.classes": 2, "datasets.drawn.images_per_class": 1},
}
NULLABLE = ("erf.images", "microobject.images")
RATES = (
    *("split.train", "split.test", "training.momentum", "training.weight_decay"),
    *("training.augmentation.rotation", "finetune.learning_rate", "microobject.learning_rate"),
    *("microobject.threshold",),
)
CHOICES = (
    *("device", "erf.split", "erf.logit", "erf.dtype", "size_test.weights", "size_test.target"),
    *("size_test.dataset", "finetune.weights", "finetune.init", "finetune.dataset"),
    *("shape_test.model", "microobject.dataset", "microobject.init"),
    *("training.augmentation.method", "datasets.drawn.source", "data.registry"),
)
LISTS = (
    *("targets", "size_test.models", "finetune.models", "finetune.kernels", "finetune.seeds"),
    *("finetune.repeated.models", "microobject.models", "microobject.kernels"),
    *("microobject.seeds", "training.augmentation.scale"),
)
TABLES = (
    *("pathvars", "data", "datasets", "split", "preprocess", "models", "erf", "calibration"),
    *("size_test", "training", "finetune", "shape_test", "microobject"),
)


NAN, INFINITE = float("nan"), float("inf")
VALUES = [
    *(("finetune.seeds", seeds) for seeds in ([0, 0], [2**64], [1.0])),
    *(("microobject.seeds", [-1]), ("seed", 2**63), ("seed", 2**64)),
    *(("training.augmentation.scale", s) for s in ([0.5, NAN], [1.0, 0.5], [0.5, INFINITE])),
    *(("finetune.learning_rate", 1e300), ("erf.shards", 4)),
    ("split", {"train": 0.5, "valid": 0.25, "test": 0.3}),
    ("preprocess", {"resize": 32, "crop": 64}),
    *(("pathvars.results", None), ("pathvars.results", 3)),
]
NO_FOLDERS = (
    *("", " ", "r{", "{x}", "r}", "/", "..", "~", "a\nb", "<results>", "r/{dataset}", "small.yaml"),
    *("Snakefile", "*"),
)
FILES = {
    "a key twice": "seed: 1\nseed: 2\n",
    "a nested key twice": "erf:\n  images: 4\n  images: 6\n",
    "an octal number": "seed: 010\n",
    "an underscored number": "seed: 1_0\n",
    "a hexadecimal number": "seed: 0x10\n",
    "a sexagesimal number": "seed: 1:30\n",
    "a date": "seed: 2024-01-01\n",
    "a tab": "erf:\n\timages: 4\n",
    "an open bracket": "erf: {images: 4\n",
    "an open quote": 'device: "cpu\n',
    "a list at the top": "- a\n",
    "a word at the top": "cpu\n",
    "a number at the top": "3\n",
    "wrong indentation": "erf:\n  images: 4\n batch_size: 3\n",
    "no colon": "erf\n  images 4\n",
    "an unknown anchor": "erf: *x\n",
    "an anchor within itself": "erf: &a {images: *a}\n",
    "Python's objects": "seed: !!python/object/apply:os.getpid []\n",
    "an unknown tag": "seed: !x 3\n",
    "two documents": "seed: 1\n---\nseed: 2\n",
    "control characters": "seed: 1\x01\n",
    "a null byte": "seed: 1\0\n",
    "a merge conflict": "<<<<<<< HEAD\nseed: 1\n=======\nseed: 2\n>>>>>>> x\n",
    "JSON, cut": '{"seed": 1, "erf": {',
    "deep nesting": "a: " + "[" * 3000,
    "aliases of aliases": "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n",
}
FINE_FILES = {
    "empty": b"",
    "a comment": b"# none\n",
    "CRLF": b"seed: 1\r\n",
    "a byte order mark": b"\xef\xbb\xbfseed: 1\n",
    "UTF-16 with its mark": "seed: 1\n".encode("utf-16"),
}


def photos(path: str) -> dict:
    data = {"photos": {"source": "folder", "path": path}}
    return {"datasets": data, "size_test": {"dataset": "photos"}}


def mine(**keys: Any) -> dict:
    return {"models": {"mine": keys}}


# What does not go together, and a word of the message.
SETTINGS = {
    "an image size that a network cannot take": (
        {"models": {"vit_b_16": {}}, "size_test": {"models": ["vit_b_16"]}},
        ("vit_b_16",),
    ),
    "an image folder that is missing": (photos("no_such"), ("no_such", "datasets.photos")),
    "an image folder that is a file": (photos("Snakefile"), ("Snakefile", "datasets.photos")),
    "an unknown model": (
        {"models": {"resnet19": {}}, "size_test": {"models": ["resnet19"]}},
        ("resnet19",),
    ),
    "a model file that is missing": (mine(source="none.py:build"), ("none.py",)),
    "a model file without a function": (mine(source="net.py:"), ("net.py",)),
    "a model file that is no Python": (mine(source="small.yaml:build"), ("small.yaml",)),
    "a checkpoint that is missing": (
        mine(checkpoint="none.pth") | {"size_test": {"weights": "file"}},
        ("none.pth", "checkpoint"),
    ),
    "a target of a model that is none": (mine(targets={"layer9": "x"}), ("layer9",)),
    "2,000 shards": ({"erf": {"shards": 2000, "blocks": 2000}}, ("erf.shards",)),
}
MAP = "dataset=drawn/model=mine/weights=calibrated/kernels=odd"


def nested(key: str, value: Any) -> dict:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def configurations(rng: random.Random, place: Path) -> Iterator[Case]:
    import snakemake.cli

    checkout = place / "checkout"
    _copy(checkout)

    def warm() -> list[str]:
        with contextlib.suppress(BaseException):
            run(["all", "-n", "--quiet", "all", "--configfile", "small.yaml"], checkout)
        return sorted(sys.modules)

    def run(arguments: list[str], folder: Path) -> None:
        """Refused as `InputError`, or accepted."""
        os.chdir(folder)
        sys.argv = ["snakemake", *arguments]
        status: Any = 0
        try:
            snakemake.cli.main(arguments)
        except SystemExit as end:
            status = end.code
        sys.stdout.flush()
        sys.stderr.flush()
        output = (place / "case.log").read_text(errors="replace")
        if status and (foreign := FOREIGN.search(output)) and "Snakefile" not in output:
            raise Foreign(foreign[0])
        if "Traceback" in output:
            raise RuntimeError(output.strip().splitlines()[-1])
        if status:
            found = ERROR.search(output)
            message = output[found.start() :] if found else output[-500:]
            if found and found[1] in UNMEANT:
                raise RuntimeError(" ".join(message.split())[:300])
            lines = [line.strip() for line in message.splitlines() if line.strip()]
            where = re.compile(r'(\w+ in file|File) "')
            raise InputError("\n".join(line for line in lines if not where.match(line)))

    def overlaid(
        name: str,
        write: str | bytes | Callable[[Path], None],
        about: tuple[str, ...],
        *,
        fine: bool = False,
        target: str = "all",
    ) -> Case:
        def case(folder: Path) -> None:
            file = folder / "mine.yaml"
            if callable(write):
                file.write_text("")
                write(file)
            else:
                file.write_bytes(write.encode() if isinstance(write, str) else write)
            run([target, "-n", "--quiet", "all", "--configfile", "small.yaml", str(file)], checkout)
            if not fine:
                raise Silent("accepted")

        return Case(name, case, about, SECONDS)

    def valued(key: str, value: Any, *, fine: bool = False) -> Case:
        shown = "a huge number" if isinstance(value, int) and abs(value) > 10**12 else f"{value!r}"
        return overlaid(
            f"{key}: {shown}",
            yaml.safe_dump(nested(key, value)),
            (key, key.rpartition(".")[2]),
            fine=fine,
        )

    # what Snakemake imports on the way is imported once
    _, imported = in_child(warm, place / "case.log", SECONDS)
    for module in imported or []:
        with contextlib.suppress(Exception):
            importlib.import_module(module)

    yield overlaid("as it is", "seed: 0", (), fine=True)
    for key, least in COUNTS.items():
        for value in (None, least - 1, *rng.sample(["x", 1.5, NAN, True, [], 10**30], 3)):
            yield valued(key, value, fine=value is None and key in NULLABLE)
        yield valued(key, 12.0)
    for key in RATES:
        for value in (NAN, INFINITE, *rng.sample(["x", None, -INFINITE, -1.0, True, []], 3)):
            yield valued(key, value)
    for key in CHOICES:
        for value in rng.sample(["other", None, "", 3, []], 3):
            yield valued(key, value)
    for key in LISTS:
        for value in rng.sample(["x", None, [None], [[]], ["no such"], {"a": 1}], 3):
            yield valued(key, value)
    for key in TABLES:
        for value in ("x", []):
            yield valued(key, value)
        yield valued(f"{key}.unknown_key", 3, fine=False)
    for key, value in VALUES:
        yield valued(key, value)
    for path in NO_FOLDERS:
        for name in ("results", rng.choice(["logs", "benchmarks", "resources"])):
            yield valued(f"pathvars.{name}", path)
    for path in ("r/", ".", "./r", "a b", "r%s", "Ergebnisse ü", "r'", "r//s", "a=b"):
        for name in ("results", "logs"):
            yield valued(f"pathvars.{name}", path, fine=True)
    yield overlaid(
        "results and logs the same", "pathvars: {results: x, logs: x}", ("pathvars",), fine=True
    )
    for name in ("", "a/b", "a b", "ü", "..", "{x}", "a=b", "-x", "a\n"):
        yield valued(
            "datasets", {name: {"source": "synthetic", "classes": 2, "images_per_class": 9}}
        )
        yield valued("models", {name: {}})
    yield overlaid(
        "a number as a name",
        "datasets: {1: {source: synthetic, classes: 2, images_per_class: 9}}",
        ("datasets", "1"),
    )
    yield overlaid("a number as a model", "models: {1: {}}", ("models", "1"))
    yield overlaid("a number as a key", "1: 2", ("1",))
    yield overlaid("null as a key", "null: 2", ("null", "None"))
    yield overlaid("a truth value as a key", "erf: {yes: 2}", ("erf",))
    yield overlaid("a list as a key", "? [a, b]\n: 3", ("mine.yaml",))
    for name, text in FILES.items():
        yield overlaid(name, text, ("mine.yaml", *re.findall(r"^(\w+):", text)))
    for name, data in FINE_FILES.items():
        yield overlaid(f"a file: {name}", data, ("mine.yaml",), fine=True)
    yield overlaid("a file: Latin-1", "# für\nseed: 1\n".encode("latin-1"), ("mine.yaml",))
    yield overlaid(
        "a file: UTF-16 without its mark", "seed: 1\n".encode("utf-16-le"), ("mine.yaml",)
    )
    yield overlaid("a file: binary", rng.randbytes(500), ("mine.yaml",))
    for what, spoil in NO_FILES.items():
        if what in ("a pipe", "a link to /dev/zero"):
            continue  # of which Snakemake reads until its end, as of <(command)
        yield overlaid(f"a file: {what}", spoil, ("mine.yaml",), fine=what == "a link to /dev/null")

    for name, (settings, about) in SETTINGS.items():
        fine = name == "2,000 shards"
        yield overlaid(name, yaml.safe_dump(settings), about, fine=fine)
    yield overlaid("an unknown target", "seed: 0", ("no_such",), target="no_such")
    yield overlaid("a target with a slip", "seed: 0", ("size_test",), target="sise_test")
    yield overlaid(
        "an unknown nested target",
        "seed: 0",
        ("erf.parquet", "layer5", "target="),
        target=f"results/erf/{MAP}/target=layer5/erf.parquet",
    )

    def command(
        name: str,
        arguments: Callable[[Path], list[str]],
        about: tuple[str, ...],
        prepare: Callable[[Path], object] = lambda f: None,
        *,
        fine: bool = False,
        home: str = "checkout",
    ) -> Case:
        """In a checkout of its own."""

        def case(folder: Path) -> None:
            own = folder / home
            _copy(own)
            prepare(own)
            run(arguments(own), own if own.is_dir() else folder)
            if not fine:
                raise Silent("accepted")

        return Case(f"command: {name}", case, about, SECONDS)

    usual = ["all", "-n", "--quiet", "all", "--configfile", "small.yaml"]

    def elsewhere(*more: str) -> Callable[[Path], list[str]]:
        """With {here} for the checkout and {there} for another folder."""
        return lambda own: [a.format(here=own, there=own.parent / "elsewhere") for a in more]

    there = ("--directory", "{there}")
    from_there = (*usual[:-1], "{here}/small.yaml")
    yield command("as it is", lambda o: usual, (), fine=True)
    yield command(
        "the target behind --resources",
        lambda o: [*usual[1:4], "--configfile=small.yaml", "--resources", "gpu=2", "size_test"],
        ("size_test",),
    )
    yield command(
        "the target behind --configfile", lambda o: [*usual[1:], "size_test"], ("size_test",)
    )
    yield command(
        "--directory",
        elsewhere(*usual, *there),
        ("--directory", "elsewhere"),
        lambda o: shutil.copytree(o, o.parent / "elsewhere"),
        fine=True,
    )
    yield command(
        "--directory, empty", elsewhere(*from_there, *there), ("--directory", "elsewhere")
    )
    yield command(
        "--snakefile from elsewhere",
        elsewhere(*from_there, "--snakefile", "{here}/Snakefile", "--directory", "/tmp"),
        ("--directory", "/tmp", "net.py"),
    )
    odd = (
        "check out",
        "chëckout",
        "check'out",
        "check%sout",
        "che*ckout",
        "che{ck}out",
        "{checkout",
    )
    for name in odd:
        yield command(
            f"a checkout in {name}", lambda o: usual, (name, "path"), fine=True, home=name
        )

    def changed(
        name: str, about: tuple[str, ...], spoil: Callable[[Path], object], **more: Any
    ) -> Case:
        return command(name, lambda o: usual, about, spoil, **more)

    for name in ("results", ".snakemake", "logs"):

        def spoil(own: Path, n: str = name) -> None:
            shutil.rmtree(own / n, ignore_errors=True)
            (own / n).write_text("x")

        yield changed(f"{name} is a file", (name,), spoil)
    for name in ("config.yaml", "data/registry.yaml", "schemas/config.schema.yaml"):
        file = Path(name).name
        for what in ("missing", "a folder", "a link to nothing"):
            yield changed(
                f"{name} is {what}", (file,), lambda o, n=name, w=what: NO_FILES[w](o / n)
            )
        about = (file, "missing", "required")
        yield changed(f"{name} is empty", about, lambda o, n=name: written("")(o / n))
    record = "results/benchmarks/accumulate_erf/x.jsonl"
    cut = written('{"s": 1.0, "h:m')
    yield changed("a record is cut", ("x.jsonl",), lambda o: cut(o / record), fine=True)
    for what, home in {"not there": "/no/such", "a file": "/etc/passwd", "empty": ""}.items():
        spoil = functools.partial(lambda home, o: os.environ.__setitem__("HOME", home), home)
        yield changed(f"HOME is {what}", ("HOME",), spoil, fine=True)


def _copy(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in PARTS:
        shutil.copy2(ROOT / name, folder / name)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    small = json.loads(json.dumps(OVERLAY)) | {"device": "cpu"}
    (folder / "small.yaml").write_text(yaml.safe_dump(small))
    (folder / "net.py").write_text(NETWORK)
