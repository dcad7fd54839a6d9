"""What the workflow writes and reads again: results, packs, checkpoints, scratch, records."""

import functools
import hashlib
import json
import math
import pickle
import random
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import torch
from torch import nn

import publisher
from fuzz import calls
from fuzz.core import Case, Silent, in_child
from fuzz.damage import NO_FILES, damaged, spoilt, written


def made(make: Callable[[Path], None], folder: Path) -> None:
    """Make valid files in a process of their own: this one forks, and must have no threads."""
    folder.mkdir(parents=True, exist_ok=True)
    how, _ = in_child(lambda: make(folder), folder.with_suffix(".log"), seconds=120)
    if how != "done":
        raise RuntimeError(folder.with_suffix(".log").read_text())


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, pd.DataFrame):
        return found.equals(expected)
    if isinstance(expected, np.ndarray):
        return np.array_equal(found, expected)
    if isinstance(expected, list) and expected and isinstance(expected[0], np.ndarray):
        return len(found) == len(expected) and all(map(np.array_equal, found, expected))
    return found == expected


def file_cases(
    valid: Path,
    name: str,
    read: Callable[[Path], Any],
    rng: random.Random,
    *,
    each: int,
    prefix: str = "",
    others: dict[str, Callable[[Path], None]] | None = None,
    fine: dict[str, Callable[[Path], None]] | None = None,
    right: Callable[[str, Any, Any], bool] = lambda what, found, expected: same(found, expected),
) -> Iterator[Case]:
    """Damage to file `name` of the folder `valid`, which `read` reads.

    others, fine: changes that must be refused or named, and that change nothing.
    """
    data = (valid / name).read_bytes()

    def case(what: str, spoil: Callable[[Path], None], refuse: bool = False) -> Case:
        def run(folder: Path) -> None:
            shutil.copytree(valid, folder, dirs_exist_ok=True)
            expected = read(folder)
            shutil.rmtree(folder)
            shutil.copytree(valid, folder)
            spoil(folder / name)
            found = read(folder)
            if refuse:
                raise Silent("accepted")
            if not right(what, found, expected):
                raise Silent("read otherwise")

        return Case(f"{prefix}{what}", run, (name,))

    yield case("whole", lambda file: None)
    for what, bad in damaged(data, rng, each):
        yield case(what, written(bad))
    refused = {f"is {what}": spoil for what, spoil in NO_FILES.items()} | (others or {})
    for what, spoil in refused.items():
        yield case(what, spoil, refuse=True)
    for what, spoil in (fine or {}).items():
        yield case(what, spoil)


# Parquet


def _map_frame() -> pd.DataFrame:
    row, col = np.indices((12, 10)).reshape(2, -1)
    rng = np.random.default_rng(0)
    return pd.DataFrame({"row": row, "col": col, "mean": rng.random(120), "se": rng.random(120)})


def _rewritten(change: Callable[[pa.Table], pa.Table], **options: Any) -> Callable[[Path], None]:
    def spoil(file: Path) -> None:
        table = change(pq.read_table(file, partitioning=None))
        pq.write_table(table, file, **options)

    return spoil


