"""Published files: downloaded whole or on from where they were cut, and verified by checksum."""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import requests
from filelock import FileLock, Timeout
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from ..errors import InputError
from ..files import atomic
from ..logs import log, progress
from .links import digest, lead, nothing_in_the_way

_CHUNK = 1 << 20  # bytes; also the unit of the progress line
_TIMEOUT = (10, 60)  # seconds to connect, and to wait for the next bytes
_RETRIES = Retry(connect=3, total=5, backoff_factor=0.5, status_forcelist=[429, 500, 502, 503, 504])
_FAULTS = (requests.RequestException, HTTPError)


@dataclass(frozen=True)
class Published:
    """A file that others publish: where it is, and how it is known to be right.

    `bytes` is its size, for the check of free space; its SHA-256 starts with `sha256`.
    """

    url: str
    bytes: int
    sha256: str
    mirror: str | None = None


class ChecksumError(InputError):
    """A file is not what was published."""


def retrieve(published: Published, root: Path, downloads: Path, link: Path) -> None:
    """Make `link` lead to the verified file of its name, in `root` or else in `downloads`.

    A file in `root` is the user's: it is verified, and never written. What `downloads` lacks, or
    has wrong, is downloaded; a download that was killed or cut off goes on where it was. Where the
    published checksum is not a whole SHA-256, the first one seen is kept in `downloads`, and later
    files are held to it. Raises `InputError` if there is no right file.
    """
    first_seen = downloads / f"{link.name}.sha256"
    file = root / link.name
    partial = downloads / f".{link.name}.partial"
    for path in (file, downloads / link.name, partial, first_seen, link):
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no plain file: remove it and run again")
    if file.exists():
        log.info("%s is there", file)
        try:
            verify(file, digest(file), published, first_seen)
        except ChecksumError as error:
            raise ChecksumError(f"{error}; replace it, or remove it to download it") from error
    else:
        file = downloads / link.name
        with _alone(file):
            if not _is_right(file, published, first_seen):
                _make_room(published, file, partial)
                _download_from_anywhere(published, root / link.name, partial, first_seen)
                partial.replace(file)
    lead(link, file)


def verify(file: Path, found: str, published: Published, first_seen: Path) -> None:
    """Raise `ChecksumError` unless `file`, of SHA-256 `found`, is as published and `first_seen`.

    `first_seen` is a line as `sha256sum` writes it; it is written if it does not exist.
    """
    has = f"{file} has {file.stat().st_size:,} bytes and SHA-256 {found}, not about "
    has += f"{published.bytes:,} bytes and SHA-256 "
    if not found.startswith(published.sha256):
        raise ChecksumError(has + published.sha256)
    before = _seen(first_seen)
    if before not in (None, found) and found != published.sha256:
        raise ChecksumError(
            f"{has}{before}, as it was when first retrieved; if the change is meant, "
            f"delete {first_seen}"
        )
    if before != found:
        with atomic.writing(first_seen) as partial:
            partial.write_text(f"{found}  {first_seen.stem}\n")


def _seen(first_seen: Path) -> str | None:
    """The SHA-256 in a line as `sha256sum` writes it, or None where there is no such file."""
    try:
        words = first_seen.read_text(encoding="ascii").split()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{first_seen} cannot be read ({error}): delete it and run again"
        ) from error
    if not words or not re.fullmatch("[0-9a-f]{64}", words[0]):
        raise InputError(f"{first_seen} starts with no SHA-256: delete it and run again")
    return words[0]


def _is_right(file: Path, published: Published, first_seen: Path) -> bool:
    if not file.exists():
        return False
    try:
        verify(file, digest(file), published, first_seen)
    except ChecksumError as error:
        log.warning("%s; retrieving it again", error)
        return False
    return True


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Wait for another process that downloads `file`, such as one of another workflow."""
    lock = FileLock(file.with_name(f".{file.name}.lock"))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        log.info("another process downloads %s: waiting for it", file)
        lock.acquire()
    except OSError as error:
        raise InputError(
            f"{file} cannot be written ({error.strerror}): name another folder as "
            "pathvars.resources, or put the file into data.root"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _make_room(published: Published, file: Path, partial: Path) -> None:
    with nothing_in_the_way():
        partial.touch()
    missing = published.bytes - partial.stat().st_size
    free = shutil.disk_usage(file.parent).free
    if missing > free:
        raise InputError(
            f"{file} needs {missing / 1e6:,.0f} MB more and {free / 1e6:,.0f} MB are free: "
            "make room, or name another folder as pathvars.resources"
        )


def _download_from_anywhere(
    published: Published, copy: Path, partial: Path, first_seen: Path
) -> None:
    failures = []
    for url in filter(None, (published.url, published.mirror)):
        try:
            return _download_verified(url, partial, published, first_seen)
        except (*_FAULTS, ChecksumError) as error:
            failures.append(f"{url}: {_reason(error)}")
            log.warning("%s", failures[-1])
    raise InputError(
        f"{copy} is missing and could not be downloaded: put it there, or run again. Tried were:"
        + "".join(f"\n  {failure}" for failure in failures)
    )


def _download_verified(url: str, partial: Path, published: Published, first_seen: Path) -> None:
    resumed = partial.stat().st_size > 0
    found = _download(url, partial)
    try:
        verify(partial, found, published, first_seen)
    except ChecksumError:
        os.truncate(partial, 0)
        if not resumed:
            raise
        log.warning(
            "%s: what was left of an earlier download does not fit; starting from nothing", url
        )
        _download_verified(url, partial, published, first_seen)


def _download(url: str, partial: Path) -> str:
    """Append to `partial` what it lacks, going on when cut off if something came; its SHA-256."""
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=_RETRIES))
        while True:
            before = partial.stat().st_size
            try:
                return _fetch_rest(session, url, partial)
            except _FAULTS as error:
                now = partial.stat().st_size
                if now <= before:
                    raise
                log.warning("%s: cut off at %.0f MB (%s)", url, now / 1e6, _reason(error))


def _fetch_rest(session: requests.Session, url: str, partial: Path) -> str:
    have = partial.stat().st_size
    headers = {"Accept-Encoding": "identity"}  # a .tgz must arrive as it is, not unpacked
    if have:
        headers["Range"] = f"bytes={have}-"
    with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            return digest(partial)  # nothing is lacking, or the checksum will tell
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            os.truncate(partial, 0)
        chunks = response.raw.stream(_CHUNK, decode_content=False)
        total = -(-int(response.headers.get("Content-Length", 0)) // _CHUNK)
        return _append(progress(chunks, total=total, what=f"MiB of {url}"), partial)


def _append(chunks: Iterable[bytes], partial: Path) -> str:
    """Write `chunks` behind what is there; returns the SHA-256 of all, computed meanwhile."""
    with partial.open("r+b", buffering=0) as file, ThreadPoolExecutor(1) as beside:
        found = hashlib.file_digest(file, "sha256")
        hashed = beside.submit(lambda: None)
        for chunk in chunks:
            hashed.result()  # or chunks would pile up in memory
            hashed = beside.submit(found.update, chunk)
            file.write(chunk)
        os.fsync(file.fileno())
    return found.hexdigest()


def _reason(error: BaseException) -> str:
    """What went wrong at the bottom, without the layers of the HTTP library around it."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error)
