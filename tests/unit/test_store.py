"""Result files: their schema, that they are written whole or not at all, and what is kept between.

The columns are those that other programs rely on (the project's contracts).
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deadpixel import extent, gaussian, imbalance
from deadpixel.errors import InputError
from deadpixel.files import atomic, parquet, resume, schemas

SCHEMAS = {
    name: getattr(schemas, name) for name in ("MANIFEST", "ERF", "BLOCK", "TILES", "TRF", "FITS")
} | {
    "IMBALANCE": schemas.measures(imbalance.columns()),
    "EXTENT": schemas.measures(extent.columns()),
}
FIRST_COLUMNS = {  # further columns may follow
    "ERF": "row col mean se",
    "TRF": "model kernels target size_h size_w stride_h stride_w offset_h offset_w",
    "FITS": "dataset model weights kernels target n_images amplitude center_x center_y "
    "sigma_x sigma_y sigma_x_se sigma_y_se r_squared",
    "IMBALANCE": "dataset model weights kernels target n_images l1 l2 l1_raw l2_raw l1_se l2_se",
    "EXTENT": "dataset model weights kernels target n_images stride",
}
ERF = pd.DataFrame({"row": [0, 0], "col": [0, 1], "mean": [0.5, 1.5], "se": [0.1, np.nan]})


def _written(path: Path, frame: pd.DataFrame = ERF, **facts: object) -> Path:
    parquet.write(frame, path, schemas.ERF, facts)
    return path


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---------------------------------------------------------------------------------- columns


@pytest.mark.parametrize("name", FIRST_COLUMNS)
def test_contract(name: str) -> None:
    """The agreed columns come first and in the agreed order; a map's are of the agreed types."""
    agreed = FIRST_COLUMNS[name].split()
    assert SCHEMAS[name].names[: len(agreed)] == agreed
    assert [str(kind) for kind in schemas.ERF.types] == ["int16", "int16", "double", "double"]


def test_fits_have_a_column_for_all_that_a_fit_says() -> None:
    map_ = gaussian.evaluate((20, 20), 1, 10, 10, 3, 3)
    row = gaussian.fit_or_failure(map_, np.array([map_, map_]))
    assert {*row} == {*schemas.FITS.names} - {*FIRST_COLUMNS["FITS"].split()[:6]}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_round_trip(tmp_path: Path, schema: pa.Schema) -> None:
    """The file has exactly the schema; what was written is read, nulls too; order is no matter."""
    values = {pa.string(): ["a", None], pa.float64(): [0.1, None]}
    arrays = [pa.array(values.get(kind, [1, 2]), kind) for kind in schema.types]
    frame = pa.table(arrays, schema).to_pandas()
    shuffled = frame[frame.columns[::-1]].set_index(pd.Index([7, 3]))
    parquet.write(shuffled, tmp_path / "new" / "x.parquet", schema, {})
    with pq.ParquetFile(tmp_path / "new" / "x.parquet") as file:
        assert file.schema_arrow.equals(schema)
    pd.testing.assert_frame_equal(parquet.read(tmp_path / "new" / "x.parquet", schema), frame)


def test_rows_of_one_file_or_of_several_in_their_order(tmp_path: Path) -> None:
    """Folders of partitions add no columns."""
    files = [_written(tmp_path / f"model={n}/x.parquet", ERF.assign(se=float(n))) for n in (2, 1)]
    assert parquet.read_all(files, schemas.ERF)["se"].tolist() == [2, 2, 1, 1]
    for single in (files[0], str(files[0])):
        read = parquet.read_all(single, schemas.ERF)
        assert [*read] == schemas.ERF.names and read["se"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("change", "column"),
    [
        (lambda frame: frame.drop(columns="se"), "se"),
        (lambda frame: frame.assign(extra=1), "extra"),
        (lambda frame: frame.rename(columns={"mean": "average"}), "mean.*average"),
        (lambda frame: frame.assign(se=["a", "b"]), "'se' is .*string, expected double"),
        (lambda frame: frame.assign(row=[1.0, 2.0]), "'row' is double, expected int16"),
    ],
    ids=["missing", "extra", "renamed", "text", "float"],
)
def test_other_columns_are_refused(tmp_path: Path, change: Callable, column: str) -> None:
    """Reading says which column of which file is wrong; writing leaves no such file."""
    file = tmp_path / "x.parquet"
    types = {"row": np.int16, "col": np.int16}
    change(ERF.astype(types)).to_parquet(file)
    with pytest.raises(InputError, match=f"^{re.escape(str(file))}: .*{column}"):
        parquet.read(file, schemas.ERF)
    if "expected" not in column:
        with pytest.raises(InputError, match=f"{re.escape(str(tmp_path))}.*{column}"):
            _written(tmp_path / "new.parquet", change(ERF))
        assert _names(tmp_path) == ["x.parquet"]


