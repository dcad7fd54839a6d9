"""How each ATen operation of a random network acts on moments, and on variances of gradients.

Weights are independent, of mean zero and of variance one over the fan-in; norms have gain one; the
gradient that arrives is independent of the values. Then a squared Jacobian, transposed, carries
variances back: for weights the window of a kernel of equal entries, for everything that only moves
numbers about the operation's own.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ..errors import InputError
from .moving import (
    CONCATENATED,
    EXPANDED,
    PADDED,
    PADDING,
    PERMUTED,
    REARRANGED,
    RESHAPED,
    SAME,
    STACKED,
)
from .norms import BATCH_NORM, GROUP_NORM, LAYER_NORM, SOFTMAX
from .pointwise import ACTIVATION, ADDED_PRODUCT, ADDITION, PRODUCT
from .reductions import LARGEST, LENGTH, MEAN, SPREAD
from .rule import Rule
from .sums import CONVOLUTION, MATRIX_PRODUCT
from .tape import Step, Value, Weight
from .windows import AVERAGE_POOL, MAX_POOL, RESAMPLED

aten = torch.ops.aten


def rule_of(step: Step) -> Rule:
    """Raises `InputError` with the operation's name if there is none."""
    packet = step.func.overloadpacket
    rule = RULES.get(packet) or RULES.get(step.func)
    others = [leaf for leaf in tree_leaves(step.given) if _is_other(leaf)]
    pointwise = torch.Tag.pointwise in step.func.tags and rule is not SAME
    if pointwise and len({*step.inputs}) == 1 and not others:
        return ACTIVATION
    indices = tree_leaves(step.given.get("indices", ()))
    indexed = any(isinstance(index, Value | Weight) for index in indices)
    if rule is None or indexed:
        raise InputError(
            f"the sensitivity of operation {step} is not known: choose a target before"
        )
    return rule


def _is_other(operand: Any) -> bool:
    """Whether it is neither a number nor a value."""
    return isinstance(operand, Weight) or (isinstance(operand, Tensor) and operand.ndim > 0)


RULES: dict[Any, Rule] = {
    **dict.fromkeys([aten.hardswish, aten.hardswish_, aten._prelu_kernel], ACTIVATION),
    **dict.fromkeys([aten.add, aten.add_, aten.sub, aten.sub_], ADDITION),
    **dict.fromkeys([aten.mul, aten.mul_, aten.div, aten.div_], PRODUCT),
    **dict.fromkeys([aten.addcmul, aten.addcmul_], ADDED_PRODUCT),
    **dict.fromkeys([aten.clone, aten.alias, aten._to_copy, aten.as_strided_], SAME),
    **dict.fromkeys([aten.view, aten._unsafe_view, aten.squeeze, aten.unsqueeze], RESHAPED),
    **dict.fromkeys([aten.permute, aten.transpose, aten.t], PERMUTED),
    aten.expand: EXPANDED,
    aten.cat: CONCATENATED,
    aten.stack: STACKED,
    **dict.fromkeys(PADDING, PADDED),
    **dict.fromkeys([aten.slice, aten.split, aten.split_with_sizes, aten.roll], REARRANGED),
    **dict.fromkeys([aten.flip, aten.select, aten.unbind, aten.index], REARRANGED),
    **dict.fromkeys([aten.pixel_shuffle, aten.pixel_unshuffle, aten.channel_shuffle], REARRANGED),
    **dict.fromkeys(
        [aten.native_channel_shuffle, aten.upsample_nearest2d, aten.im2col], REARRANGED
    ),
    aten.convolution: CONVOLUTION,
    **dict.fromkeys([aten.mm, aten.addmm, aten.bmm, aten.baddbmm], MATRIX_PRODUCT),
    aten.native_batch_norm: BATCH_NORM,
    aten.native_layer_norm: LAYER_NORM,
    aten.native_group_norm: GROUP_NORM,
    **dict.fromkeys([aten._softmax, aten._safe_softmax], SOFTMAX),
    aten.avg_pool2d: AVERAGE_POOL,
    aten.max_pool2d_with_indices: MAX_POOL,
    **dict.fromkeys([aten._adaptive_avg_pool2d, aten.upsample_bilinear2d], RESAMPLED),
    **dict.fromkeys([aten.mean, aten.sum], MEAN),
    **dict.fromkeys([aten.amax, aten.max.dim], LARGEST),
    aten.linalg_vector_norm: LENGTH,
    **dict.fromkeys([aten.var, aten.std], SPREAD),
}
