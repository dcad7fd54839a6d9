"""PyTorch without its compiler: nothing is compiled, and to import it takes three times as long.

torchvision, timm and PyTorch's optimizers import it for no more than to keep out of its way.
"""

import contextlib
import importlib
import inspect
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch._compile import _disable_dynamo
from torch.utils._python_dispatch import TorchDispatchMode

_COMPILER = "torch._dynamo"
_UTILS = f"{_COMPILER}.utils"


@contextlib.contextmanager
def imports() -> Iterator[None]:
    """Import torchvision and timm without the compiler; what needs more of it still gets it."""
    if _COMPILER in sys.modules:
        yield
        return
    stand_in = _StandIn(_UTILS)
    sys.modules[_UTILS] = stand_in
    try:
        with mock.patch.object(torch.compiler, "disable", _disable_later):
            yield
    finally:
        stand_in.leave()


class SGD(torch.optim.SGD):
    """The same arithmetic, which the compiler is not asked to keep out of."""

    add_param_group = inspect.unwrap(torch.optim.SGD.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.SGD.zero_grad)
    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


class DispatchMode(TorchDispatchMode):
    """The same, which does not import the compiler to keep it out."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def _is_compile_supported(device_type: Any) -> bool:
    return importlib.import_module(_UTILS).is_compile_supported(device_type)


_is_compile_supported._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]


class _StandIn(ModuleType):
    """For the compiler's utilities, of which torchvision imports one function."""

    is_compile_supported = staticmethod(_is_compile_supported)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # which `inspect` asks of every module
            raise AttributeError(name)
        self.leave()
        return getattr(importlib.import_module(_UTILS), name)

    def leave(self) -> None:
        if sys.modules.get(_UTILS) is self:
            del sys.modules[_UTILS]


def _disable_later(fn: Any = None, recursive: bool = True, **_: Any) -> Any:
    return _disable_dynamo(fn, recursive)
