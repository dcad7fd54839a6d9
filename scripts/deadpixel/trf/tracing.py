"""Fields carried through a forward pass, in which each ATen operation is seen."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from ..uncompiled import DispatchMode
from .algebra import EVERYWHERE, Field, UnknownFieldError, compact, constant, varies
from .attention import hidden_pairs
from .call import Call
from .rules import INDEPENDENT, propagate

_EXITS = (Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.__dlpack__)


class Doubt(NamedTuple):
    """Why a field is not exact: an ``upper bound``, or ``unknown``."""

    kind: str
    reason: str


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


class FieldMode(DispatchMode):
    """Carries fields through each operation; tensors without one do not depend on the image."""

    def __init__(self, image: tuple[int, int], *, gates_are_identity: bool) -> None:
        """`image`: its height and width. `gates_are_identity`: a smaller factor does not count."""
        super().__init__()
        self.image = image
        self.fields: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self.memory: set[StorageWeakRef] = set()  # all that ever held a tensor with a field
        self.hidden: WeakIdKeyDictionary = WeakIdKeyDictionary()  # pairs that masks keep apart
        self.doubts: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self.gates_are_identity = gates_are_identity

    def record(self, tensor: Tensor, field: Field) -> None:
        """Notes the field of a tensor."""
        self.fields[tensor] = field
        self.memory.add(StorageWeakRef(tensor.untyped_storage()))

    def doubt(self, tensor: Tensor) -> Doubt:
        """What the field of a tensor is, and why."""
        return self.doubts.get(tensor) or Doubt("exact", "")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Called by PyTorch for each operation."""
        kwargs = kwargs or {}
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        tracked = [tensor for tensor in inputs if tensor in self.fields]
        self._check_untracked(func, inputs)
        result = func(*args, **kwargs)
        checks = result is None and not func._schema.is_mutable
        if not tracked or checks or func.overloadpacket in INDEPENDENT:
            return result
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if func.overloadpacket in (torch.ops.aten.mul, torch.ops.aten.mul_):
            tracked = self._without_gates(tracked, outputs[0].shape)
        call = Call(func, args, kwargs, self.fields, self.hidden, outputs, self.image)
        doubts = [self.doubts[tensor] for tensor in tracked if tensor in self.doubts]
        results = self._propagated(call, tracked, doubts)
        if func._schema.is_mutable:
            self._check_written(func, outputs[0], results[0])
        hidden = hidden_pairs(call) if outputs else None
        by_products = outputs[len(results) :]  # statistics, indices: never assumed local
        for output, field in zip(outputs, results, strict=False):
            self._note(output, field, doubts)
        for output in by_products:
            doubt = Doubt("upper bound", f"statistics or indices of {func}")
            self._note(output, constant(output.shape, EVERYWHERE), [*doubts, doubt])
        if hidden is not None:
            self.hidden[outputs[0]] = hidden
        return result

    def _propagated(self, call: Call, tracked: list[Tensor], doubts: list[Doubt]) -> list[Field]:
        """Fields of the outputs; to `doubts` is added what makes them less than exact."""
        try:
            results = propagate(call, tracked)
        except UnknownFieldError as error:
            if not call.outputs or call.func._schema.is_mutable:
                raise
            doubts.append(Doubt("unknown", str(error)))
            return [constant(output.shape, EVERYWHERE) for output in call.outputs]
        doubts[:0] = [Doubt("upper bound", reason) for reason in call.bounds]
        return results

    def _note(self, tensor: Tensor, field: Field, doubts: list[Doubt]) -> None:
        self.record(tensor, field)
        self.hidden.pop(tensor, None)
        self.doubts.pop(tensor, None)
        if doubts:  # the worse word wins, and of these the first reason
            self.doubts[tensor] = max(doubts, key=lambda doubt: doubt.kind == "unknown")

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
