"""Fields carried through a forward pass, in which each ATen operation is seen."""

from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from .algebra import EVERYWHERE, Field, UnknownFieldError, compact, constant, varies
from .rules import propagate

_EXITS = (Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.__dlpack__)


class ExitMode(TorchFunctionMode):
    """Refuses to let values that depend on the image leave PyTorch, where no rule follows them."""

    def __init__(self, fields: WeakIdKeyDictionary) -> None:
        """`fields` of tensors, as `FieldMode` has them."""
        super().__init__()
        self.fields = fields

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Called by PyTorch for each of its functions."""
        if func in _EXITS and args[0] in self.fields:
            raise UnknownFieldError(
                f"the receptive field of {func.__name__}() is not known; choose a target before it"
            )
        return func(*args, **(kwargs or {}))


class FieldMode(TorchDispatchMode):
    """Carries fields through each operation; tensors without one do not depend on the image."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: nothing is compiled here, and skipping would import PyTorch's whole compiler."""
        return False

    def __init__(self, *, gates_are_identity: bool) -> None:
        """`gates_are_identity`: a map multiplied by a smaller one keeps its own field."""
        super().__init__()
        self.fields: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self.memory: set[StorageWeakRef] = set()  # all that ever held a tensor with a field
        self.gates_are_identity = gates_are_identity

    def record(self, tensor: Tensor, field: Field) -> None:
        """Notes the field of a tensor."""
        self.fields[tensor] = field
        self.memory.add(StorageWeakRef(tensor.untyped_storage()))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Called by PyTorch for each operation."""
        kwargs = kwargs or {}
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        tracked = [tensor for tensor in inputs if tensor in self.fields]
        self._check_untracked(func, inputs)
        result = func(*args, **kwargs)
        if not tracked:
            return result
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if func.overloadpacket in (torch.ops.aten.mul, torch.ops.aten.mul_):
            tracked = self._without_gates(tracked, outputs[0].shape)
        results = propagate(func, args, kwargs, tracked, outputs, self.fields)
        if func._schema.is_mutable:
            self._check_written(func, outputs[0], results[0])
        for output, field in zip(outputs, results, strict=False):
            self.record(output, field)
        for by_product in outputs[len(results) :]:  # statistics, indices: never assumed local
            self.record(by_product, constant(by_product.shape, EVERYWHERE))
        return result

    def _without_gates(self, factors: list[Tensor], shape: torch.Size) -> list[Tensor]:
        """The factors of a product that vary along each axis of space along which any does."""
        if not self.gates_are_identity:
            return factors
        fields = [self.fields[tensor].map(lambda part: part.expand(shape)) for tensor in factors]
        axes = [{dim for dim in range(len(shape)) if varies(field, dim)} for field in fields]
        maps = [t for t, own in zip(factors, axes, strict=True) if own == set().union(*axes)]
        return maps or factors

    def _check_untracked(self, func: Any, inputs: list[Tensor]) -> None:
        """A tensor without a field may be another name for the memory of one that has."""
        for tensor in inputs:
            if (
                tensor not in self.fields
                and tensor.layout is torch.strided
                and StorageWeakRef(tensor.untyped_storage()) in self.memory
            ):
                raise UnknownFieldError(
                    f"operation {func} reads or writes a second tensor in the memory of one that "
                    "depends on the image, whose receptive field is not known"
                )

    def _check_written(self, func: Any, tensor: Tensor, new: Field) -> None:
        """Writing changes each tensor in the same memory, whose fields would go stale."""
        memory = tensor.untyped_storage().data_ptr()
        shared = any(
            other is not tensor and other.untyped_storage().data_ptr() == memory
            for other in self.fields
        )
        if shared and self._changes(tensor, new):
            raise UnknownFieldError(
                f"operation {func} writes into a part or a view of another tensor, whose receptive "
                "field is not known"
            )

    def _changes(self, tensor: Tensor, new: Field) -> bool:
        old = self.fields.get(tensor)
        return old is None or any(
            bool((compact(a) != compact(b)).any()) for a, b in zip(old[:4], new[:4], strict=True)
        )