@pytest.mark.parametrize("row", [1.5, 70_000, "a"])
def test_values_are_never_bent(tmp_path: Path, row: object) -> None:
    """A value that its column cannot hold is an error naming the column, not another value."""
    with pytest.raises(pa.ArrowInvalid, match="column row"):
        _written(tmp_path / "x.parquet", ERF.assign(row=row))
    assert _names(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"row,col\n0,0\n", None, "folder", "half"])
def test_not_parquet(tmp_path: Path, content: bytes | str | None) -> None:
    """Empty, of another format, missing, a folder or cut off: the message names the file."""
    file = tmp_path / "x.parquet"
    if content == "folder":
        file.mkdir()
    elif content == "half":
        whole = _written(file).read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
    elif content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(file))):
        parquet.read(file, schemas.ERF)


@pytest.mark.slow
def test_a_damaged_file_is_refused_by_its_name(tmp_path: Path) -> None:
    """Any byte of it: read rightly all the same, or refused; never other numbers."""
    frame = pd.DataFrame({"row": 0, "col": range(200), "mean": np.arange(200.0), "se": 0.1})
    whole = _written(tmp_path / "whole.parquet", frame, seed=1).read_bytes()
    expected = parquet.read(tmp_path / "whole.parquet", schemas.ERF)
    file = tmp_path / "x.parquet"
    outcomes = {"right": 0, "refused": 0}
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        file.write_bytes(damaged)
        try:
            found = parquet.read(file, schemas.ERF)
            assert isinstance(parquet.read_provenance(file), dict)
        except InputError as error:
            assert str(error).startswith(str(file))
            assert str(error).endswith("delete it and run again") or "delete the file" in str(error)
            outcomes["refused"] += 1
        else:
            pd.testing.assert_frame_equal(found, expected)
            outcomes["right"] += 1
    assert outcomes["refused"] > 200


@pytest.mark.parametrize("facts", [b"", b"{", b"[1]", b"null", b"1", b"\xff\xff"])
def test_provenance_that_is_none(tmp_path: Path, facts: bytes) -> None:
    file = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({b"deadpixel": facts}), file)
    with pytest.raises(InputError, match=f"^{re.escape(str(file))}: .+; delete it and run again$"):
        parquet.read_provenance(file)


@pytest.mark.parametrize("content", [b"", b"PAR1", None, "folder", "pipe"])
def test_provenance_of_no_parquet(tmp_path: Path, content: bytes | str | None) -> None:
    file = tmp_path / "x.parquet"
    if content == "folder":
        file.mkdir()
    elif content == "pipe":
        os.mkfifo(file)
    elif content is not None:
        file.write_bytes(content)
    for read in (parquet.read_provenance, lambda path: parquet.read(path, schemas.ERF)):
        with pytest.raises(InputError, match=f"^{re.escape(str(file))}: .+; delete it and run ag"):
            read(file)


def test_a_tree_reads_as_one_table(tmp_path: Path) -> None:
    """pandas gives the folders' names as columns, and passes over what a killed job left."""
    for model in ("resnet18", "resnet50"):
        folder = tmp_path / "erf" / "dataset=cub" / f"model={model}"
        _written(folder / "erf.parquet")
        assert parquet.partitions(folder / "erf.parquet") == {"dataset": "cub", "model": model}
        with atomic.writing(folder / "erf.parquet") as partial:
            partial.write_bytes(b"half")
            table = pd.read_parquet(tmp_path / "erf")
            _written(partial)
    assert [*table] == ["row", "col", "mean", "se", "dataset", "model"]
    assert table.groupby("model", observed=True)["mean"].sum().to_dict() == {
        "resnet18": 2.0,
        "resnet50": 2.0,
    }


def test_seeds_alone_are_numbers_in_paths(tmp_path: Path) -> None:
    """A network may be named 18."""
    path = tmp_path / "model=18/kernels=odd/seed=3000000000/erf.parquet"
    _written(path)
    table = parquet.read_partitioned([path], schemas.ERF)
    assert table[["model", "seed"]].iloc[0].tolist() == ["18", 3_000_000_000]


def test_partitions_of_any_path() -> None:
    assert parquet.partitions("results/fits.parquet") == {}
    assert parquet.partitions("a/b=c=d/e.parquet") == {"b": "c=d"}


# -------------------------------------------------------------------------------- atomicity


