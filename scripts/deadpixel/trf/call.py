"""One ATen operation as a rule for receptive fields sees it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from .algebra import NOWHERE, Field, constant, reduced


@dataclasses.dataclass(frozen=True)
class Call:
    """One operation, the fields of all tensors and what the rule has to say beside its fields.

    image: its height and width.
    hidden: of attention's scores and weights, the pairs of places that a constant mask keeps apart.
    bounds: why the fields that the rule returns may be larger than the true ones.
    """

    func: Any
    args: tuple
    kwargs: dict
    fields: WeakIdKeyDictionary
    hidden: WeakIdKeyDictionary
    outputs: list[Tensor]
    image: tuple[int, int]
    bounds: list[str] = dataclasses.field(default_factory=list)

    def field(self, tensor: Tensor) -> Field:
        """Field of an input; a tensor without one does not depend on the image."""
        found = self.fields.get(tensor)
        return constant(tensor.shape, NOWHERE) if found is None else found

    def reduced(self, field: Field, dims: Sequence[int]) -> Field:
        """Union over `dims`, kept with size 1."""
        return reduced(field, dims, self.image)

    def argument(self, name: str, default: Any = None) -> Any:
        """An argument by its name in the operation's schema; `default` if it has none such."""
        for position, declared in enumerate(self.func._schema.arguments):
            if declared.name == name:
                given = self.args[position : position + 1]
                return given[0] if given else self.kwargs.get(name, declared.default_value)
        return default
