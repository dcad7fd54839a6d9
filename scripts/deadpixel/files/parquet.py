"""Result files: Parquet of an agreed schema, written at once or not at all, with provenance."""

import contextlib
import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InputError
from .atomic import writing

METADATA_KEY = b"deadpixel"

_ROWS_KEY = b"deadpixel rows"  # pages have checksums, but a Parquet file's number of rows has none

_PACKAGES = ("deadpixel", "torch", "torchvision", "numpy", "pandas", "pyarrow", "lmfit", "scipy")


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
    with writing(path) as partial:
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


def read_all(paths: Path | str | Iterable[Path | str], schema: pa.Schema) -> pd.DataFrame:
    """Rows of one file or of several, as they are."""
    several = [paths] if isinstance(paths, (str, Path)) else paths
    return pd.concat([read(path, schema) for path in several], ignore_index=True)


def read_partitioned(paths: Iterable[Path | str], schema: pa.Schema) -> pd.DataFrame:
    """Rows of all files, with the columns that their paths give; seeds are integers."""
    frames = []
    for path in paths:
        values = {k: int(v) if k == "seed" else v for k, v in partitions(path).items()}
        frames.append(read(path, schema).assign(**values))
    return pd.concat(frames, ignore_index=True)


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
