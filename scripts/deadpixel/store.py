"""Result files: Parquet of an agreed schema, written at once or not at all, with provenance."""

import contextlib
import errno
import glob
import hashlib
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .errors import InputError
from .logs import log

METADATA_KEY = b"deadpixel"
_ROWS_KEY = b"deadpixel rows"  # pages have checksums, but a Parquet file's number of rows has none
_PACKAGES = ("deadpixel", "torch", "torchvision", "numpy", "pandas", "pyarrow", "lmfit", "scipy")


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


_MAP = {
    "dataset": pa.string(),
    "model": pa.string(),
    "weights": pa.string(),
    "kernels": pa.string(),
}

MANIFEST = _schema(
    path=pa.string(),
    label=pa.int16(),
    class_name=pa.string(),
    split=pa.string(),
    width=pa.int32(),
    height=pa.int32(),
    sha256=pa.string(),
)
ERF = _schema(row=pa.int16(), col=pa.int16(), mean=pa.float64(), se=pa.float64())
ERF_BLOCKS = _schema(
    block=pa.int16(), count=pa.int32(), row=pa.int16(), col=pa.int16(), mean=pa.float64()
)
ERF_SUMS = _schema(
    block=pa.int16(),
    count=pa.int32(),
    row=pa.int16(),
    col=pa.int16(),
    total=pa.float64(),
    total_squares=pa.float64(),
)
TRF = _schema(
    model=pa.string(),
    kernels=pa.string(),
    target=pa.string(),
    **{
        f"{name}_{axis}": pa.float64()
        for name in ("size", "stride", "offset", "center", "gateless_size")
        for axis in "hw"
    },
)
PLAN = _schema(
    job=pa.string(),
    rule=pa.string(),
    **{name: pa.string() for name in (*_MAP, "seed")},
    after=pa.list_(pa.string()),
    priority=pa.int32(),
    needs_device=pa.bool_(),
    work=pa.float64(),
    predicted_seconds=pa.float64(),
    measured_seconds=pa.float64(),
    records=pa.int32(),
    memory_mb=pa.float64(),
    measured_memory_mb=pa.float64(),
    disk_mb=pa.float64(),
)
MAKESPANS = _schema(
    devices=pa.int32(),
    **dict.fromkeys(["list_seconds", "optimum_seconds", "bound_seconds"], pa.float64()),
)
FITS = _schema(
    **_MAP,
    target=pa.string(),
    n_images=pa.int32(),
    **dict.fromkeys(
        ["amplitude", "center_x", "center_y", "sigma_x", "sigma_y", "sigma_x_se", "sigma_y_se"],
        pa.float64(),
    ),
    r_squared=pa.float64(),
    failure=pa.string(),
)
IMBALANCE = _schema(
    **_MAP,
    target=pa.string(),
    n_images=pa.int32(),
    **dict.fromkeys(
        [
            *("l1", "l2", "l1_raw", "l2_raw", "l1_se", "l2_se"),
            *("l1_floor", "l1_unbiased", "l1_unbiased_se"),
            *("l2_floor", "l2_unbiased", "l2_unbiased_se"),
            *("contrast", "contrast_se", "contrast_floor", "contrast_unbiased"),
            "contrast_unbiased_se",
        ],
        pa.float64(),
    ),
)
EPOCHS = _schema(
    epoch=pa.int32(),
    **dict.fromkeys(
        ["lr", "train_loss", "train_acc", "valid_acc", "test_acc", "seconds"], pa.float64()
    ),
)
PREDICTIONS = _schema(path=pa.string(), label=pa.int16(), predicted=pa.int16())