def test_atomic_shows_whole_files_only(tmp_path: Path) -> None:
    """Nothing but the old file is to be seen until the block is done, nothing but the new after."""
    file = _written(tmp_path / "x.parquet")
    old = file.read_bytes()
    with atomic.writing(file) as partial:
        assert partial.parent == file.parent  # the same file system
        assert partial.suffix == file.suffix  # writers choose the format by it
        partial.write_text("new")
        assert file.read_bytes() == old
        assert [name for name in _names(tmp_path) if not name.startswith((".", "_"))] == [file.name]
    assert file.read_text() == "new"
    assert _names(tmp_path) == [file.name]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, None])
def test_atomic_failure_keeps_the_old_file(
    tmp_path: Path, error: type[BaseException] | None
) -> None:
    """So it does if the block raises, is interrupted, or writes nothing."""
    file = tmp_path / "x.txt"
    file.write_text("old")
    with pytest.raises(error or FileNotFoundError), atomic.writing(file) as partial:
        if error:
            partial.write_text("half")
            raise error
    assert file.read_text() == "old"
    assert _names(tmp_path) == ["x.txt"]


def test_failed_write_keeps_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(_table: pa.Table, where: Path, **_: object) -> None:
        Path(where).write_bytes(b"half")
        raise OSError("no space left on device")

    file = _written(tmp_path / "x.parquet")
    monkeypatch.setattr(pq, "write_table", full_disk)
    with pytest.raises(OSError, match="no space"):
        _written(file, ERF.assign(mean=0.0))
    assert parquet.read(file, schemas.ERF)["mean"].tolist() == [0.5, 1.5]
    assert _names(tmp_path) == [file.name]


def test_kill_keeps_the_old_file(tmp_path: Path) -> None:
    """What kill -9 leaves is hidden, and gone after the next write."""
    file = tmp_path / "x.txt"
    file.write_text("old")
    script = (
        "import os, signal; from deadpixel.files import atomic\n"
        f"with atomic.writing({str(file)!r}) as partial:\n"
        "    partial.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    library = str(Path(atomic.__file__).parents[2])
    killed = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": library}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert file.read_text() == "old"
    assert [name for name in _names(tmp_path) if not name.startswith(".")] == ["x.txt"]
    with atomic.writing(file) as partial:
        partial.write_text("new")
    assert file.read_text() == "new"
    assert _names(tmp_path) == ["x.txt"]


# ------------------------------------------------------------------------------- provenance


def test_provenance_is_in_the_file(tmp_path: Path) -> None:
    """As JSON under the key that other programs look for."""
    facts = {"n_images": 3, "preprocess": {"crop": 224}, "logit": "true"}
    file = _written(tmp_path / "x.parquet", **facts)
    assert json.loads(pq.read_metadata(file).metadata[b"deadpixel"]) == facts
    assert parquet.read_provenance(file) == facts


@pytest.mark.parametrize("metadata", [None, {b"other": b"1"}])
def test_missing_provenance(tmp_path: Path, metadata: dict | None) -> None:
    file = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata(metadata), file)
    with pytest.raises(InputError, match=re.escape(str(file))):
        parquet.read_provenance(file)