def _column(
    column: str, change: Callable[[pa.ChunkedArray], Any]
) -> Callable[[pa.Table], pa.Table]:
    def changed(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index(column)
        return table.set_column(place, column, change(table[column]))

    return changed


def _cast(column: str, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    return _column(column, lambda values: values.cast(kind, safe=False))


def _set(column: str, row: int, value: Any) -> Callable[[pa.Table], pa.Table]:
    def change(values: pa.ChunkedArray) -> pa.Array:
        others = values.to_pylist()
        return pa.array([*others[:row], value, *others[row + 1 :]], values.type)

    return _column(column, change)


def _facts(value: bytes | None) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.replace_schema_metadata(
        None if value is None else {b"deadpixel": value}
    )


PARQUET_CHANGES: dict[str, Callable[[Path], None]] = {
    "a column more": _rewritten(lambda t: t.append_column("x", t["row"])),
    "a column less": _rewritten(lambda t: t.drop_columns("mean")),
    "a column twice": _rewritten(lambda t: t.append_column("row", t["row"])),
    "a column renamed": _rewritten(lambda t: t.rename_columns(["row", "col", "Mean", "se"])),
    "a column of 32 bits": _rewritten(_cast("mean", pa.float32())),
    "a column of strings": _rewritten(_cast("mean", pa.string())),
    "a column of wider integers": _rewritten(_cast("row", pa.int64())),
    "no rows": _rewritten(lambda t: t.slice(0, 0)),
    "a row less": _rewritten(lambda t: t.slice(1)),
    "a row twice": _rewritten(lambda t: pa.concat_tables([t, t.slice(0, 1)])),
    "a null number": _rewritten(_set("mean", 3, None)),
    "a null place": _rewritten(_set("row", 3, None)),
    "NaN": _rewritten(_set("mean", 3, math.nan)),
    "infinite": _rewritten(_set("mean", 3, math.inf)),
    "a negative place": _rewritten(_set("row", 3, -1)),
    "a place beyond": _rewritten(_set("row", 3, 30_000)),
    "no provenance": _rewritten(_facts(None)),
    "provenance that is no JSON": _rewritten(_facts(b"{")),
    "provenance that is a list": _rewritten(_facts(b"[1]")),
    "provenance that is no UTF-8": _rewritten(_facts(b'{"a": "\xff"}')),
    "provenance that is empty": _rewritten(_facts(b"")),
    "provenance without the number of images": _rewritten(_facts(b"{}")),
    "provenance with words for a number": _rewritten(_facts(b'{"n_images": "many"}')),
    "CSV": lambda f: pq.read_table(f, partitioning=None).to_pandas().to_csv(f),
    "Feather": lambda f: pyarrow.feather.write_feather(_map_frame(), str(f)),
    "an Excel file": lambda f: f.write_bytes(publisher.tar({"x": b"x"})),
}
PARQUET_SAME: dict[str, Callable[[Path], None]] = {
    "columns in another order": _rewritten(lambda t: t.select(["se", "mean", "col", "row"])),
    "uncompressed": _rewritten(lambda t: t, compression="none"),
    "many row groups": _rewritten(lambda t: t, row_group_size=7),
    "rows shuffled": _rewritten(
        lambda t: t.take(pa.array(np.random.default_rng(0).permutation(len(t))))
    ),
}


def parquet(rng: random.Random, place: Path) -> Iterator[Case]:
    def make(folder: Path) -> None:
        calls.write_map(_map_frame(), folder / "erf.parquet")

    made(make, place / "valid")
    yield from file_cases(
        place / "valid",
        "erf.parquet",
        lambda folder: calls.read_map(folder / "erf.parquet"),
        rng,
        each=20,
        prefix="map: ",
        others=PARQUET_CHANGES,
        fine=PARQUET_SAME,
    )
    provenance = {
        what: spoil
        for what, spoil in PARQUET_CHANGES.items()
        if what.startswith(("no provenance", "provenance that"))
    }
    yield from file_cases(
        place / "valid",
        "erf.parquet",
        lambda folder: calls.read_provenance(folder / "erf.parquet"),
        rng,
        each=6,
        prefix="provenance: ",
        others=provenance,
    )


# Packs

PATHS = [f"class{label}/{number}.jpg" for label in range(2) for number in range(6)]


def _data_set(folder: Path, seed: int = 0, paths: list[str] = PATHS) -> None:
    for path in paths:
        (folder / "photos" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "photos" / path).write_bytes(
            publisher.jpeg([seed, len(path), int(path[-5])], (30, 25))
        )
    rows = pd.DataFrame(
        {
            "path": paths,
            "label": [int(path[5]) for path in paths],
            "class_name": [path.partition("/")[0] for path in paths],
            "split": ["train" if n % 2 else "test" for n in range(len(paths))],
        }
    )
    calls.pack(rows, folder / "photos", folder / "manifest.parquet", folder / "images.arrow")
    shutil.rmtree(folder / "photos")


def _repacked(change: Callable[[dict[str, list]], None], **options: Any) -> Callable[[Path], None]:
    """The same pack with other values: path, height, width, pixels, a list each."""

    def spoil(file: Path) -> None:
        with pa.OSFile(str(file)) as source:
            table = pa.ipc.open_file(source).read_all()
        values = {name: table[name].to_pylist() for name in table.column_names}
        change(values)
        size = options.pop("rows", 1)
        with pa.OSFile(str(file), "wb") as sink:
            writer = pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options))
            for row in range(0, len(values["path"]), size):
                writer.write_batch(
                    pa.record_batch(
                        [
                            pa.array(v[row : row + size], table.schema.field(k).type)
                            for k, v in values.items()
                        ],
                        schema=table.schema,
                    )
                )
            writer.close()

    return spoil


