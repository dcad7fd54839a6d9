"""What a run has left: tables, figures and maps, by their place below the folder of results."""

import fnmatch
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pyarrow as pa

from ...files import maps, parquet, schemas
from .. import arms
from ..render import Table


@dataclass(frozen=True)
class Filled:
    """Rows of a table, with what its Parquet file says of them.

    shown: rows as they are read, kinds of kernels by their labels.
    """

    rows: pd.DataFrame
    shown: pd.DataFrame
    notes: list[str]
    settings: dict[str, dict[str, Any]]


def _name(path: Path, results: Path) -> str:
    parts = path.relative_to(results).parts
    return "/".join(parts[parts[0].startswith("definition=") :])


class Run:
    """Files of a run; what is not among them is not there."""

    def __init__(self, results: Path | str, page: Path | str, files: Iterable[Path | str]) -> None:
        """page: where that of the run will be. Names are paths below `results`, or below the folder
        of a definition of the field there.
        """
        self._page = Path(page)
        self._files = {_name(path, Path(results)): path for path in sorted(map(Path, files))}
        trf = [self._files[name] for name in self.names("*trf/*/trf.parquet")]
        self._trf = parquet.read_all(trf, schemas.TRF) if trf else None

    def names(self, pattern: str) -> list[str]:
        """Of its files, sorted; an asterisk stands for anything."""
        return fnmatch.filter(self._files, pattern)

    def path(self, name: str) -> Path:
        """Where a file is."""
        return self._files[name]

    def link(self, name: str) -> str:
        """Address of a file, relative to the page."""
        return quote(Path(os.path.relpath(self._files[name], self._page.parent)).as_posix())

    def table(self, name: str, table: Table) -> Filled | None:
        """A table, if it is there; raises `InputError` if its columns are others."""
        if name not in self._files:
            return None
        rows, facts = self.rows(name, table.schema), self.facts(name)
        return Filled(rows, self._labelled(rows), facts.get("notes", []), facts.get("settings", {}))

    def rows(self, name: str, schema: pa.Schema) -> pd.DataFrame:
        """Of a file that is there."""
        return parquet.read(self._files[name], schema)

    def facts(self, name: str) -> dict[str, Any]:
        """What the metadata of a file that is there says."""
        return parquet.read_provenance(self._files[name])

    def _labelled(self, rows: pd.DataFrame) -> pd.DataFrame:
        if self._trf is None or not {"model", "kernels"} <= {*rows}:
            return rows
        return arms.labelled(rows, self._trf)

    def maps(self) -> dict[str, maps.StoredField]:
        """Every map of a target that its network has, by the name of its file."""
        return {
            name: found
            for name in self.names("erf/*.parquet")
            for found in maps.read_each([self._files[name]])
        }