def test_provenance_names_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The facts, the versions of what computed them, and no commit where there is no git."""
    monkeypatch.setenv("PATH", "")
    made = parquet.provenance(seed=1, device="cpu")
    assert made["versions"].items() >= {"numpy": np.__version__, "pyarrow": pa.__version__}.items()
    assert {**made, "versions": None} == {
        **{"seed": 1, "device": "cpu"},
        **{"versions": None, "git_commit": None},
    }


def test_provenance_names_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In full, whatever tags there are, and marked if the code differs from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        run = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        return run.stdout.strip()

    code = tmp_path / "store.py"
    code.write_text("1")
    monkeypatch.setattr(parquet, "__file__", str(code))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert parquet.provenance()["git_commit"] is None
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    git("tag", "-a", "v1", "-m", "v1")
    commit = git("rev-parse", "HEAD")
    assert parquet.provenance()["git_commit"] == commit
    code.write_text("2")
    assert parquet.provenance()["git_commit"] == f"{commit}+"


# ---------------------------------------------------------------------------------- scratch


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """An input file of a long job."""
    file = tmp_path / "images.arrow"
    file.write_text("pixels")
    return file


def test_scratch_keeps_and_forgets(tmp_path: Path, pack: Path) -> None:
    """The same job finds its arrays again, whatever the order of its settings, until it clears."""
    arrays = {"total": np.arange(6.0).reshape(2, 3), "count": np.array(3)}
    first = resume.Scratch(tmp_path / "scratch", [pack], seed=1, erf={"images": 8})
    other = resume.Scratch(tmp_path / "scratch", [pack], seed=2, erf={"images": 8})
    assert first.load("block0") is None
    first.save("block0", arrays)
    other.save("block0", {})
    again = resume.Scratch(tmp_path / "scratch", [pack], erf={"images": 8}, seed=1)
    loaded = again.load("block0")
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype
    assert again.load("block1") is None
    again.clear()
    again.clear()
    assert first.load("block0") is None
    assert other.load("block0") is None, "nobody takes up what other settings have left"
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize(
    "save",
    [
        *("truncated", "emptied", "flipped", "other arrays", "longer"),
        *("a folder", "a pipe", "a device", "a link to nothing", "a link to itself"),
    ],
)
def test_damaged_scratch_is_computed_again(
    tmp_path: Path, pack: Path, save: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One line says so, wherever the damage is."""
    scratch = resume.Scratch(tmp_path / "scratch", [pack])
    scratch.save("block0", {"a": np.ones(20), "rows": np.array("[1]")})
    (file,) = tmp_path.glob("scratch/*/block0.npz")
    whole = file.read_bytes()
    places = range(0, len(whole), 7) if save in ("truncated", "flipped") else [0]
    for place in places:
        if save == "truncated":
            file.write_bytes(whole[:place])
        elif save == "flipped":
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        elif save == "other arrays":
            np.savez(file, b=np.zeros(3))
        elif save == "a folder":
            file.unlink()
            file.mkdir()
        elif save == "a pipe":
            file.unlink()
            os.mkfifo(file)
        elif save == "a device" or "a link" in save:
            to = {"a device": "/dev/zero", "a link to nothing": "none", "a link to itself": file}
            file.unlink()
            file.symlink_to(to[save])
        else:
            file.write_bytes({"emptied": b"", "longer": whole + b"0"}[save])
        caplog.clear()
        assert scratch.load("block0") is None
        (line,) = caplog.messages
        assert f"{file} is computed again: " in line
    scratch.save("block0", {"a": np.ones(20)})
    assert scratch.load("block0")["a"].sum() == 20


def test_of_large_inputs_both_ends_count(
    tmp_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a pack keeps its checksum; no job reads gigabytes to find its scratch."""
    monkeypatch.setattr(resume, "_WHOLE", 8)
    monkeypatch.setattr(resume, "_END", 4)

    def known(contents: str) -> bool:
        pack.write_text(contents)
        scratch = resume.Scratch(tmp_path / "scratch", [pack])
        found = scratch.load("block0") is not None
        scratch.save("block0", {})
        return found

    assert not known("head middle tail")
    assert known("head MIDDLE tail")
    assert not known("HEAD middle tail")
    assert not known("head middle TAIL")
    assert not known("head midddle tail")


@pytest.mark.parametrize("change", ["setting", "nested", "content", "order", "more"])
def test_scratch_of_another_job(tmp_path: Path, pack: Path, change: str) -> None:
    """Another setting, or an input that holds something else, and the work starts from nothing."""

    def scratch() -> resume.Scratch:
        return resume.Scratch(tmp_path / "scratch", inputs, **settings)

    other = tmp_path / "manifest"
    other.write_text("paths")
    inputs, settings = [pack, other], {"seed": 1, "erf": {"images": 8}}
    scratch().save("block0", {"a": np.ones(1)})
    assert scratch().load("block0") is not None
    if change == "setting":
        settings["seed"] = 2
    elif change == "nested":
        settings["erf"] = {"images": 9}
    elif change == "content":
        before = pack.stat()
        pack.write_text("PIXELS")
        os.utime(pack, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change == "order":
        inputs = [other, pack]
    else:
        inputs = [pack, other, pack]
    assert scratch().load("block0") is None


def test_scratch_of_inputs_made_again(tmp_path: Path, pack: Path) -> None:
    """The same contents at another time in another place: finished work is taken up."""
    resume.Scratch(tmp_path / "scratch", [pack]).save("block0", {"a": np.ones(1)})
    moved = pack.rename(tmp_path / "moved.arrow")
    os.utime(moved, (1, 1))
    assert resume.Scratch(tmp_path / "scratch", [moved]).load("block0") is not None


def test_interrupted_save_leaves_nothing(
    tmp_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(file: Path, **_: np.ndarray) -> None:
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    scratch = resume.Scratch(tmp_path / "scratch", [pack])
    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scratch.save("block0", {"a": np.ones(1)})
    assert scratch.load("block0") is None