def _put(name: str, row: int, value: Any) -> Callable[[dict[str, list]], None]:
    return lambda values: values[name].__setitem__(row, value)


def packs(rng: random.Random, place: Path) -> Iterator[Case]:
    made(_data_set, place / "valid")
    others = {
        "the same images in another order": lambda f: _data_set(f, 0, PATHS[::-1]),
        "other images of the same names": lambda f: _data_set(f, 1),
        "images more": lambda f: _data_set(f, 0, [*PATHS, "class1/7.jpg"]),
        "images less": lambda f: _data_set(f, 0, PATHS[:-1]),
        "other names": lambda f: _data_set(f, 0, [p.replace("class", "kinds") for p in PATHS]),
    }
    spoils: dict[str, Callable[[Path], None]] = {}
    for what, make in others.items():
        made(make, place / what.replace(" ", "_"))
        pack = (place / what.replace(" ", "_") / "images.arrow").read_bytes()
        spoils[f"another data set's: {what}"] = written(pack)
    pixel = bytes(30 * 25 * 3)
    changes = {
        "a height too large": _put("height", 0, 26),
        "a height of zero": _put("height", 0, 0),
        "a negative height": _put("height", 0, -25),
        "a null height": _put("height", 0, None),
        "height and width swapped": lambda v: _put("height", 0, 30)(v) or _put("width", 0, 25)(v),
        "null pixels": _put("pixels", 0, None),
        "pixels of nothing": _put("pixels", 0, b""),
        "a byte more": _put("pixels", 0, pixel + b"x"),
        "black pixels": _put("pixels", 0, pixel),
        "a null path": _put("path", 0, None),
        "a path twice": _put("path", 0, PATHS[1]),
        "a row less": lambda v: [c.pop() for c in v.values()] and None,
        "no rows": lambda v: [c.clear() for c in v.values()] and None,
        "first row twice": lambda v: [c.insert(0, c[0]) for c in v.values()] and None,
    }
    for what, change in changes.items():
        spoils[what] = _repacked(change)
    spoils["all rows in one batch"] = _repacked(lambda v: None, rows=20)
    spoils["a Feather file"] = lambda f: pyarrow.feather.write_feather(_map_frame(), str(f))
    spoils["a Parquet file"] = lambda f: _map_frame().to_parquet(f)
    spoils["a manifest"] = lambda f: shutil.copy(f.with_name("manifest.parquet"), f)

    fine = {"compressed": _repacked(lambda v: None, compression="zstd")}

    def read(folder: Path) -> list[np.ndarray]:
        return calls.read_pack(folder / "images.arrow", folder / "manifest.parquet")

    yield from file_cases(
        place / "valid", "images.arrow", read, rng, each=16, others=spoils, fine=fine
    )
    yield from file_cases(
        place / "valid", "manifest.parquet", read, rng, each=4, prefix="manifest: "
    )


# Checkpoints


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.deep = nn.Conv2d(4, 4, 3, 2, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.deep(self.stem(image)).mean((2, 3)))


def small(seed: int = 0) -> Small:
    torch.manual_seed(seed)
    network = Small()
    network.stem[1].running_var.uniform_(0.5, 2)
    network.stem[1].running_mean.normal_()
    return network.eval()


def _evil() -> Any:
    class Evil:
        def __reduce__(self) -> Any:
            import os

            return os.system, ("touch /tmp/deadpixel-fuzz-evil",)

    return Evil()


def _one(name: str, tensor: torch.Tensor) -> Callable[[dict], dict]:
    return lambda state: {**state, name: tensor}


