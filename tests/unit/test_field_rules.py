"""Each operation that has a rule, against the support of its gradient in float64.

Between two convolutions of unlike kernels, on an image that is no square, with weights and images
drawn at random: no gradient vanishes by chance, and of many images each place is some maximum.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from deadpixel import receptive_field
from deadpixel.trf import rules
from deadpixel.trf.algebra import Field, reduced

SIZE = (40, 36)
IMAGES = 24
aten = torch.ops.aten


class Between(nn.Module):
    """A function of a map (N, 4, H, W) that depends on 3 x 5 px, then a kernel of 5 x 1."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.before = nn.Conv2d(3, 4, (3, 5), padding=(1, 2))
        self.after = nn.Conv2d(4, 4, (5, 1), padding=(2, 0))

    def forward(self, image: Tensor) -> Tensor:
        return self.after(self.function(self.before(image)))


class Example(NamedTuple):
    """An operation and a network in which it counts."""

    operation: Any
    function: Callable[[Tensor], Tensor]


def _drawn(like: Tensor, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(like.dtype)


def _wide(x: Tensor, rows: int = 1, columns: int = 1) -> Tensor:
    """A map that depends on more of the image."""
    weight = _drawn(x, 4, 4, 2 * rows + 1, 2 * columns + 1)
    return functional.conv2d(x, weight, padding=(rows, columns))


def _tokens(x: Tensor) -> Tensor:
    return x.flatten(2).mT


def _from_tokens(tokens: Tensor, x: Tensor) -> Tensor:
    return tokens.mT.reshape(x.shape)


def _written(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype).copy_(_wide(x))


def _rows_multiplied(x: Tensor) -> Tensor:
    """Each row by one matrix, so that the width is mixed and the height is not."""
    return (x.reshape(-1, x.shape[3]) @ _drawn(x, x.shape[3], x.shape[3])).view(x.shape)


def _channels_multiplied(x: Tensor) -> Tensor:
    return (_tokens(x).reshape(-1, 4) @ _drawn(x, 4, 4)).reshape(*x.shape[:1], -1, 4)


def _first_of_two_groups(x: Tensor) -> Tensor:
    """Of the channels that depend on less, which the others would make larger."""
    both = torch.cat([x[:, :2], _wide(x, 2, 1)[:, :2]], 1)
    return functional.conv2d(both, _drawn(x, 4, 2, 1, 1), groups=2)[:, [0, 1, 0, 1]]


def _second_of_two_groups(x: Tensor) -> Tensor:
    both = torch.cat([x[:, :2], _wide(x, 2, 1)[:, :2]], 1)
    return functional.conv2d(both, _drawn(x, 4, 2, 1, 1), groups=2)[:, [2, 3, 3, 2]]


def _group_of_two(x: Tensor) -> Tensor:
    """Statistics of the first two channels at one place, not of all four."""
    both = torch.cat([x[:, :2], _wide(x, 2, 1)[:, :2]], 1)
    places = both.permute(0, 2, 3, 1).reshape(-1, 4)
    normalised = functional.group_norm(places, 2).view(len(x), *x.shape[2:], 4)
    return normalised.permute(0, 3, 1, 2)[:, [0, 1, 1, 0]]


def _unlike_norm(x: Tensor) -> Tensor:
    return functional.layer_norm(x.permute(0, 2, 3, 1), [4]).permute(0, 3, 1, 2)


def _over_channels(reduce: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.cat([reduce(torch.cat([x, _wide(x)], 1))] * 4, 1)


def _over_rows(reduce: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: x + reduce(x, 2)


def _independent(make: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Made from a tensor that depends on the whole image, whose shape is all that counts."""
    return lambda x: x + make(x.sum((2, 3), keepdim=True))


def _pairs(x: Tensor) -> Tensor:
    return torch.cat([x, _wide(x)], 1)


def _attended(x: Tensor) -> Tensor:
    """Each row of places attends to itself."""
    rows = x.permute(0, 2, 3, 1).contiguous()
    return functional.scaled_dot_product_attention(rows, rows, rows).permute(0, 3, 1, 2)


def _patches(x: Tensor) -> Tensor:
    """Windows of 3 x 2, two rows and one column apart, as channels."""
    return functional.unfold(x, (3, 2), (2, 1), (1, 0))


def _unfolded(x: Tensor) -> Tensor:
    windows = functional.unfold(x, (2, 3), (2, 1), (1, 1), (1, 1))
    return functional.conv2d(windows.view(len(x), 24, 40, 36), _drawn(x, 4, 24, 1, 1))


def _line(x: Tensor) -> Tensor:
    """A window along each row, and one over channels."""
    rows = x.permute(0, 2, 1, 3).flatten(0, 1)
    rows = functional.conv1d(rows, _drawn(x, 4, 4, 3), padding=2, dilation=2)
    return rows.unflatten(0, (len(x), -1)).permute(0, 2, 1, 3)


REDUCTIONS: list[tuple[Any, Callable[..., Tensor]]] = [
    (aten.mean, lambda x, dim: x.mean(dim, True)),
    (aten.sum, lambda x, dim: x.sum(dim, True)),
    (aten.amax, lambda x, dim: x.amax(dim, True)),
    (aten.amin, lambda x, dim: x.amin(dim, True)),
    (aten.max, lambda x, dim: x.max(dim, True).values),
    (aten.min, lambda x, dim: x.min(dim, True).values),
    (aten.var, lambda x, dim: x.var(dim, keepdim=True)),
    (aten.std, lambda x, dim: x.std(dim, keepdim=True)),
    (aten.prod, lambda x, dim: x.prod(dim, True)),
    (aten.linalg_vector_norm, lambda x, dim: torch.linalg.vector_norm(x, 2, dim, True)),
    (aten.var_mean, lambda x, dim: torch.var_mean(x, dim, keepdim=True)[1]),
    (aten.logsumexp, lambda x, dim: x.logsumexp(dim, True)),
    (aten.std_mean, lambda x, dim: torch.std_mean(x, dim, keepdim=True)[0]),
    (aten.kthvalue, lambda x, dim: x.kthvalue(2, dim, True).values),
]
EXAMPLES = [
    Example(
        aten.convolution,
        lambda x: functional.conv2d(x, _drawn(x, 4, 4, 2, 3), None, (2, 1), (0, 2), (3, 1)),
    ),
    Example(aten.convolution, _first_of_two_groups),
    Example(aten.convolution, _second_of_two_groups),
    Example(
        aten.convolution,
        lambda x: functional.conv_transpose2d(x, _drawn(x, 4, 4, 2, 3), None, 1, (0, 1), 0, 1, 2),
    ),
    Example(aten.max_pool2d_with_indices, lambda x: functional.max_pool2d(x, (2, 3), (2, 1))),
    Example(
        aten.max_pool2d_with_indices,
        lambda x: functional.max_pool2d(x, (2, 3), 1, (1, 0), (2, 1)),
    ),
    Example(aten.avg_pool2d, lambda x: functional.avg_pool2d(x, (2, 3), None, (0, 1))),
    Example(aten.native_batch_norm, lambda x: functional.batch_norm(x, None, None, training=True)),
    Example(
        aten.native_batch_norm, lambda x: functional.batch_norm(x, _drawn(x, 4), _drawn(x, 4) ** 2)
    ),
    Example(aten.native_layer_norm, lambda x: functional.layer_norm(x, [x.shape[3]])),
    Example(aten.native_layer_norm, _unlike_norm),
    Example(aten.native_group_norm, lambda x: functional.group_norm(x, 2)),
    Example(aten.native_group_norm, _group_of_two),
    Example(aten._softmax, lambda x: x.softmax(3)),
    Example(aten._softmax, _over_channels(lambda x: x.softmax(1)[:, :1])),
    Example(aten._log_softmax, lambda x: x.log_softmax(2)),
    Example(aten._safe_softmax, lambda x: torch._safe_softmax(x, 3)),
    Example(aten._scaled_dot_product_flash_attention_for_cpu, _attended),
    Example(aten.sort, _over_channels(lambda x: x.sort(1).values[:, :1])),
    Example(aten.sort, _over_rows(lambda x, dim: x.sort(dim).values)),
    Example(aten.topk, _over_channels(lambda x: x.topk(2, 1).values[:, 1:])),
    Example(aten.cumsum, lambda x: _pairs(x).cumsum(1)[:, :4]),
    Example(aten.cumsum, lambda x: _pairs(x).flip(1).cumsum(1)[:, 4:]),
    Example(aten.cumprod, lambda x: _pairs(x).cumprod(1)[:, :4]),
    Example(aten.logcumsumexp, lambda x: _pairs(x).logcumsumexp(1)[:, :4]),
    Example(aten._fft_r2c, lambda x: x + torch.fft.fft(x, dim=3).abs()),
    Example(aten._fft_r2c, lambda x: x + torch.fft.rfft(x, dim=2, n=78).abs()[:, :, :40]),
    Example(aten._fft_c2c, lambda x: x + torch.fft.ifft(torch.complex(x, x), dim=3).abs()),
    Example(
        aten._fft_c2r, lambda x: x + torch.fft.irfft(torch.complex(x, x), 78, dim=2)[:, :, :40]
    ),
    Example(aten.view_as_real, lambda x: torch.view_as_real(torch.complex(x, _wide(x)))[..., 1]),
    Example(aten._conj, lambda x: torch.complex(x, _wide(x)).conj().abs()),
    Example(aten.complex, lambda x: torch.complex(x, _wide(x)).abs()),
    Example(aten.polar, lambda x: torch.view_as_real(torch.polar(_wide(x).abs(), x))[..., 0]),
    Example(aten.glu, lambda x: functional.glu(torch.cat([x, _wide(x, 2, 1)], 1), 1)),
    Example(aten.glu, lambda x: functional.glu(torch.cat([_wide(x, 2, 1), x], 1), 1)),
    Example(aten.im2col, _unfolded),
    Example(aten.col2im, lambda x: functional.fold(_patches(x), SIZE, (3, 2), (2, 1), (1, 0))),
    Example(aten.unfold, lambda x: x.unfold(2, 3, 2).amax(-1)),
    Example(
        aten.diagonal, lambda x: torch.stack([x, _wide(x)], -1)[..., None].diagonal(0, 4, 5)[..., 0]
    ),
    Example(aten.unsafe_split, lambda x: aten.unsafe_split(_pairs(x), 4, 1)[1]),
    Example(
        aten.gather,
        lambda x: _pairs(x).gather(
            1, torch.tensor([5, 4, 7, 6]).view(1, 4, 1, 1).expand(len(x), 4, *x.shape[2:])
        ),
    ),
    Example(aten.convolution, _line),
    Example(aten.rsub, lambda x: torch.rsub(_wide(x), x)),
    Example(aten.log_sigmoid_forward, lambda x: functional.logsigmoid(_wide(x))),
    Example(
        aten.masked_fill_,
        lambda x: _wide(x).masked_fill_(
            torch.tensor([True, False, False, False]).view(1, 4, 1, 1), 0.0
        ),
    ),
    Example(aten.fill, _independent(lambda x: aten.fill(x, 2.0))),
    Example(aten.fill_, _independent(lambda x: x.clone().fill_(2))),
    Example(aten.zero_, _independent(lambda x: x.clone().zero_())),
    Example(
        aten._upsample_bilinear2d_aa,
        lambda x: functional.interpolate(
            functional.avg_pool2d(x, 2), scale_factor=(2, 1), mode="bilinear", antialias=True
        ),
    ),
    Example(
        aten._upsample_bicubic2d_aa,
        lambda x: functional.interpolate(
            functional.avg_pool2d(x, 2), scale_factor=(1, 2), mode="bicubic", antialias=True
        ),
    ),
    Example(aten.constant_pad_nd, lambda x: functional.pad(x, (1, 2, 3, 0))),
    Example(aten.constant_pad_nd, lambda x: functional.pad(x, (-1, 0, 0, -2))),
    Example(aten.constant_pad_nd, lambda x: functional.pad(x, (0, 0, 0, 0, 1, 0))[:, 1:]),
    Example(aten.reflection_pad2d, lambda x: functional.pad(x, (1, 2, 3, 0), "reflect")),
    Example(aten.replication_pad2d, lambda x: functional.pad(x, (1, 2, 3, 0), "replicate")),
    Example(aten.mm, _rows_multiplied),
    Example(aten.mm, lambda x: _from_tokens(_channels_multiplied(x), x)),
    Example(
        aten.addmm,
        lambda x: (
            torch.addmm(
                _tokens(_wide(x, 2, 1)).reshape(-1, 4), _tokens(x).reshape(-1, 4), _drawn(x, 4, 4)
            )
            .view(len(x), -1, 4)
            .mT.reshape(x.shape)
        ),
    ),
    Example(
        aten.bmm, lambda x: (_drawn(x, 1, 4, 4).expand(len(x), 4, 4) @ x.flatten(2)).view(x.shape)
    ),
    Example(
        aten.baddbmm,
        lambda x: torch.baddbmm(
            _wide(x).flatten(2), _drawn(x, 1, 4, 4).expand(len(x), 4, 4), x.flatten(2)
        ).view(x.shape),
    ),
    Example(aten.copy_, _written),
    Example(aten.view, lambda x: x.view(len(x), 2, 2, *x.shape[2:]).flatten(1, 2)),
    Example(aten._unsafe_view, lambda x: torch.matmul(x.mT, _drawn(x, x.shape[2], 7)).mT),
    Example(aten.permute, lambda x: x.permute(0, 1, 3, 2)[:, :, :, 1:].permute(0, 1, 3, 2)),
    Example(aten.transpose, lambda x: x.transpose(2, 3)[:, :, 2:].transpose(2, 3)),
    Example(aten.t, lambda x: torch.stack([x[0, c].t()[1:].t() for c in range(4)])[None]),
    Example(aten.expand, lambda x: (_wide(x)[:, :1]).expand(-1, 4, -1, -1)),
    Example(aten.squeeze, lambda x: x[:, :, None].squeeze(2)),
    Example(aten.unsqueeze, lambda x: x.unsqueeze(0)[0]),
    Example(aten.slice, lambda x: x[:, :, 3:, 1::2]),
    Example(aten.select, lambda x: torch.stack([_wide(x).select(1, 0), *x.unbind(1)[1:]], 1)),
    Example(aten.split, lambda x: torch.cat([_wide(x), x], 1).split(4, 1)[1]),
    Example(aten.split, lambda x: torch.cat([_wide(x), x], 1).split(4, 1)[0]),
    Example(aten.split_with_sizes, lambda x: torch.cat([_wide(x), x], 1).split([4, 4], 1)[1]),
    Example(aten.unbind, lambda x: torch.stack(torch.stack([_wide(x), x])[1].unbind(1), 1)),
    Example(aten.cat, lambda x: torch.cat([_wide(x)[:, :1], x[:, 1:]], 1)),
    Example(aten.stack, lambda x: torch.stack([x[:, 0], _wide(x)[:, 1], x[:, 2], x[:, 3]], 1)),
    Example(aten.roll, lambda x: torch.cat([_wide(x), x], 1).roll(4, 1)[:, :4]),
    Example(aten.flip, lambda x: torch.cat([_wide(x), x], 1).flip(1)[:, :4]),
    Example(aten.repeat, lambda x: _wide(x)[:, :2].repeat(1, 2, 1, 1)),
    Example(aten.index, lambda x: torch.cat([_wide(x), x], 1)[:, [5, 4, 7, 6]]),
    Example(
        aten.index_select,
        lambda x: torch.cat([_wide(x), x], 1).index_select(1, torch.tensor([5, 4, 7, 6])),
    ),
    Example(aten.alias, lambda x: aten.alias(_wide(x))),
    Example(aten.detach, lambda x: _wide(x) + x.detach()),
    Example(
        aten.pixel_shuffle,
        lambda x: functional.avg_pool2d(functional.pixel_shuffle(x, 2), 2).expand(-1, 4, -1, -1),
    ),
    Example(
        aten.pixel_unshuffle,
        lambda x: functional.conv2d(functional.pixel_unshuffle(x, 2), _drawn(x, 4, 16, 1, 1)),
    ),
    Example(
        aten.channel_shuffle,
        lambda x: functional.channel_shuffle(torch.cat([_wide(x)[:, :2], x[:, :2]], 1), 2)[
            :, [1, 3, 1, 3]
        ],
    ),
    Example(aten._adaptive_avg_pool2d, lambda x: functional.adaptive_avg_pool2d(x, (20, 36))),
    Example(aten._adaptive_avg_pool2d, lambda x: x + functional.adaptive_avg_pool2d(x, (1, 36))),
    Example(
        aten.as_strided_,
        lambda x: (
            x + functional.adaptive_avg_pool2d(x.contiguous(memory_format=torch.channels_last), 1)
        ),
    ),
    Example(aten.adaptive_max_pool2d, lambda x: functional.adaptive_max_pool2d(x, (20, 12))),
    Example(
        aten.upsample_nearest2d,
        lambda x: functional.interpolate(functional.avg_pool2d(x, 2), scale_factor=(2, 4)),
    ),
    Example(
        aten._upsample_nearest_exact2d,
        lambda x: functional.interpolate(
            functional.avg_pool2d(x, 2), scale_factor=(2, 4), mode="nearest-exact"
        ),
    ),
    Example(
        aten.upsample_bilinear2d,
        lambda x: functional.interpolate(
            functional.avg_pool2d(x, 2), scale_factor=(2, 1), mode="bilinear"
        ),
    ),
    Example(
        aten.upsample_bicubic2d,
        lambda x: functional.interpolate(
            functional.avg_pool2d(x, 2), scale_factor=(1, 2), mode="bicubic"
        ),
    ),
    *(
        example
        for operation, reduce in REDUCTIONS
        for example in (
            Example(operation, _over_channels(lambda x, reduce=reduce: reduce(x, 1))),
            Example(operation, _over_rows(reduce)),
        )
    ),
    Example(aten.zeros_like, _independent(torch.zeros_like)),
    Example(aten.ones_like, _independent(torch.ones_like)),
    Example(aten.full_like, _independent(lambda x: torch.full_like(x, 2))),
    Example(aten.empty_like, _independent(torch.empty_like)),
    Example(aten.rand_like, _independent(torch.rand_like)),
    Example(aten.randn_like, _independent(torch.randn_like)),
    Example(aten.new_zeros, _independent(lambda x: x.new_zeros(x.shape))),
    Example(aten.new_ones, _independent(lambda x: x.new_ones(x.shape))),
    Example(aten.new_full, _independent(lambda x: x.new_full(x.shape, 3))),
    Example(aten.new_empty, _independent(lambda x: x.new_empty(x.shape))),
    Example(aten.hardswish, lambda x: functional.hardswish(_wide(x))),
    Example(aten.hardswish_, lambda x: functional.hardswish(_wide(x), inplace=True)),
    Example(aten._prelu_kernel, lambda x: functional.prelu(_wide(x), _drawn(x, 4))),
    Example(aten.clone, lambda x: _wide(x).clone()),
    Example(aten._to_copy, lambda x: _wide(x).half().to(x.dtype)),
    Example(aten.add, lambda x: x + _wide(x, 2, 1)),
    Example(aten.where, lambda x: torch.where(x > 0, x, _wide(x, 0, 2))),
]
# PyTorch takes these apart into others before any rule sees them; who calls them by name gets them.
TAKEN_APART = {aten.prelu, aten.native_channel_shuffle, aten._fused_rms_norm}
WITHOUT_GRADIENT = {aten.argmax, aten.argmin, aten.any, aten.all}
ON_GPUS = {
    *(aten._scaled_dot_product_flash_attention, aten._scaled_dot_product_efficient_attention),
    *(aten._scaled_dot_product_cudnn_attention,),
    *(aten._scaled_dot_product_fused_attention_overrideable,),
}


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.called: set[Any] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        self.called.add(func.overloadpacket)
        return func(*args, **(kwargs or {}))


def _support(model: nn.Module, images: int) -> tuple[list[Tensor], list[int]]:
    """Rows and columns that the central feature depends on, and its place."""
    torch.manual_seed(0)
    image = torch.randn(images, 3, *SIZE, dtype=torch.float64, requires_grad=True)
    features = model.double()(image)
    place = [features.shape[2] // 2, features.shape[3] // 2]
    channels = torch.randn(features.shape[1], dtype=torch.float64)  # a sum may be constant
    (features[:, :, place[0], place[1]] @ channels).sum().backward()
    reached = (image.grad != 0).any(0).any(0)
    return [reached.any(1 - axis).nonzero().flatten() for axis in (0, 1)], place


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(example.operation))
def test_operations_against_gradients_in_float64(example: Example) -> None:
    torch.manual_seed(1)
    model = Between(example.function)
    with torch.no_grad(), _Recorder() as recorder:
        model(torch.zeros(1, 3, *SIZE))
    assert example.operation in recorder.called
    field = receptive_field.theoretical(model, "output", SIZE)
    extents, place = _support(model, 1 if example.operation is aten.t else IMAGES)
    for axis, extent in enumerate(extents):
        first, last = int(extent[0]), int(extent[-1])
        if field.size[axis] == math.inf:
            assert last - first + 1 > 0.8 * SIZE[axis]
            continue
        assert first > 0 and last < SIZE[axis] - 1
        assert field.size[axis] == last - first + 1
        centre = field.offset[axis] + field.stride[axis] * place[axis]
        assert centre == (first + last) / 2


def test_every_operation_with_a_rule_has_an_example() -> None:
    examples = {example.operation for example in EXAMPLES}
    assert {
        *rules.RULES,
        *rules.ALSO_POINTWISE,
    } - examples == TAKEN_APART | WITHOUT_GRADIENT | ON_GPUS


@pytest.mark.parametrize("choose", [Tensor.argmax, Tensor.argmin])
def test_the_place_of_the_largest_depends_on_all_that_are_compared(choose: Callable) -> None:
    """Which has no gradient: over channels the window stays, over rows it is the whole height."""
    sizes = []
    for dim in (1, 2):
        model = Between(lambda x, dim=dim: x + choose(x, dim, True))
        sizes.append(receptive_field.theoretical(model, "output", SIZE).size)
    assert sizes == [(7.0, 5.0), (math.inf, 5.0)]
    model = Between(lambda x: x + (x > 0).all(1, True) + (x > 0).any(3, True))
    assert receptive_field.theoretical(model, "output", SIZE).size == (7.0, math.inf)


def test_places_that_all_see_one_pixel_are_no_map() -> None:
    """Beside them one that sees nothing: their union is that pixel, not the whole image."""
    pixel = torch.tensor([5.0, 5.0, math.inf]).view(1, 1, 3, 1)
    last = torch.where(pixel.isinf(), pixel, -pixel)
    place = torch.arange(3.0).view(1, 1, 3, 1)
    field = Field(pixel, last, pixel, last, place, torch.zeros_like(place))
    assert [float(edge) for edge in reduced(field, [2], (24, 24))[:4]] == [5, -5, 5, -5]
