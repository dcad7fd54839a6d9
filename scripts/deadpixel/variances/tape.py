"""The ATen operations of one forward pass, written down without computing any of them.

What depends on the image, and parameters, are shapes alone (PyTorch's meta tensors); constants,
such as masks and fixed filters, are numbers.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

from ..copies import copied
from ..errors import InputError
from ..uncompiled import DispatchMode

aten = torch.ops.aten
# Only the shape of what they are given counts, so that they make constants.
_MAKERS = frozenset(
    [
        *(aten.zeros_like, aten.ones_like, aten.full_like, aten.empty_like),
        *(aten.new_zeros, aten.new_ones, aten.new_full, aten.new_empty),
    ]
)


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """A tensor that depends on the image."""

    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Weight:
    """A tensor made of parameters alone."""

    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """An operation: its arguments by their names, what it reads and what it makes of the image.

    module: the innermost module that was running.
    """

    func: Any
    given: dict[str, Any]
    inputs: list[Value]
    outputs: list[Value]
    module: str

    def __str__(self) -> str:
        """As messages have it."""
        return f"{self.func} in module {self.module!r}"


class Tape(DispatchMode):
    """Notes each operation that reads something that depends on the image."""

    def __init__(self, image: Tensor) -> None:
        """`image`: (1, C, H, W) on the meta device, to be given to the network."""
        super().__init__()
        self.steps: list[Step] = []
        self.modules = [""]  # that are running, the innermost last
        self._values: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._memory: set[StorageWeakRef] = set()  # all that ever held what depends on the image
        self.image = self._new(image)

    def value(self, tensor: Tensor) -> Value:
        """What a tensor is on the tape; raises `InputError` if the image does not reach it."""
        if tensor not in self._values:
            raise InputError("the image does not reach the target: choose another module")
        return self._values[tensor]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Called by PyTorch for each operation."""
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        shapes_alone = any(tensor.is_meta for tensor in tensors)
        makes = func.overloadpacket in _MAKERS
        if makes or (kwargs.get("device") == torch.device("meta") and not shapes_alone):
            kwargs["device"] = "cpu"
        for tensor in tensors:
            self._check_known(func, tensor)
        reads = any(tensor in self._values for tensor in tensors) and not makes
        given = self._given(func, args, kwargs) if reads else {}
        writes = func._schema.is_mutable
        if shapes_alone and not makes:
            if writes and not tensors[0].is_meta:
                raise InputError(
                    f"operation {func} in module {self.modules[-1]!r} writes what is not known "
                    "into a constant: its sensitivity is not known"
                )
            args = tree_map(_shape_alone, args)
            kwargs = {name: tree_map(_shape_alone, value) for name, value in kwargs.items()}
        result = _made(func, args, kwargs)
        if reads:
            made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
            inputs = [leaf for leaf in tree_leaves(given) if isinstance(leaf, Value)]
            if writes:
                self._forget_views(made[0])
            outputs = [self._new(tensor) for tensor in made]
            self.steps.append(Step(func, given, inputs, outputs, self.modules[-1]))
        return result

    def _new(self, tensor: Tensor) -> Value:
        self._values[tensor] = value = Value(tuple(tensor.shape))
        self._memory.add(StorageWeakRef(tensor.untyped_storage()))
        return value

    def _given(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
        said = {declared.name: declared.default_value for declared in func._schema.arguments}
        said |= dict(zip(said, args, strict=False)) | kwargs
        return {name: tree_map(self._noted, value) for name, value in said.items()}

    def _noted(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if leaf in self._values:
            return self._values[leaf]
        return Weight(tuple(leaf.shape)) if leaf.is_meta else leaf.detach()

    def _check_known(self, func: Any, tensor: Tensor) -> None:
        """Writing to memory changes what other tensors in it are."""
        known = tensor in self._values
        if not known and StorageWeakRef(tensor.untyped_storage()) in self._memory:
            raise InputError(
                f"operation {func} in module {self.modules[-1]!r} reads memory that another tensor "
                "was written into: its sensitivity is not known"
            )

    def _forget_views(self, written: Tensor) -> None:
        memory = StorageWeakRef(written.untyped_storage())
        for tensor in [*self._values]:
            if StorageWeakRef(tensor.untyped_storage()) == memory:
                del self._values[tensor]


def _made(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """What an operation returns; of two, which PyTorch takes long for, without asking it."""
    if args and isinstance(args[0], Tensor) and args[0].is_meta:
        if func._schema.is_mutable and torch.Tag.pointwise in func.tags:
            return args[0]
        if func.overloadpacket is aten.native_batch_norm:
            return torch.empty_like(args[0]), *(torch.empty(0, device="meta") for _ in range(2))
    return func(*args, **kwargs)


def _shape_alone(leaf: Any) -> Any:
    return leaf.to("meta") if isinstance(leaf, Tensor) else leaf


def without_weights(model: nn.Module) -> nn.Module:
    """A copy of `model` in evaluation mode whose parameters are shapes alone."""
    shapes = {
        id(parameter): nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        for parameter in model.parameters()
    }
    return copied(model, shapes).eval()
