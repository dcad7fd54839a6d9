"""YAML in which nothing means something else than it says: what others take silently is refused.

For Snakemake's own environment: the standard library and PyYAML.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError


class _Loader(yaml.SafeLoader):
    """Notes every line that YAML 1.1 reads in a way of its own."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.problems: list[str] = []

    def note(self, node: yaml.Node, problem: str) -> None:
        self.problems.append(f"line {node.start_mark.line + 1}: {problem}")

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.tag != "tag:yaml.org,2002:str":
                self.note(key, f"the key {key.value!r} is no text: put it in quotes")
            elif key.value in seen:
                self.note(key, f"the key {key.value!r} is there twice: keep one of them")
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        if not re.fullmatch(r"[-+]?(0|[1-9][0-9]*)", node.value):
            self.note(node, f"{node.value} is {self.construct_yaml_int(node)} to YAML: write that")
        return self.construct_yaml_int(node)

    def construct_truth(self, node: yaml.ScalarNode) -> bool:
        if node.value.lower() not in ("true", "false"):
            self.note(
                node, f"{node.value} is a truth value to YAML: write true or false, or quote it"
            )
        return self.construct_yaml_bool(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:bool", _Loader.construct_truth)


def read(path: Path | str) -> Any:
    """What the file holds; raises `InputError` naming the file and each line to change."""
    try:
        loader = _Loader(Path(path).read_text(encoding="utf-8"))
        document = loader.get_single_data()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: no UTF-8; save the file as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}, {_place(error)}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: no YAML that can be understood ({error})") from error
    if loader.problems:
        raise InputError("\n  ".join(f"{path}, {problem}" for problem in loader.problems))
    return document


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark else ""
    return where + " ".join(str(getattr(error, "problem", None) or error).split())
