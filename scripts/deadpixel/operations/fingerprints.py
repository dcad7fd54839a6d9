"""What a script does, as one digest: an edit that changes nothing but prose leaves it as it is.

For Snakemake's own environment: the standard library alone, and quick.
"""

import ast
import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "deadpixel"
_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Fingerprints:
    """Digests of scripts with all modules of the library that they import, directly or not."""

    def __init__(self, scripts: Path, cache: Path) -> None:
        """The library is a folder of `scripts`; `cache` keeps what was found, by contents."""
        self._scripts, self._cache = scripts, cache
        self._known = _read(cache)
        self._found: dict[str, tuple[str, list[str]]] = {}
        self._files: dict[Path, tuple[str, list[str]]] = {}

    def of(self, script: str) -> str:
        """Digest of ``SCRIPT.py`` and of its `modules`."""
        files = [self._scripts / f"{script}.py", *map(self._module, self.modules(script))]
        digests = [self._file(file)[0] for file in files]
        return hashlib.sha256("".join(digests).encode()).hexdigest()[:20]

    def modules(self, script: str) -> list[str]:
        """Names of the library's modules that ``SCRIPT.py`` can ever import, sorted."""
        found: set[str] = set()
        new = {PACKAGE, *self._file(self._scripts / f"{script}.py")[1]}
        while new:
            found |= new
            new = {name for module in new for name in self._file(self._module(module))[1]} - found
        return sorted(found)

    def save(self) -> None:
        """Keep what is known for the next time, if that is possible."""
        if self._found.keys() <= self._known.keys():
            return
        partial = self._cache.with_name(f"{self._cache.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            partial.write_text(json.dumps(self._found))
            partial.replace(self._cache)

    def _module(self, name: str) -> Path:
        place = self._scripts.joinpath(*name.split("."))
        return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")

    def _file(self, file: Path) -> tuple[str, list[str]]:
        """Digest of one file's syntax tree, and the library's modules that it imports."""
        if file not in self._files:
            contents = file.read_bytes()
            key = hashlib.sha256(contents).hexdigest()
            digest, names = self._found[key] = self._known.get(key) or _analysed(contents)
            package = file.relative_to(self._scripts).parent.parts
            found = {part for name in names for part in _with_packages(_absolute(name, package))}
            modules = [name for name in found if self._module(name).is_file()]
            self._files[file] = digest, modules
        return self._files[file]


def _analysed(contents: bytes) -> tuple[str, list[str]]:
    tree = ast.parse(contents)
    names = sorted(set(_imported(tree)))
    for node in ast.walk(tree):
        documented = isinstance(node, _DOCUMENTED)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), names


def _imported(tree: ast.Module) -> Iterator[str]:
    """Names that may be modules, in any import, inside functions too; with dots if relative."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (f"{node.module}." if node.module else "")
            yield from (base + alias.name for alias in node.names)


def _absolute(name: str, package: tuple[str, ...]) -> str:
    """`name` as imported by a module of `package`, without leading dots."""
    path = name.lstrip(".")
    above = len(name) - len(path) - 1
    return ".".join([*package[: len(package) - above], path]) if above >= 0 else path


def _with_packages(name: str) -> Iterator[str]:
    """The name itself and the packages that importing it runs first, if they are the library's."""
    parts = name.split(".")
    if parts[0] == PACKAGE:
        yield from (".".join(parts[: number + 1]) for number in range(len(parts)))


def _read(cache: Path) -> dict[str, tuple[str, list[str]]]:
    try:
        known = json.loads(cache.read_text())
        return {key: (str(digest), [*map(str, names)]) for key, (digest, names) in known.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