def _filled(name: str, value: float, all_of_it: bool = False) -> Callable[[dict], dict]:
    def change(state: dict) -> dict:
        tensor = state[name].clone()
        tensor.view(-1)[slice(None) if all_of_it else slice(1)] = value
        return {**state, name: tensor}

    return change


def _each(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[dict], dict]:
    return lambda state: {k: change(v) if v.is_floating_point() else v for k, v in state.items()}


VARIANCE, WEIGHT = "stem.1.running_var", "deep.weight"
# Contents that may be accepted if the values are those of the state.
LIKE_THE_STATE: dict[str, Callable[[dict], Any]] = {
    "a bias of zeros": _filled("head.bias", 0, True),
    "half precision": _each(lambda t: t.half()),
    "bfloat16": _each(lambda t: t.bfloat16()),
    "double precision": _each(lambda t: t.double()),
    "parameters": lambda s: {
        k: nn.Parameter(v, v.is_floating_point()) if v.is_floating_point() else v
        for k, v in s.items()
    },
    "channels last": lambda s: {**s, WEIGHT: s[WEIGHT].to(memory_format=torch.channels_last)},
    "without the counters": lambda s: {k: v for k, v in s.items() if "num_batches" not in k},
}
OTHER_STATES: dict[str, Callable[[dict], Any]] = {
    "NaN in a weight": _filled(WEIGHT, math.nan),
    "infinity in a weight": _filled(WEIGHT, math.inf),
    "NaN in a mean": _filled("stem.1.running_mean", math.nan),
    "NaN in a variance": _filled(VARIANCE, math.nan),
    "infinite variance": _filled(VARIANCE, math.inf),
    "negative variance": _filled(VARIANCE, -1.0),
    "all variances zero": _filled(VARIANCE, 0, True),
    "a weight of zeros": _filled(WEIGHT, 0, True),
    "a head of zeros": _filled("head.weight", 0, True),
    "all zeros": _each(torch.zeros_like),
    "zeros for a tail": lambda s: {
        k: torch.zeros_like(v) if k.startswith(("deep", "head")) else v for k, v in s.items()
    },
    "doubles beyond single precision": _each(lambda t: t.double() * 1e300),
    "int8": _each(lambda t: (t * 50).to(torch.int8)),
    "int64": _each(lambda t: (t * 50).long()),
    "uint8": _each(lambda t: (t.abs() * 50).to(torch.uint8)),
    "truth values": _each(lambda t: t > 0),
    "float8": _each(lambda t: t.to(torch.float8_e4m3fn)),
    "complex": _each(lambda t: t.to(torch.complex64)),
    "a weight of int8": lambda s: {**s, WEIGHT: (s[WEIGHT] * 50).to(torch.int8)},
    "a sparse weight": lambda s: {**s, "head.weight": s["head.weight"].to_sparse()},
    "a weight on no device": lambda s: {**s, WEIGHT: s[WEIGHT].to("meta")},
    "a quantized weight": lambda s: {
        **s,
        WEIGHT: torch.quantize_per_tensor(s[WEIGHT], 0.1, 0, torch.qint8),
    },
    "a weight missing": lambda s: {k: v for k, v in s.items() if k != WEIGHT},
    "a bias missing": lambda s: {k: v for k, v in s.items() if k != "head.bias"},
    "a statistic missing": lambda s: {k: v for k, v in s.items() if k != VARIANCE},
    "a tensor more": lambda s: {**s, "x": torch.ones(1)},
    "empty": lambda s: {},
    "prefixed by module.": lambda s: {f"module.{k}": v for k, v in s.items()},
    "prefixed by _orig_mod.": lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
    "names in capitals": lambda s: {k.upper(): v for k, v in s.items()},
    "a weight transposed": lambda s: {**s, "head.weight": s["head.weight"].T.contiguous()},
    "a larger head": _one("head.weight", torch.ones(5, 4)),
    "a weight of no dimension": _one(WEIGHT, torch.tensor(1.0)),
    "a weight of nothing": _one(WEIGHT, torch.ones(0)),
    "under state_dict": lambda s: {"state_dict": s},
    "under model": lambda s: {"model": s, "epoch": 3},
    "a list": lambda s: list(s.values()),
    "a number": lambda s: 3,
    "None": lambda s: None,
    "a tensor": lambda s: s[WEIGHT],
    "numpy arrays": lambda s: {k: v.numpy() for k, v in s.items()},
    "numbers among tensors": lambda s: {**s, "epoch": 3},
    "numbers for names": lambda s: dict(enumerate(s.values())),
    "the network": lambda s: small(),
    "an optimizer": lambda s: torch.optim.SGD(small().parameters(), 0.1).state_dict(),
    "code": lambda s: {**s, "x": _evil()},
}


