"""Weights from the Hugging Face Hub, retrieved by its own client and held to the Hub's checksum.

The client's settings are the user's: `HF_ENDPOINT` (a mirror), `HF_TOKEN`, `HF_HUB_OFFLINE`.
"""

import errno
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, in_one_line
from ..files import atomic
from ..logs import log
from . import links


@dataclass(frozen=True)
class Address:
    """A file in a repository of the Hub; `revision` is a branch, a tag or a commit."""

    repository: str
    revision: str
    file: str

    def __str__(self) -> str:
        """As it stands in the configuration, with its revision."""
        return f"hf://{self.repository}@{self.revision}/{self.file}"


def retrieve(address: Address, cache: Path, link: Path, facts: Path) -> None:
    """Make `link` lead to the verified safetensors file, and write `facts` of it as JSON.

    The client keeps files in `cache`, or where `HF_HOME` or `HF_HUB_CACHE` say. What is there is
    not downloaded again. The facts are the address, the revision (the commit that the address
    stood for), the etag, the SHA-256 and the endpoint. Raises `InputError`.
    """
    try:
        from huggingface_hub import constants
    except ModuleNotFoundError as error:
        raise InputError(
            f"{address} needs huggingface_hub: install it by pip install 'deadpixel[timm]'"
        ) from error
    if "HF_HUB_DISABLE_XET" not in os.environ:
        # plain HTTP works with every mirror, and the other protocol would fill the home folder
        constants.HF_HUB_DISABLE_XET = True
    found = _download(address, cache.absolute())
    if not found.is_symlink():
        raise InputError(
            f"{found} is no link to a file named by its checksum: unset HF_HUB_DISABLE_SYMLINKS, "
            "delete it and run again"
        )
    blob, etag = found.resolve(), found.readlink().name
    sha256 = _verify(address, found, etag)
    _check_format(address, blob)
    known = {
        "address": str(address),
        "revision": found.parents[len(Path(address.file).parts) - 1].name,
        "etag": etag,
        "sha256": sha256,
        "endpoint": constants.ENDPOINT,
    }
    log.info("%s is %s", address, known)
    links.lead(link, blob)
    with atomic.writing(facts) as partial:
        partial.write_text(json.dumps(known, indent=2) + "\n")


def _download(address: Address, cache: Path) -> Path:
    """The file's name in the client's cache, a link to what the server's etag names."""
    from huggingface_hub import constants, hf_hub_download

    if {"HF_HOME", "HF_HUB_CACHE"} & os.environ.keys():
        cache = Path(constants.HF_HUB_CACHE).absolute()
    try:
        found = hf_hub_download(
            address.repository, address.file, revision=address.revision, cache_dir=cache
        )
    except Exception as error:  # its own, its HTTP library's and the system's
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise InputError(f"{address}: {_explained(error, address, cache)}") from error
    return Path(found)


def _explained(error: Exception, address: Address, cache: Path) -> str:
    """What a failed download means, and what the user can do."""
    from huggingface_hub import constants, errors

    endpoint, repository = constants.ENDPOINT, address.repository
    if isinstance(error, errors.GatedRepoError):
        return (
            f"the repository is gated: accept its terms on {endpoint}/{repository}, and set "
            "HF_TOKEN to a token of that account"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{endpoint} shows no repository {repository}: correct the name or, if it is private, "
            "set HF_TOKEN"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"{repository} has no revision {address.revision}: name a branch, a tag or a commit "
            "of it"
        )
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"{repository} has no file {address.file} there: name one that it has"
    if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in {401, 403}:
        return f"{endpoint} refuses the token: set HF_TOKEN to one that is valid there, or unset it"
    if constants.is_offline_mode():
        return f"HF_HUB_OFFLINE is set and {cache} lacks it: unset it, or bring the file there"
    reason = in_one_line(error.__cause__ or error)
    return (
        f"could not be retrieved from {endpoint} ({reason}): check the connection and "
        "HF_ENDPOINT, and run again"
    )


def _verify(address: Address, found: Path, etag: str) -> str:
    """The file's SHA-256; raises `InputError`, and removes the file, unless the etag agrees.

    The etag of a large file is its SHA-256, that of a small one its SHA-1 as an object of git
    (https://huggingface.co/docs/huggingface_hub/guides/manage-cache).
    """
    if not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", etag):
        raise InputError(f"{address}: the server's etag {etag!r} is no checksum: set HF_ENDPOINT")
    sha256 = links.digest(found)
    actual = sha256 if len(etag) == len(sha256) else _git_digest(found.read_bytes())
    if actual != etag:
        found.resolve().unlink()
        found.unlink()
        raise InputError(
            f"{address}: what came has checksum {actual}, not {etag} as the Hub says; it is "
            "removed: run again"
        )
    return sha256


def _git_digest(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _check_format(address: Address, blob: Path) -> None:
    """Raises `InputError` unless this is safetensors: a pickle from anywhere could run code."""
    with blob.open("rb") as file:
        start = file.read(9)
    if start[8:] != b"{":  # behind the length of the header
        raise InputError(f"{address} is no safetensors file: name a .safetensors file")
