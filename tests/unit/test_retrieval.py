"""Retrieval of one file: checksums, what is kept of them, resuming, and messages."""

import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from deadpixel.data import retrieval
from deadpixel.errors import InputError
from publisher import Publisher

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SHORT = SHA256[:8]  # as torchvision publishes it


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "file").write_bytes(CONTENT)
    server = Publisher(folder)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def retrieve(tmp_path, server):
    """Retrieve the file, as a registry says; returns the link."""

    def call(fault="whole", mirror=None, sha256=SHA256, size=3_000_000):
        url = server.url("file", fault)
        mirror = mirror and server.url("file", mirror)
        published = retrieval.Published(url, size, sha256, mirror)
        link = tmp_path / "retrieved/file"
        retrieval.retrieve(published, tmp_path / "root", tmp_path / "downloads", link)
        return link

    return call


@pytest.mark.parametrize("fault", ["whole", "cut", "busy", "stubborn"])
@pytest.mark.parametrize("sha256", [SHA256, SHORT])
def test_the_right_file(tmp_path, retrieve, fault, sha256):
    link = retrieve(fault, sha256=sha256)
    assert link.read_bytes() == CONTENT
    assert link.resolve() == tmp_path / "downloads/file"
    assert (tmp_path / "downloads/file.sha256").read_text() == f"{SHA256}  file\n"
    assert not list((tmp_path / "downloads").glob(".*partial"))


@pytest.mark.parametrize("expected", ["0" * 64, "0" * 8])
def test_another_file_is_refused(tmp_path, retrieve, expected):
    with pytest.raises(InputError, match=f"3,000,000 bytes and .+ {SHA256}, not .+ {expected}"):
        retrieve(sha256=expected)
    assert not (tmp_path / "retrieved/file").exists()
    assert (tmp_path / "downloads/.file.partial").stat().st_size == 0


def test_what_was_seen_first_binds_unless_the_whole_checksum_is_published(
    tmp_path, server, retrieve
):
    retrieve(sha256=SHORT)
    changed = CONTENT[::-1]
    (server.folder / "file").write_bytes(changed)
    (tmp_path / "downloads/file").unlink()
    new = hashlib.sha256(changed).hexdigest()
    with pytest.raises(InputError, match=rf"not .+{SHA256}, as it was .+ delete .+file\.sha256"):
        retrieve(sha256=new[:8])
    assert retrieve(sha256=new).read_bytes() == changed
    assert (tmp_path / "downloads/file.sha256").read_text().startswith(new)


def test_what_is_there_is_not_retrieved_again(server, retrieve):
    retrieve()
    retrieve()
    assert list(server.starts.values()) == [[0]]


def test_what_is_there_and_wrong_is_retrieved_again(tmp_path, retrieve):
    retrieve()
    (tmp_path / "downloads/file").write_bytes(CONTENT[:-1])
    assert retrieve().read_bytes() == CONTENT


def test_the_users_copy_is_used_and_never_changed(tmp_path, server, retrieve):
    copy = tmp_path / "root/file"
    copy.parent.mkdir()
    copy.write_bytes(CONTENT)
    assert retrieve().resolve() == copy
    copy.write_bytes(b"half")
    with pytest.raises(InputError, match=rf"{copy} has 4 bytes"):
        retrieve()
    assert copy.read_bytes() == b"half"
    assert not server.starts


@pytest.mark.parametrize("left", [CONTENT[:1_000_000], CONTENT, b"of another file", CONTENT + b"1"])
@pytest.mark.parametrize("fault", ["whole", "cut"])
def test_what_an_earlier_download_left(tmp_path, retrieve, left, fault):
    partial = tmp_path / "downloads/.file.partial"
    partial.parent.mkdir()
    partial.write_bytes(left)
    assert retrieve(fault).read_bytes() == CONTENT


def test_the_mirror_goes_on_where_the_first_server_stopped(tmp_path, server, retrieve):
    partial = tmp_path / "downloads/.file.partial"
    partial.parent.mkdir()
    partial.write_bytes(CONTENT[:2_000_000])
    retrieve("missing", mirror="whole")
    assert server.sent["file"] == 1_000_000


def test_every_place_is_named(tmp_path, server, retrieve):
    with pytest.raises(InputError) as error:
        retrieve("missing", mirror="wrong")
    lines = str(error.value).splitlines()
    assert lines[0].startswith(f"{tmp_path / 'root/file'} is missing and could not be downloaded")
    assert lines[1] == f"  {server.url('file', 'missing')}: 404 Not Found"
    assert lines[2].startswith(f"  {server.url('file', 'wrong')}: ")


def test_no_room(retrieve):
    with pytest.raises(InputError, match=r"downloads/file needs 1,000,000,000 MB more and .+ free"):
        retrieve(size=10**15)


def test_a_folder_that_cannot_be_written(tmp_path, retrieve):
    (tmp_path / "downloads").write_text("a file where the folder should be")
    with pytest.raises(InputError, match=r"downloads/file cannot be written .+ data\.root"):
        retrieve()


@pytest.mark.parametrize("content", [b"", b"\n", b"no checksum\n", b"\xff\xfe", b"0" * 63])
def test_a_kept_checksum_that_is_none(tmp_path, retrieve, content):
    """Said, rather than taken for whatever comes: it is what later files are held to."""
    retrieve(sha256=SHORT)
    (tmp_path / "downloads/file.sha256").write_bytes(content)
    with pytest.raises(InputError, match=r"file\.sha256 .+: delete it and run again"):
        retrieve(sha256=SHORT)
    (tmp_path / "downloads/file.sha256").unlink()
    assert retrieve(sha256=SHORT).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "place",
    [
        "root/file",
        "downloads/file",
        "downloads/.file.partial",
        "downloads/file.sha256",
        "retrieved/file",
    ],
)
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_something_else_in_the_way(tmp_path, retrieve, place, make):
    """Named, neither opened nor removed: a pipe would wait for ever."""
    (tmp_path / place).parent.mkdir()
    make(tmp_path / place)
    with pytest.raises(InputError, match=f"{place} is no plain file: remove it and run again"):
        retrieve()


def test_a_file_that_cannot_be_read(tmp_path, retrieve, monkeypatch):
    copy = tmp_path / "root/file"
    copy.parent.mkdir()
    copy.write_bytes(CONTENT)
    whole = Path.open

    def denied(file, *arguments, **options):
        if file == copy:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return whole(file, *arguments, **options)

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(
        InputError, match=r"root/file cannot be read \(Permission denied\): make it"
    ):
        retrieve()


@pytest.mark.parametrize(
    ("place", "make"),
    [
        ("downloads/.file.partial", lambda path: path.symlink_to(path)),
        ("retrieved/.file.partial", Path.mkdir),
        ("retrieved", lambda path: path.write_text("a file")),
    ],
)
def test_what_lies_where_it_is_to_be_written_is_named(tmp_path, retrieve, place, make):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    make(tmp_path / place)
    with pytest.raises(InputError, match=f"{place} is in the way .+: remove it and run again"):
        retrieve()