def _save(form: str, state: Any, file: Path) -> None:
    if form == "safetensors":
        from safetensors.torch import save_file

        save_file({k: v.detach().clone().contiguous() for k, v in state.items()}, file)
    else:
        torch.save(state, file, _use_new_zipfile_serialization=form == "pth")


NOT_HELD = (AttributeError, ValueError, RuntimeError, TypeError, KeyError, pickle.PicklingError)


def checkpoints(rng: random.Random, place: Path) -> Iterator[Case]:
    def numbers(state: dict, *, single: bool = False) -> dict[str, np.ndarray]:
        kept = {k: v.detach() for k, v in state.items() if "num_batches" not in k}
        return {k: (v.float() if single else v).numpy() for k, v in kept.items()}

    def read(folder: Path, name: str) -> dict[str, np.ndarray]:
        return numbers(calls.load_checkpoint(small(seed=1), folder / name).state_dict())

    def agree(found: dict, expected: dict, tolerance: float = 0) -> bool:
        return found.keys() == expected.keys() and all(
            np.allclose(found[k], expected[k], atol=tolerance, rtol=tolerance) for k in expected
        )

    def content(form: str, name: str, what: str, change: Callable[[dict], Any]) -> Case:
        def run(folder: Path) -> None:
            try:
                state = change({k: v.detach().clone() for k, v in small().state_dict().items()})
                _save(form, state, folder / name)
            except NOT_HELD:
                return  # by a file of this form
            if not (folder / name).exists():
                return
            found = read(folder, name)
            if Path("/tmp/deadpixel-fuzz-evil").exists():
                raise Silent("its code was run")
            if what not in LIKE_THE_STATE:
                raise Silent("accepted")
            if not agree(found, numbers(state, single=True), 0.01):
                raise Silent("other values")

        return Case(f"{form}: {what}", run, (name,))

    for form in ("safetensors", "pth", "legacy"):
        name = "weights.safetensors" if form == "safetensors" else "weights.pth"

        def make(folder: Path, f: str = form, n: str = name) -> None:
            _save(f, small().state_dict(), folder / n)

        made(make, place / form)

        def right(what: str, found: dict, expected: dict, f: str = form) -> bool:
            """Only torch's zip has a checksum; elsewhere what the file holds is what it says."""
            if agree(found, expected):
                return True
            finite = all(np.isfinite(v).all() for v in found.values())
            changed = re.match(r"bit|\d+ (zeros|bytes of noise) from|sections", what)
            return f != "pth" and changed and finite and (found["stem.1.running_var"] > 0).all()

        reader = functools.partial(lambda n, folder: read(folder, n), name)
        yield from file_cases(
            place / form, name, reader, rng, each=12, prefix=f"{form}: ", right=right
        )
        for what, change in {**LIKE_THE_STATE, **OTHER_STATES}.items():
            yield content(form, name, what, change)

    def named(what: str, form: str, name: str) -> Case:
        def run(folder: Path) -> None:
            _save(form, small().state_dict(), folder / name)
            if not agree(read(folder, name), numbers(small().state_dict())):
                raise Silent("other values")

        return Case(what, run, (name,))

    yield named("safetensors named .pth", "safetensors", "weights.pth")
    yield named("torch.save named .safetensors", "pth", "weights.safetensors")
    yield named("named .pt", "pth", "weights.pt")
    yield named("named .bin", "pth", "weights.bin")

    def other(write: Callable[[Path], None], name: str) -> Callable[[Path], None]:
        def run(folder: Path) -> None:
            write(folder / name)
            read(folder, name)
            raise Silent("accepted")

        return run

    def header(size: int, text: bytes) -> Callable[[Path], None]:
        return written(struct.pack("<Q", size) + text)

    tensor = b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}'
    strange = {
        "a zip of text": lambda f: f.write_bytes(
            publisher.caltech_archive({"101_ObjectCategories/a": b"x"})
        ),
        "TorchScript": lambda f: torch.jit.script(small()).save(str(f)),
        "a plain pickle": lambda f: f.write_bytes(pickle.dumps({"a": 1})),
        "a pickle of tensors": lambda f: f.write_bytes(pickle.dumps(small().state_dict())),
        "NumPy's npz": lambda f: np.savez(f.open("wb"), a=np.ones(3)),
        "JSON": lambda f: f.write_text("{}"),
        "HDF5": lambda f: f.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)),
        "an LFS pointer": lambda f: f.write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
        ),
    }
    for what, write in strange.items():
        for name in ("weights.pth", "weights.safetensors"):
            yield Case(f"{what}, {name}", other(write, name), (name,))
    headers = {
        "a header beyond the file": header(10**6, b"{}"),
        "a huge header": header(2**62, b"{}"),
        "a header that is no JSON": header(3, b"{a}"),
        "a header that is a list": header(2, b"[]"),
        "offsets beyond the file": header(len(tensor), tensor),
        "an unknown type": header(0, b""),
        "nested a thousandfold": header(4000, b'{"a":' * 800),
    }
    for what, write in headers.items():
        yield Case(what, other(write, "weights.safetensors"), ("weights.safetensors",))


