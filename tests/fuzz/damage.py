"""What happens to files: cut, changed, swapped, empty, or something else than a file."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path


def damaged(data: bytes, rng: random.Random, each: int = 8) -> Iterator[tuple[str, bytes]]:
    """Versions of `data`, with their names; `each` random ones of every kind."""
    size = len(data)
    yield "empty", b""
    fixed = {1, 4, 8, 100, 512, size // 4, size // 2, 3 * size // 4, size - 100, size - 8, size - 1}
    places = {n for n in fixed if 0 < n < size} | {rng.randrange(1, size) for _ in range(each)}
    for place in sorted(places):
        yield f"cut at {place} of {size}", data[:place]
    for place in sorted(
        {0, 4, size - 5, size - 1} | {rng.randrange(size) for _ in range(2 * each)}
    ):
        bit = rng.randrange(8)
        flipped = bytearray(data)
        flipped[place] ^= 1 << bit
        yield f"bit {bit} of byte {place} flipped", bytes(flipped)
    for place in [0, *(rng.randrange(size) for _ in range(each // 2))]:
        more = rng.randbytes(rng.choice([1, 3, 64]))
        yield f"{len(more)} bytes more at {place}", data[:place] + more + data[place:]
    for place in [0, *(rng.randrange(size) for _ in range(each // 2))]:
        less = rng.choice([1, 3, 64])
        yield f"{less} bytes less at {place}", data[:place] + data[place + less :]
    for _ in range(each // 2):
        a, b, c = sorted(rng.randrange(size + 1) for _ in range(3))
        yield f"sections {a}:{b}:{c} swapped", data[:a] + data[b:c] + data[a:b] + data[c:]
    for _ in range(each // 2):
        place, length = rng.randrange(size), min(rng.choice([4, 64, 4096]), size)
        zeros = data[:place] + bytes(len(data[place : place + length])) + data[place + length :]
        yield f"{length} zeros from {place}", zeros
        noise = data[:place] + rng.randbytes(len(data[place : place + length]))
        yield f"{length} bytes of noise from {place}", noise + data[place + length :]
    yield "zeros throughout", bytes(size)
    yield "the second half zeros", data[: size // 2] + bytes(size - size // 2)
    yield "twice", data + data
    yield "noise behind", data + rng.randbytes(1000)
    yield "a page of a web server", b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n" * 9
    yield "text", b"hello\n"
    yield "backwards", data[::-1]


def written(data: bytes | str) -> Callable[[Path], None]:
    """Gives a file, in a folder that need not be there, these contents."""

    def write(file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data.encode() if isinstance(data, str) else data)

    return write


def _instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def spoil(file: Path) -> None:
        file.unlink()
        make(file)

    return spoil


# Instead of a file.
NO_FILES: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "a folder": _instead(Path.mkdir),
    "a pipe": _instead(os.mkfifo),
    "a link to nothing": _instead(lambda file: file.symlink_to(file.parent / "nowhere")),
    "a link to itself": _instead(lambda file: file.symlink_to(file)),
    "a link to /dev/zero": _instead(lambda file: file.symlink_to("/dev/zero")),
    "a link to /dev/null": _instead(lambda file: file.symlink_to("/dev/null")),
}


def spoilt(
    data: bytes, rng: random.Random, each: int
) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """What happens to a file that holds `data`, by its name."""
    for what, bad in damaged(data, rng, each):
        yield what, written(bad)
    for what, spoil in NO_FILES.items():
        yield f"is {what}", spoil
