"""Copies of anybody's network, also of what PyTorch by itself refuses to copy."""

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .errors import in_the_users_code


def copied(model: nn.Module, others: Mapping[int, Any] | None = None) -> Any:
    """A deep copy; tensors computed from others, such as weights by hooks, become constants.

    others: what stands in the copy instead of objects of these ids. Raises `InputError` if `model`
    cannot be copied.
    """
    computed = {
        id(leaf): leaf.detach().clone()
        for module in model.modules()
        for leaf in tree_leaves(vars(module))
        if isinstance(leaf, Tensor) and leaf.grad_fn is not None
    }
    advice = (
        ": keep nothing in its attributes that cannot, such as results of a forward pass or open "
        "files"
    )
    with in_the_users_code("the network cannot be copied", advice):
        return copy.deepcopy(model, {**computed, **(others or {})})