# Interrupted work


def scratch(rng: random.Random, place: Path) -> Iterator[Case]:
    """Training and maps that go on: the numbers are those of undisturbed work."""
    images = torch.from_numpy(
        np.random.default_rng(0).normal(size=(10, 3, 16, 16)).astype(np.float32)
    )
    labels = torch.tensor([0, 1] * 5)

    def state_file(folder: Path) -> Path:
        return next((folder / "scratch").rglob("*.npz"))

    def undisturbed(folder: Path) -> None:
        network = small()
        rows = calls.fit(network, images, labels, calls.scratch(folder / "whole"), 3)
        (folder / "rows.json").write_text(json.dumps([_row(row) for row in rows]))
        torch.save(network.state_dict(), folder / "end.pth")
        shutil.rmtree(folder / "whole", ignore_errors=True)
        calls.fit(small(), images, labels, calls.scratch(folder / "scratch"), 2)

    def _row(row: dict) -> dict:
        return {k: v for k, v in row.items() if k != "seconds"}

    valid = place / "training"
    made(undisturbed, valid)
    data = state_file(valid).read_bytes()
    name = state_file(valid).name

    def training(what: str, spoil: Callable[[Path], None]) -> Case:
        def run(folder: Path) -> None:
            shutil.copytree(valid, folder, dirs_exist_ok=True)
            spoil(state_file(folder))
            network = small()
            rows = calls.fit(network, images, labels, calls.scratch(folder / "scratch"), 3)
            if [_row(row) for row in rows] != json.loads((folder / "rows.json").read_text()):
                raise Silent(f"{len(rows)} rows, other numbers")
            end = torch.load(folder / "end.pth", weights_only=True)
            if not all(torch.equal(v, end[k]) for k, v in network.state_dict().items()):
                raise Silent("other weights")

        return Case(f"training: {what}", run, (name, "training"))

    def arrays(change: Callable[[dict[str, np.ndarray]], Any]) -> Callable[[Path], None]:
        def spoil(file: Path) -> None:
            with np.load(file) as loaded:
                found = dict(loaded)
            changed = change(found)
            np.savez(file, **(found if changed is None else changed))
            file.write_bytes(file.read_bytes() + hashlib.sha256(file.read_bytes()).digest())

        return spoil

    def without(prefix: str) -> Callable[[Path], None]:
        return arrays(lambda a: {k: v for k, v in a.items() if prefix not in k})

    def rows_of(change: Callable[[list], Any]) -> Callable[[Path], None]:
        def edit(found: dict) -> dict:
            run = json.loads(str(found["run"]))
            return {**found, "run": np.array(json.dumps({**run, "rows": change(run["rows"])}))}

        return arrays(edit)

    def every(part: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
        return arrays(lambda a: {k: change(v) if part in k else v for k, v in a.items()})

    yield training("whole", lambda file: None)
    for what, spoil in spoilt(data, rng, 16):
        yield training(what, spoil)
    changes = {
        "without momentum": without("momentum/"),
        "without one momentum": without("momentum/0"),
        "without the best": without("best/"),
        "without the model": without("model/"),
        "without one weight": without("model/deep.weight"),
        "without rows": without("run"),
        "an array more": arrays(lambda a: a | {"x": np.ones(3)}),
        "a momentum more": arrays(lambda a: a | {"momentum/99": np.ones(3)}),
        "a weight of another shape": arrays(
            lambda a: a | {"model/deep.weight": np.ones((4, 4), np.float32)}
        ),
        "a momentum of another shape": arrays(lambda a: a | {"momentum/0": np.ones(3, np.float32)}),
        "a momentum that broadcasts": arrays(lambda a: a | {"momentum/0": np.ones(1, np.float32)}),
        "weights of integers": every("model/", lambda v: v.astype(int)),
        "weights of doubles": every("model/", lambda v: v.astype(np.float64)),
        "weights of halves": every("model/", lambda v: v.astype(np.float16)),
        "weights of strings": every("model/", lambda v: np.array(["x"])),
        "NaN in the weights": every("model/", lambda v: v * np.nan),
        "NaN in the momentum": every("momentum/", lambda v: v * np.nan),
        "rows that are no JSON": arrays(lambda a: a | {"run": np.array("[{")}),
        "rows that are numbers": arrays(lambda a: a | {"run": np.ones(3)}),
        "rows of nothing": rows_of(lambda rows: []),
        "rows: null": rows_of(lambda rows: None),
        "a row less": rows_of(lambda rows: rows[:-1]),
        "rows more": rows_of(lambda rows: rows * 5),
        "rows without accuracies": rows_of(lambda rows: [{"epoch": r["epoch"]} for r in rows]),
        "rows in another order": rows_of(lambda rows: rows[::-1]),
        "rows with words": rows_of(lambda rows: [{**r, "valid_acc": "x"} for r in rows]),
        "objects": lambda f: np.savez(f, rows=np.array([{}], dtype=object)),
        "a plain array": lambda f: np.save(f.open("wb"), np.ones(3)),
        "no arrays": lambda f: np.savez(f),
    }
    for what, spoil in changes.items():
        yield training(what, spoil)

    # blocks of images
    from deadpixel.data.evaluation import EvaluationImages

    class Pack:
        def __getitem__(self, index: int) -> np.ndarray:
            return np.random.default_rng(index).integers(0, 255, (16, 16, 3), dtype=np.uint8)

        def path(self, index: int) -> str:
            return f"{index}.jpg"

    def chosen() -> EvaluationImages:
        def transform(pixels: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255

        return EvaluationImages(Pack(), range(6), [0] * 6, transform)

    def finished(folder: Path) -> None:
        found = calls.blocks(small(), chosen(), calls.scratch(folder / "scratch"))
        with (folder / "blocks.pickle").open("wb") as file:
            pickle.dump(found, file)

    valid_blocks = place / "blocks"
    made(finished, valid_blocks)
    block = "block-1.npz"
    block_data = next((valid_blocks / "scratch").rglob(block)).read_bytes()

    def blocks(what: str, spoil: Callable[[Path], None]) -> Case:
        def run(folder: Path) -> None:
            shutil.copytree(valid_blocks, folder, dirs_exist_ok=True)
            spoil(next((folder / "scratch").rglob(block)))
            found = calls.blocks(small(), chosen(), calls.scratch(folder / "scratch"))
            with (folder / "blocks.pickle").open("rb") as file:
                expected = pickle.load(file)
            for number, field in expected.items():
                other = found[number]
                if other.count != field.count or not (
                    np.array_equal(other.total, field.total)
                    and np.array_equal(other.total_squares, field.total_squares)
                ):
                    raise Silent("other numbers")

        return Case(f"blocks: {what}", run, (block, "block-1"))

    yield blocks("whole", lambda file: None)
    for what, spoil in spoilt(block_data, rng, 12):
        yield blocks(what, spoil)
    for what, spoil in {
        "without the sums": without("total"),
        "without the count": without("count"),
        "of another shape": every("total", lambda v: v[:3]),
        "NaN": every("total", lambda v: v * np.nan),
        "of single precision": every("total", lambda v: v.astype(np.float32)),
        "a negative count": every("count", lambda v: -v),
        "of another target": arrays(lambda a: {k.replace("stem", "deep"): v for k, v in a.items()}),
        "objects": lambda f: np.savez(f, x=np.array([{}], dtype=object)),
    }.items():
        yield blocks(what, spoil)


# Records of finished jobs

RECORD = {
    **{"s": 12.5, "h:m:s": "0:00:12", "max_rss": 321.0, "max_vms": 1234.0, "max_uss": 300.0},
    **{"max_pss": 310.0, "io_in": 1.0, "io_out": 2.0, "mean_load": 99.0, "cpu_time": 12.0},
    **{"jobid": 3, "rule_name": "accumulate_erf", "wildcards": {"model": "resnet18"}},
    **{"params": {}, "threads": 1, "cpu_usage": 99.0},
    **{"resources": {"tmpdir": "/tmp", "work": 77, "mem_mb": 500}, "input_size_mb": {}},
}


def records(rng: random.Random, _: Path) -> Iterator[Case]:
    text = (json.dumps(RECORD) + "\n").encode()

    def sound(number: Any) -> bool:
        known = isinstance(number, int | float) and not isinstance(number, bool)
        return known and math.isfinite(number) and number >= 0

    def case(what: str, spoil: Callable[[Path], None]) -> Case:
        def run(folder: Path) -> None:
            for name in ("a", "b", "c"):
                written(text)(folder / f"benchmarks/accumulate_erf/{name}.jsonl")
            spoil(folder / "benchmarks/accumulate_erf/b.jsonl")
            found = {
                Path(record.path).stem: record
                for record in calls.read_records(folder / "benchmarks")
            }
            for good in {"a", "c"} - set(found):
                raise Silent(f"the record {good} is lost")
            for record in found.values():
                numbers = [record.seconds, record.memory_mb, record.work or 0.0]
                if not all(map(sound, numbers)):
                    raise Silent(f"a record of {numbers}")
                if not isinstance(record.rule, str):
                    raise Silent(f"a record of rule {record.rule}")

        return Case(what, run, ("b.jsonl",))

    yield case("whole", lambda file: None)
    for what, spoil in spoilt(text, rng, 14):
        yield case(what, spoil)
    for key in ("s", "max_rss", "rule_name", "resources"):
        less = {k: v for k, v in RECORD.items() if k != key}
        yield case(f"without {key}", written(json.dumps(less)))
        for value in (None, "x", "NA", -1, math.nan, math.inf, True, [], {}, 1e400, 10**400):
            try:
                data = json.dumps({**RECORD, key: value})
            except (OverflowError, ValueError):
                continue
            yield case(f"{key}: {str(value)[:9]}", written(data))
    for value in (None, "x", -1, math.nan, [], True):
        data = json.dumps({**RECORD, "resources": {"work": value}})
        yield case(f"work: {value}", written(data))
    others = {
        "a list": "[]\n",
        "a number": "3\n",
        "null": "null\n",
        "two lines, the second cut": text + text[:100],
        "two lines, the first cut": text[:100] + b"\n" + text,
        "a blank line behind": text + b"\n",
        "the tabular form": b"s\th:m:s\tmax_rss\n1.0\t0:00:01\t10\n",
        "CRLF": text.replace(b"\n", b"\r\n"),
        "a byte order mark": b"\xef\xbb\xbf" + text,
        "UTF-16": text.decode().encode("utf-16"),
        "Latin-1": b"\xe9" + text,
        "nested": b"[" * 100_000,
        "a conflict": b"<<<<<<< HEAD\n" + text,
    }
    for what, data in others.items():
        yield case(what, written(data))
    yield case("no folder", lambda file: None)
    yield case("a link to its folder", lambda file: (file.parent / "x").symlink_to(file.parent))
