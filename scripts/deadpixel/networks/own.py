"""Networks from the user's own file: whatever is wrong with it is one line that says where."""

import difflib
import functools
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ..copies import copied
from ..errors import InputError, in_one_line, naming
from ..logs import log


def from_file(source: str) -> nn.Module:
    """The network that ``factory()`` of ``file.py:factory`` returns, on the CPU and in float32."""
    path, _, name = source.rpartition(":")
    factory = getattr(_import(source, Path(path)), name, None)
    if not callable(factory):
        raise InputError(f"model {source!r}: {path} defines no function {name!r}")
    if needed := _needed_arguments(factory):
        raise InputError(
            f"model {source!r}: {name}() needs arguments ({', '.join(needed)}): write a function "
            "without any that returns the network"
        )
    model = _of_the_user(source, factory)
    _check_network(source, f"{name}()", model)
    if other := {p.dtype for p in model.parameters() if p.is_floating_point()} - {torch.float32}:
        kinds = ", ".join(sorted(map(str, other)))
        log.warning("model %r has weights of %s: taken as torch.float32", source, kinds)
    with naming(f"model {source!r}"):
        return copied(model).cpu().float()


def _import(source: str, file: Path) -> ModuleType:
    if file.suffix != ".py" or not file.is_file():
        near = difflib.get_close_matches(file.name, [f.name for f in file.parent.glob("*.py")], 3)
        raise InputError(
            f"model file {file} is missing or no .py file in {file.parent.resolve()}"
            + (f": did you mean {' or '.join(near)}?" if near else ": name it as file.py:factory")
        )
    spec = importlib.util.spec_from_file_location(f"deadpixel_model_{file.stem}", file)
    assert spec is not None and spec.loader is not None  # as of every file that ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickling look a module up by its name
    execute = functools.partial(spec.loader.exec_module, module)
    _of_the_user(source, execute)
    return module


def _of_the_user(source: str, run: Callable[[], Any]) -> Any:
    """What the user's own code returns; its errors, too, are one line that says where."""
    try:
        return run()
    except ModuleNotFoundError as error:
        beside = Path(source.rpartition(":")[0]).with_name(str(error.name).partition(".")[0])
        lies_beside = beside.is_dir() or beside.with_suffix(".py").is_file()
        raise InputError(
            f"model {source!r} imports {error.name!r}, "
            + (
                "which lies beside its file and is not looked for there: put all into one file"
                if lies_beside
                else f"which is not installed: install it into the environment of {sys.executable}"
            )
        ) from error
    except SyntaxError as error:
        raise InputError(
            f"model {source!r}: {error.filename}, line {error.lineno} is no Python "
            f"({error.msg}): fix it"
        ) from error
    except (Exception, SystemExit) as error:
        raise InputError(f"model {source!r} fails ({in_one_line(error)}): fix its code") from error


def _needed_arguments(factory: Callable) -> list[str]:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # not written in Python
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in optional]


def _check_network(source: str, factory: str, model: object) -> None:
    """Raises `InputError` for what cannot be measured, and says what to return instead."""
    instead = None
    if isinstance(model, type):
        instead = f"the class {model.__name__}; return an instance of it"
    elif not isinstance(model, nn.Module):
        instead = f"a {type(model).__name__}, no nn.Module; return the network"
    elif isinstance(model, torch.jit.ScriptModule) or type(model).__name__ == "OptimizedModule":
        instead = "a compiled network, whose modules cannot be observed; return it as it was"
    else:
        tensors = [*model.named_parameters(), *model.named_buffers()]
        lazy = [n for n, t in tensors if is_lazy(t)]
        empty = [n for n, t in tensors if t.is_meta]
        if lazy:
            instead = f"a network whose {lazy[0]} has no shape yet; run it once, then return it"
        elif empty:
            instead = f"a network whose {empty[0]} has no values; build it on the CPU, not on meta"
    if instead:
        raise InputError(f"model {source!r}: {factory} returned {instead}")