@contextlib.contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes that name only if the block succeeds.

    What killed writers of `path` left is removed: no other is alive (see `orphans`).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.partial*"):
        stale.unlink(missing_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial{path.suffix}")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:  # most writers do not say which file it was
            error.filename = error.filename or str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def provenance(**facts: Any) -> dict[str, Any]:
    """`facts` with the versions of the packages and the git commit that made a result."""
    return {**facts, "versions": _versions(), "git_commit": _git_commit()}


def write(
    frame: pd.DataFrame, path: Path | str, schema: pa.Schema, facts: Mapping[str, Any]
) -> None:
    """Write `frame` atomically as Parquet, its provenance under the metadata key ``deadpixel``.

    Raises `InputError` if the columns are not those of `schema`.
    """
    _check_names(list(frame.columns), schema, path)
    table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
    table = table.replace_schema_metadata(
        {METADATA_KEY: json.dumps(facts).encode(), _ROWS_KEY: b"%d" % len(table)}
    )
    with atomic(path) as partial:
        pq.write_table(table, partial, compression="zstd", write_page_checksum=True)


def read(path: Path | str, schema: pa.Schema) -> pd.DataFrame:
    """Read one Parquet file; raises `InputError` naming the file and the column that is wrong."""
    with _reading(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        found = file.schema_arrow
        _check_names(found.names, schema, path)
        for field in schema:
            if found.field(field.name).type != field.type:
                raise InputError(
                    f"{path}: column {field.name!r} is {found.field(field.name).type}, "
                    f"expected {field.type}; delete the file and run again"
                )
        table = file.read()
        table.validate(full=True)
        rows = (file.schema_arrow.metadata or {}).get(_ROWS_KEY, b"%d" % len(table))
        if rows != b"%d" % len(table):
            raise InputError(f"{path}: damaged, it has lost rows; delete it and run again")
        return table.to_pandas(ignore_metadata=True)


@contextlib.contextmanager
def _reading(path: Path | str) -> Iterator[None]:
    """Arrow raises almost anything of a damaged file."""
    if Path(path).exists() and not Path(path).is_file():
        raise InputError(f"{path}: is no plain file, so no Parquet; delete it and run again")
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{path}: cannot be read as Parquet ({reason}); delete it and run again"
        ) from error


def read_partitioned(paths: Iterable[Path | str], schema: pa.Schema) -> pd.DataFrame:
    """Rows of all files, with the columns that their paths give; numbers in paths are integers."""
    frames = []
    for path in paths:
        values = {k: int(v) if v.isdigit() else v for k, v in partitions(path).items()}
        frames.append(read(path, schema).assign(**values))
    return pd.concat(frames, ignore_index=True)


class Scratch:
    """Where a long job keeps what it has finished, until its results are written.

    Each job has a folder; in it, one named by a hash of everything that the work depends on. So
    after a kill the job goes on where it was, and one with other settings starts from nothing.
    """

    def __init__(self, job: Path | str, inputs: Iterable[Path | str], **settings: Any) -> None:
        """Depend on what the `inputs` hold, not on where or when, and on `settings`."""
        files = [_digest(Path(file)) for file in inputs]
        key = hashlib.sha256(json.dumps([files, settings], sort_keys=True, default=str).encode())
        self._job = Path(job)
        self._folder = self._job / key.hexdigest()[:20]

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """Arrays saved under `name`; None if there are none, or, which is logged, damaged ones."""
        file = self._folder / f"{name}.npz"
        if not os.path.lexists(file):
            return None
        problem = "it is damaged"
        try:
            if not file.is_file():  # do not open it either: a pipe would wait for its other end
                problem = "it is no plain file"
            elif _is_whole(file):
                with np.load(file, allow_pickle=False) as arrays:
                    return dict(arrays)
        except OSError as error:
            problem = str(error)
        log.warning("%s is computed again: %s", file, problem)
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)
        return None

    def save(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep arrays under `name`, atomically, a checksum behind them."""
        with atomic(self._folder / f"{name}.npz") as partial:
            np.savez(partial, **arrays)
            with partial.open("rb+") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
                file.write(digest)

    def clear(self) -> None:
        """The results are written: forget all of the job, under earlier settings too."""
        for folder in self._job.glob("[0-9a-f]" * 20):
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # there is something else in it
            self._job.rmdir()


_WHOLE = 2**30  # bytes; of larger files, which are packs, both ends: there they keep a checksum
_END = 2**26


def _digest(file: Path) -> str:
    size = file.stat().st_size
    with file.open("rb") as opened:
        if size <= _WHOLE:
            return hashlib.file_digest(opened, "sha256").hexdigest()
        found = hashlib.sha256(f"{size} ".encode() + opened.read(_END))
        opened.seek(-_END, os.SEEK_END)
        found.update(opened.read())
    return found.hexdigest()


def _is_whole(file: Path) -> bool:
    """Whether the last 32 bytes of the file are the checksum of all before them."""
    found, left = hashlib.sha256(), file.stat().st_size - hashlib.sha256().digest_size
    with file.open("rb") as opened:
        while left > 0:
            part = opened.read(min(left, _END))
            found.update(part)
            left -= len(part) or left
        return opened.read() == found.digest()


def read_provenance(path: Path | str) -> dict[str, Any]:
    """The provenance that `write` put into a Parquet file; raises `InputError` if it has none."""
    with _reading(path):
        facts = (pq.read_metadata(path).metadata or {}).get(METADATA_KEY)
        provenance = None if facts is None else json.loads(facts)
    if not isinstance(provenance, dict):
        raise InputError(f"{path}: no provenance, so not of this workflow; delete it and run again")
    return provenance


def partitions(path: Path | str) -> dict[str, str]:
    """Columns that a hive-partitioned path gives: ``model=resnet18`` is {"model": "resnet18"}."""
    return dict(part.split("=", 1) for part in Path(path).parts if "=" in part)


def _check_names(names: list[str], schema: pa.Schema, path: Path | str) -> None:
    missing = [name for name in schema.names if name not in names]
    extra = [name for name in names if name not in schema.names]
    if missing or extra:
        raise InputError(
            f"{path}: missing columns {missing}, unexpected columns {extra}; "
            "delete the file and run again"
        )


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _git_commit() -> str | None:
    """Commit of the code, with ``+`` behind it where files differ from it; None outside git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40"]
    try:
        described = subprocess.run(
            [*command, "--dirty=+", "--exclude=*"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()
