"""Theoretical receptive fields against the paper's table and against gradients.

The truth is the support of the gradient of a central feature on an image larger than its field, of
a surrogate of the network whose weights are all positive, so that nothing cancels or saturates.
"""

import copy
import math
import random
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.convnext import CNBlock
from torchvision.ops import SqueezeExcitation

from deadpixel import receptive_field
from deadpixel.errors import InputError
from deadpixel.reading import named
from deadpixel.targets import Target
from deadpixel.trf.algebra import UnknownFieldError

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
INFINITE = (math.inf, math.inf)
LINEAR = (
    *(nn.BatchNorm2d, nn.LayerNorm, nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish),
    *(nn.Hardsigmoid, nn.Sigmoid, nn.Dropout, SqueezeExcitation),
)


# ------------------------------------------------------------------------------- numeric truth


class Truth(NamedTuple):
    """Extent of a feature's field, and the feature's place in its map, as (rows, columns)."""

    size: tuple[int, int]
    centre: tuple[float, float]
    index: tuple[int, int]


def _averaging(pool: nn.MaxPool2d) -> nn.Module:
    if pool.dilation == 1:
        return nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)
    assert not pool.ceil_mode

    def average(_module: nn.Module, x: Tensor) -> Tensor:
        weight = x.new_ones(x.shape[1], 1, pool.kernel_size, pool.kernel_size)
        geometry = pool.stride, pool.padding, pool.dilation, x.shape[1]
        return functional.conv2d(x, weight, None, *geometry)

    return Net(average)


def _surrogate(model: nn.Module) -> nn.Module:
    """A copy with equal positive weights, means for maxima, and nothing that is not local."""
    model = copy.deepcopy(model).double().eval()
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, LINEAR):
                setattr(module, name, nn.Identity())
            elif isinstance(child, nn.MaxPool2d):
                setattr(module, name, _averaging(child))
        if isinstance(module, CNBlock):
            nn.init.ones_(module.layer_scale)
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.constant_(module.weight, 1 / module.weight.shape[1])
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model.requires_grad_(False)


class _ReachedError(Exception):
    pass


def _truth(
    model: nn.Module, target: str, size: tuple[int, int], index: tuple[int, int] | None = None
) -> Truth:
    """Gradient support of a feature, by default the central one, all channels taken together."""
    surrogate = _surrogate(model)
    maps: list[Tensor] = []

    def keep(_module: nn.Module, _arguments: object, output: Tensor) -> None:
        maps.append(output)
        raise _ReachedError

    module = surrogate if target == "output" else surrogate.get_submodule(target)
    module.register_forward_hook(keep)
    image = torch.ones(1, 3, *size, dtype=torch.float64, requires_grad=True)
    with (
        pytest.raises(_ReachedError),
        mock.patch.object(functional, "max_pool2d", functional.avg_pool2d),
    ):
        surrogate(image)
    row, column = index or (maps[0].shape[2] // 2, maps[0].shape[3] // 2)
    maps[0][0, :, row, column].sum().backward()
    gradient = image.grad[0].sum(0)
    assert gradient.isfinite().all()
    extents = [(gradient != 0).any(axis).nonzero().flatten() for axis in (1, 0)]
    (top, bottom), (left, right) = [(int(e[0]), int(e[-1])) for e in extents]
    return Truth(
        (bottom - top + 1, right - left + 1),
        ((top + bottom) / 2, (left + right) / 2),
        (row, column),
    )


def _centre(field: receptive_field.ReceptiveField, index: tuple[int, int], axis: int) -> float:
    return field.offset[axis] + field.stride[axis] * index[axis]


def _assert_true(
    field: receptive_field.ReceptiveField, truth: Truth, size: tuple[int, int], axes: tuple = (0, 1)
) -> None:
    for axis in axes:
        reach = truth.size[axis] / 2
        assert reach < truth.centre[axis] + 0.5 < size[axis] - reach, "clipped: enlarge the image"
        assert field.size[axis] == truth.size[axis]
        assert _centre(field, truth.index, axis) == truth.centre[axis]


def _refused(model: nn.Module, target: str = "output", size: tuple[int, int] = (24, 24)) -> str:
    with pytest.raises(InputError) as caught:
        receptive_field.theoretical(model, target, size)
    return str(caught.value)


class Net(nn.Module):
    """A function as a network; `modules` are at its hand by name."""

    def __init__(self, function: Callable, **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def _network(name: str, **options: object) -> nn.Module:
    """A torchvision network without its time-consuming initialisation and huge heads."""
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        model = getattr(torchvision.models, name)(weights=None, **options)
    if name in ("alexnet", "vgg11"):
        model.classifier = nn.Identity()
    model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.fill_(0.01)
    return model


# ------------------------------------------------------------------------- torchvision networks

LAYERS = ["layer1", "layer2", "layer3", "layer4"]
PAPER = {
    "resnet18": (43, 99, 211, 435),
    "resnet34": (59, 179, 547, 899),
    "resnet50": (35, 91, 267, 427),
    "resnet101": (35, 91, 811, 971),
    "resnet152": (35, 155, 1291, 1451),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER)
def test_sizes_of_the_papers_table(name: str) -> None:
    """Table 1: the four stages of each ResNet, and the logits, which see the whole image."""
    found = receptive_field.fields(_network(name), [*LAYERS, "output"], (96, 128))
    assert [found[layer].size for layer in LAYERS] == [(size, size) for size in PAPER[name]]
    assert [found[layer].stride for layer in LAYERS] == [(n, n) for n in (4.0, 8.0, 16.0, 32.0)]
    assert all(found[layer].offset == (0.0, 0.0) for layer in LAYERS)
    assert found["layer4"].center == (32.0, 64.0)  # of feature (1, 2) in 3 x 4
    assert found["output"].size == INFINITE
    assert all(map(math.isnan, [*found["output"].stride, *found["output"].offset]))


WIDER = {
    **dict.fromkeys(("resnext50_32x4d", "wide_resnet50_2"), "resnet50"),
    **dict.fromkeys(("resnext101_32x8d", "wide_resnet101_2"), "resnet101"),
}


@pytest.mark.parametrize("name", WIDER)
def test_the_papers_other_networks_differ_in_groups_and_widths_which_no_field_sees(
    name: str,
) -> None:
    def geometry(name: str) -> list[tuple]:
        with torch.device("meta"):
            model = torchvision.models.get_model(name)
        convolutions = [m for m in model.named_modules() if isinstance(m[1], nn.Conv2d)]
        return [(n, m.kernel_size, m.stride, m.padding, m.dilation) for n, m in convolutions]

    assert geometry(name) == geometry(WIDER[name])


class Case(NamedTuple):
    """A torchvision network; `narrow`: pixels enough for its windows without padding."""

    name: str
    target: str
    narrow: int = 32
    gated: bool = False
    options: Mapping[str, object] = MappingProxyType({})


FAMILIES = [
    Case("resnet18", "layer4", 1),
    Case("resnet50", "layer3.0", 1, options={"replace_stride_with_dilation": [True, True, True]}),
    Case("alexnet", "features", 63),
    Case("convnext_tiny", "features.3"),
    Case("densenet121", "features.denseblock2"),
    Case("efficientnet_b0", "features.4", 1, gated=True),
    Case("inception_v3", "Mixed_6a", 75, options={"init_weights": False}),
    Case("shufflenet_v2_x0_5", "stage3", 1),
    Case("squeezenet1_1", "features", 32),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", FAMILIES, ids=lambda case: f"{case.name}-{case.target}")
def test_torchvision_families_against_gradients(case: Case) -> None:
    """Size and position, on a tall strip, the first also on a wide one: axes are independent."""
    model = _network(case.name, **case.options)
    field = receptive_field.theoretical(model, case.target, squeeze_excitation=not case.gated)
    for axis in (0, 1) if case is FAMILIES[0] else (0,):
        length = int(field.size[axis] + 4 * field.stride[axis]) + 32
        size = (length, case.narrow) if axis == 0 else (case.narrow, length)
        _assert_true(field, _truth(model, case.target, size), size, (axis,))


@pytest.mark.parametrize("case", [c for c in FAMILIES if c.gated], ids=lambda case: case.name)
def test_gates_see_the_whole_image_by_default(case: Case) -> None:
    model = _network(case.name)
    assert receptive_field.theoretical(model, case.target, (64, 64)).size == INFINITE


# ------------------------------------------------------------------------------ single operations


def _conv(kernel: object = 3, inputs: int = 3, outputs: int = 3, **options: object) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, **options)


def _same(kernel: int = 3, channels: int = 3, **options: object) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, padding=kernel // 2, **options)


def _local(function: Callable, **modules: nn.Module) -> Net:
    """A function of `modules` and the image between two convolutions."""

    def forward(net: Net, x: Tensor) -> Tensor:
        return net.after(function(net, net.before(x)))

    return Net(forward, before=_same(3), after=_same(5), **modules)


def _two_calls(net: Net, x: Tensor) -> Tensor:
    return net.conv(net.conv(x))


def _written_in_place(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    y += net.b(x)
    return y.mul_(2).relu_()


def _shuffled(_net: Net, x: Tensor) -> Tensor:
    x = torch.cat([x, functional.avg_pool2d(x, 5, 1, 2)], 1)
    n, c, h, w = x.shape
    x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
    return x[:, 1::2]  # the pooled ones


def _chunked(net: Net, x: Tensor) -> Tensor:
    kept, changed, _ = x.chunk(3, 1)
    return torch.cat([kept, net.conv(changed)], 1).repeat(1, 3, 1, 1)[:, :3]


def _two_images(net: Net, x: Tensor) -> Tensor:
    left, right = torch.split(x, [1, 2], 1)
    return torch.cat([left, right[:, [1, 0]]], 1) + net.conv(x.flip(1)).roll(1, 1)


def _shortcut_a(net: Net, x: Tensor) -> Tensor:
    """Subsampling and zero channels, as in ResNets for CIFAR."""
    wide = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 1))
    return (net.main(x) + wide)[:, 2:5]


def _channels_last(net: Net, x: Tensor) -> Tensor:
    x = net.norm(x.permute(0, 2, 3, 1))
    return net.linear(x).permute(0, 3, 1, 2)


def _padded_channels_normalised(_net: Net, x: Tensor) -> Tensor:
    """Channels that see nothing are at no other place than the rest."""
    x = functional.pad(x, (0, 0, 0, 0, 1, 1))
    return (x - x.mean(1, keepdim=True))[:, 1:4]


def _functional(net: Net, x: Tensor) -> Tensor:
    x = functional.conv2d(x, net.conv.weight, stride=(1, 2), padding=(0, 3), groups=3)
    x = torch.relu(functional.avg_pool2d(x, (2, 3), ceil_mode=True))
    return torch.cat((x, x.mean(1, True)), dim=1)[:, 1:]


def _shape_decides(net: Net, x: Tensor) -> Tensor:
    while x.shape[1] < 12:
        x = torch.cat([x, net.conv(x[:, -3:])], 1)
    return x[:, 9:]


LOCAL: dict[str, nn.Module] = {
    "identity": nn.Identity(),
    "1x7": _conv((1, 7)),
    "7x1 padded": _conv((7, 1), padding=(3, 0)),
    "asymmetric everything": nn.Sequential(
        _conv((2, 5), stride=(2, 1), padding=(1, 3), dilation=(3, 2)),
        _conv((4, 1), stride=(1, 3), padding=(2, 0), dilation=(1, 4)),
    ),
    "stride beyond the kernel": nn.Sequential(_conv(1, stride=3), _conv(2, stride=(4, 2))),
    "depthwise": nn.Sequential(_same(3), _conv(5, outputs=6, groups=3, dilation=2)),
    "grouped": nn.Sequential(_conv(1, outputs=4), _conv((3, 2), 4, 6, groups=2), _conv(1, 6)),
    "same, even kernel": _conv((4, 2), padding="same", dilation=(1, 3)),
    "asymmetric zero padding": nn.Sequential(nn.ZeroPad2d((0, 5, 3, 1)), _conv(3, stride=2)),
    "cropped": nn.Sequential(nn.ZeroPad2d((-2, 1, 0, -5)), _conv(3)),
    "reflected": _conv(5, padding=2, padding_mode="reflect", stride=2),
    "replicated": nn.Sequential(nn.ReplicationPad2d((4, 0, 1, 2)), _conv(3)),
    "max pool": nn.MaxPool2d((3, 2), (2, 1), (1, 0)),
    "max pool, ceil mode": nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), _same(3)),
    "max pool, dilated": nn.Sequential(nn.MaxPool2d(3, 2, 1, dilation=2), _same(3)),
    "average pool": nn.AvgPool2d((2, 5), (1, 3), (1, 2), ceil_mode=True, count_include_pad=False),
    "batch norm": nn.Sequential(_same(3), nn.BatchNorm2d(3), nn.ReLU()),
    "dropout": nn.Sequential(_same(3), nn.Dropout(), nn.Dropout2d()),
    "dense": Net(
        lambda net, x: net.b(torch.cat([x, net.a(x)], 1)), a=_same(5), b=_conv(3, 6, 6, padding=1)
    ),
    "strided shortcut": Net(
        lambda net, x: net.main(x) + net.shortcut(x),
        main=nn.Sequential(_same(3, stride=2), _same(3)),
        shortcut=_conv(1, stride=2),
    ),
    "shortcut beside the main path": Net(
        lambda net, x: net.main(x) + net.shortcut(x),
        main=nn.Sequential(nn.ZeroPad2d((2, 0, 0, 2)), _conv(3, stride=2)),
        shortcut=nn.AvgPool2d(2),
    ),
    "zero-channel shortcut": Net(_shortcut_a, main=_conv(3, outputs=6, stride=2, padding=1)),
    "channel shuffle": _local(_shuffled),
    "channel shuffle module": nn.Sequential(_same(3), nn.ChannelShuffle(3)),
    "chunks": _local(_chunked, conv=_same(7, 1)),
    "splits, indices, rolls": _local(_two_images, conv=_same(7)),
    "used twice": Net(_two_calls, conv=_conv(3, stride=2, padding=1)),
    "in place": Net(_written_in_place, a=_same(3), b=_same(5)),
    "channels last": _local(_channels_last, norm=nn.LayerNorm(3), linear=nn.Linear(3, 3)),
    "mean over padded channels": _local(_padded_channels_normalised),
    "max over channels": _local(lambda _net, x: x * x.amax(1, keepdim=True)),
    "einsum over channels": _local(
        lambda net, x: torch.einsum("nchw,cd->ndhw", x, net.mix.weight), mix=nn.Linear(3, 3)
    ),
    "spatial attention": _local(lambda net, x: x * net.conv(x).mean(1, True), conv=_same(7)),
    "functions": Net(_functional, conv=_conv((3, 7), groups=3)),
    "shape decides": Net(_shape_decides, conv=_same(5)),
    "space to depth": nn.Sequential(nn.PixelUnshuffle(2), _conv(3, 12, padding=1)),
    "space to depth, channel mean": _local(
        lambda _net, x: functional.pixel_unshuffle(x, 3).mean(1, True).repeat(1, 3, 1, 1)
    ),
    "slices to depth": Net(
        lambda net, x: net.conv(torch.cat([x[..., ::2, ::2], x[..., 1::2, 1::2]], 1)),
        conv=_conv(3, 6),
    ),
    "windows by view": _local(lambda _net, x: x.view(1, 3, 48, 2, 36, 2).mean((3, 5))),
    "where": _local(lambda net, x: torch.where(net.conv(x) > 0, net.conv(x), x), conv=_same(5)),
    "zeros like": _local(lambda _net, x: torch.maximum(x, torch.zeros_like(x))),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOCAL)
def test_operations_against_gradients(name: str) -> None:
    """Size and position of the central feature; the image's size bears on neither."""
    size = (96, 72)
    model = LOCAL[name]
    model = model if isinstance(model, Net) else nn.Sequential(model)
    truth = _truth(model, "output", size)
    _assert_true(receptive_field.theoretical(model, "output", size), truth, size)
    if name != "windows by view":
        _assert_true(receptive_field.theoretical(model, "output", (144, 126)), truth, size)


ENLARGED: dict[str, nn.Module] = {
    "nearest": nn.Sequential(nn.AvgPool2d(2), nn.Upsample(scale_factor=2), _same(3)),
    "nearest to 3/2": nn.Sequential(nn.AvgPool2d(2), nn.Upsample(scale_factor=1.5), _same(3)),
    "nearest-exact": nn.Sequential(
        nn.AvgPool2d(4), nn.Upsample(scale_factor=3, mode="nearest-exact"), _same(3), _same(5)
    ),
    "nearest, thinned": nn.Sequential(nn.Upsample((37, 31)), _same(3)),
    "bilinear": nn.Sequential(
        nn.AvgPool2d(4), nn.Upsample(scale_factor=2, mode="bilinear"), _same(3), _same(3)
    ),
    "bilinear, aligned": nn.Sequential(
        nn.AvgPool2d(4), nn.Upsample((50, 41), mode="bilinear", align_corners=True), _same(3)
    ),
    "bilinear, halved": nn.Sequential(nn.Upsample(scale_factor=0.5, mode="bilinear"), _same(3)),
    "bicubic": nn.Sequential(
        nn.AvgPool2d(4), nn.Upsample(scale_factor=2, mode="bicubic"), _same(3)
    ),
    "transposed 4, 2, 1": nn.Sequential(
        nn.AvgPool2d(4), nn.ConvTranspose2d(3, 3, 4, 2, 1), _same(3)
    ),
    "transposed 3, 2, 1, 1": nn.Sequential(
        nn.AvgPool2d(4), nn.ConvTranspose2d(3, 3, 3, 2, 1, output_padding=1), _same(3)
    ),
    "transposed, asymmetric": nn.Sequential(
        nn.AvgPool2d(4),
        nn.ConvTranspose2d(3, 6, (3, 2), (1, 3), (0, 1), dilation=(2, 1), groups=3),
        _conv(3, 6),
    ),
    "transposed with gaps": nn.Sequential(nn.ConvTranspose2d(3, 3, 1, 3), _same(3)),
    "adaptive to a divisor": nn.Sequential(nn.AdaptiveAvgPool2d((12, 9)), _same(3)),
    "adaptive to no divisor": nn.Sequential(nn.AdaptiveAvgPool2d((11, 10)), _same(3)),
    "adaptive maximum": nn.Sequential(nn.AdaptiveMaxPool2d((24, 18))),
    "depth to space": nn.Sequential(_conv(3, outputs=12, stride=4), nn.PixelShuffle(2), _same(3)),
    "repeated": _local(lambda _net, x: x.repeat_interleave(2, 2).repeat_interleave(3, 3)),
    "scaled to the same size": nn.Sequential(
        nn.AvgPool2d(24), nn.Upsample(scale_factor=1.3), _conv(1)
    ),
    "nearest, cropped": nn.Sequential(
        nn.AvgPool2d(4),
        nn.Upsample(scale_factor=2),
        Net(lambda _net, x: x[:, :, :-1, :-1]),
        _conv(2),
    ),
    "encoder and decoder": Net(
        lambda net, x: net.out(
            torch.cat([net.a(x), functional.interpolate(net.b(net.a(x)), scale_factor=2)], 1)
        ),
        a=_same(3),
        b=nn.Sequential(nn.MaxPool2d(2), _same(3)),
        out=_conv(3, 6, padding=1),
    ),
}


@pytest.mark.parametrize("name", ENLARGED)
def test_enlarged_maps_against_gradients(name: str) -> None:
    """Their features are not all alike: the central one of the same image is the one to match."""
    for size in ((96, 72), (100, 84)):
        model = nn.Sequential(ENLARGED[name])
        model[0].apply(_mean_for_maximum)
        field = receptive_field.theoretical(model, "output", size)
        _assert_true(field, _truth(model, "output", size), size)


@pytest.mark.parametrize(
    ("mode", "kernel", "enlarged", "size"),
    [("bicubic", 3, {12: 5, 28: 13, 60: 29}, 20), ("bilinear", 5, {20: 9, 36: 17, 60: 29}, 12)],
)
def test_aligned_enlargement_of_small_maps(
    mode: str, kernel: int, enlarged: dict[int, int], size: int
) -> None:
    """Every second pixel is read as it is; the cubic kernel reads beyond a map of three pixels."""
    for length, outputs in enlarged.items():
        upsample = nn.Upsample((outputs, outputs), mode=mode, align_corners=True)
        model = nn.Sequential(nn.AvgPool2d(4), upsample, _same(kernel))
        field = receptive_field.theoretical(model, "output", (length, length))
        assert field.size == (size, size)
    _assert_true(field, _truth(model, "output", (length, length)), (length, length))


class Axial(nn.Module):
    """Each row of a map by itself, as one image of a batch: (H, C, 1, W)."""

    def __init__(self, along: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.along = along

    def forward(self, image: Tensor) -> Tensor:
        rows = self.along(image.permute(0, 2, 1, 3).flatten(0, 1).unsqueeze(2)).squeeze(2)
        return rows.unflatten(0, (1, -1)).permute(0, 2, 1, 3)


@pytest.mark.parametrize(
    ("along", "stride"),
    [
        (nn.Conv2d(3, 3, (1, 3), (1, 2), (0, 1)), 2),
        (nn.MaxPool2d((1, 3), (1, 2), (0, 1)), 2),
        (nn.AvgPool2d((1, 3), 1, (0, 1)), 1),
        (nn.ConvTranspose2d(3, 3, (1, 3), padding=(0, 1)), 1),
    ],
)
def test_rows_that_lie_in_the_batch_keep_their_places(along, stride):
    network = nn.Sequential(Axial(along))
    targets = {"o": Target("0", layout="nchw")}
    field = receptive_field.fields(network, targets, (32, 48))["o"]
    assert (field.size, field.stride, field.kind) == ((1, 3), (1, stride), "exact")


def test_patterns_cut_short_are_refused() -> None:
    """Two features whose fields differ in size do not tell what the next one is."""
    model = nn.Sequential(ENLARGED["nearest, cropped"], nn.ZeroPad2d((2, 0, 2, 0)), _conv(3))
    assert "larger input size" in _refused(model, size=(8, 8))


STRIDES = {"nearest": 1, "nearest to 3/2": 4 / 3, "bilinear": 2, "transposed 4, 2, 1": 2}


@pytest.mark.parametrize("name", STRIDES)
def test_mean_stride_of_enlarged_maps(name: str) -> None:
    """Whole patterns count, whether or not the map ends with one."""
    for length in (72, 84, 102):
        field = receptive_field.theoretical(ENLARGED[name], "output", (length, length))
        assert field.stride == (STRIDES[name], STRIDES[name])


def _mean_for_maximum(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.AdaptiveMaxPool2d):
            setattr(module, name, nn.AdaptiveAvgPool2d(child.output_size))


UNALIGNED = [
    *("nearest", "nearest-exact", "bilinear", "bicubic", "transposed 4, 2, 1", "depth to space"),
    *("transposed, asymmetric", "encoder and decoder", "nearest, cropped"),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", UNALIGNED)
def test_small_maps_are_exact_or_refused(name: str) -> None:
    """Where a field reaches beyond the map it is that of a feature of a larger image, or an error.

    The further convolutions see every border there is.
    """
    model = nn.Sequential(ENLARGED[name], *[_same(3) for _ in range(4)])
    middle = _truth(model, "output", (120, 120)).index
    possible = set()
    for n in range(-6, 6):
        index = (middle[0] + n, middle[1] + n)
        size, (row, column), _ = _truth(model, "output", (120, 120), index)
        assert max(size) / 2 < min(row, column, 119 - row, 119 - column), "clipped"
        possible.add(size)
    found = []
    for length in range(8, 48, 4):
        try:
            found.append(receptive_field.theoretical(model, "output", (length, length)).size)
        except InputError as error:
            assert "larger input size" in str(error)
    assert {*found} <= {(a[0], b[1]) for a in possible for b in possible}
    assert len(found) >= 6


def test_small_images_suffice_unless_a_map_has_one_pixel() -> None:
    """Fields larger than the image are exact; those that cannot be are refused."""
    model = _network("resnet18")
    large = receptive_field.fields(model, ["layer3", "layer4"])
    small = receptive_field.fields(model, ["layer3", "layer4"], (64, 48))
    small["tiny"] = receptive_field.theoretical(model, "layer3", (32, 32))
    for name, field in small.items():  # only the central feature is another
        same = large["layer3" if name == "tiny" else name]
        assert (field.size, field.stride, field.offset) == (same.size, same.stride, same.offset)
    assert [field.center for field in small.values()] == [(32, 16), (32, 32), (16, 16)]
    for target in ("layer4", "output"):
        with pytest.raises(InputError, match=f"'{target}'.*larger input size"):
            receptive_field.theoretical(model, target, (32, 32))


def test_margins_by_concatenation() -> None:
    """They pad, but nothing tells how the map goes on there: a field that reaches them is refused.

    This is not so on an image large enough that it does not.
    """

    def padded(net: Net, x: Tensor) -> Tensor:
        margin = torch.zeros(*x.shape[:2], 1, x.shape[3], dtype=x.dtype)
        return net.conv(torch.cat([margin, x, margin], 2))

    blocks = [Net(padded, conv=_conv((3, 1), stride=(2, 1))) for _ in range(4)]
    model, size = nn.Sequential(*blocks), (128, 4)
    _assert_true(
        receptive_field.theoretical(model, "output", size), _truth(model, "output", size), size
    )
    assert "larger input size" in _refused(model, size=(16, 4))

    def doubled(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)  # two pixels
        return net.conv(torch.cat([torch.zeros(x.shape), x], 2))

    conv = nn.Sequential(nn.ZeroPad2d((0, 0, 0, 2)), _conv((3, 1)))
    assert "larger input size" in _refused(Net(doubled, stem=_conv(23), conv=conv))


def test_pooling_of_one_pixel_is_refused() -> None:
    """It may be that of the whole of a small map."""
    stem = _conv(24)
    assert receptive_field.theoretical(stem, "output", (24, 24)).size == (24.0, 24.0)
    enlarge = nn.Sequential(nn.Upsample(scale_factor=2), _same(3))
    shuffle = nn.Sequential(_conv(1, 3, 12), nn.PixelShuffle(2), _conv(1), _same(3))
    padded = nn.Sequential(nn.ZeroPad2d(1), _conv(3))
    for tail in (nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1), enlarge, shuffle, padded):
        assert "larger input size" in _refused(nn.Sequential(stem, tail))
    vector = nn.Sequential(stem, nn.Flatten(), nn.Linear(3, 2))
    assert receptive_field.theoretical(vector, "output", (24, 24)).size == (24.0, 24.0)


# ------------------------------------------------------------------- what sees the whole image


def _attention(net: Net, x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    weights = (net.query(tokens) @ net.key(tokens).transpose(1, 2)).softmax(-1)
    return (weights @ tokens).transpose(1, 2).reshape(x.shape)


def _ready_made_attention(_net: Net, x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    attended = functional.scaled_dot_product_attention(tokens, tokens, tokens)
    return attended.transpose(1, 2).reshape(x.shape)


def _channel_attention(_net: Net, x: Tensor) -> Tensor:
    tokens = x.flatten(2)
    return ((tokens @ tokens.mT).softmax(-1) @ tokens).view(x.shape)


GATES: dict[str, Net] = {
    "squeeze and excitation": _local(lambda net, x: net.gate(x), gate=SqueezeExcitation(3, 2)),
    "linear gate": _local(
        lambda net, x: x * net.fc(x.mean((2, 3))).sigmoid()[:, :, None, None], fc=nn.Linear(3, 3)
    ),
    "expanded gate": _local(lambda _net, x: x.mean((2, 3), True).expand_as(x) * x),
    "gate in place": _local(lambda _net, x: x.mul_(x.amax((2, 3), True))),
    "coordinate attention": _local(lambda _net, x: x * x.mean(2, True) * x.mean(3, True)),
    "scalar gate": _local(lambda _net, x: x * x.std()),
}


@pytest.mark.parametrize("name", GATES)
def test_gates_are_the_identity_on_request(name: str) -> None:
    size = (24, 24)
    ungated = receptive_field.theoretical(GATES[name], "output", size, squeeze_excitation=False)
    local = (7.0, 7.0), (1.0, 1.0), (0.0, 0.0), (12.0, 12.0)
    assert ungated == receptive_field.ReceptiveField(*local)
    gated = receptive_field.theoretical(GATES[name], "output", size)
    assert gated.size == INFINITE
    assert all(map(math.isnan, [*gated.stride, *gated.offset]))


def test_factors_as_large_as_the_map_are_no_gates() -> None:
    """Attention over space has as many places as the map; outer products have no map at all."""
    nets = [
        _local(lambda net, x: x * net.conv(x).mean(1, True), conv=_same(7)),
        _local(
            lambda net, x: (functional.pad(x, (0, 0, 0, 0, 2, 0)) * net.conv(x))[:, 2:],
            conv=_conv(7, 3, 5, padding=3),
        ),
        _local(lambda _net, x: x.amax(2, keepdim=True) * x.amax(3, keepdim=True)),
    ]
    sizes = [
        receptive_field.theoretical(net, "output", (24, 24), squeeze_excitation=False).size
        for net in nets
    ]
    assert sizes == [(13.0, 13.0), (13.0, 13.0), INFINITE]


class Weights(nn.Module):
    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values)


def _fourier_layer(net: Net, x: Tensor) -> Tensor:
    found = torch.einsum("nixy,ioxy->noxy", torch.fft.rfft2(x), net.gains.values)
    return torch.fft.irfft2(found, s=x.shape[2:])


WHOLE: dict[str, nn.Module] = {
    "instance norm": nn.Sequential(_same(3), nn.InstanceNorm2d(3)),
    "group norm": nn.Sequential(_same(3), nn.GroupNorm(3, 3)),
    "layer norm over space": nn.Sequential(_same(3), nn.LayerNorm([3, 24, 24])),
    "self-attention": _local(_attention, query=nn.Linear(3, 2), key=nn.Linear(3, 2)),
    "attention, ready made": _local(_ready_made_attention),
    "channel attention": _local(_channel_attention),
    "softmax over space": _local(lambda _net, x: x.flatten(2).softmax(-1).view(x.shape)),
    "standardised": _local(lambda _net, x: (x - x.mean()) / x.std()),
    "indices as values": _local(
        lambda _net, x: functional.max_pool2d(x, 3, 1, 1, return_indices=True)[1].float()
    ),
    "all of a map with blind channels": _local(
        lambda _net, x: functional.pad(x, (0, 0, 0, 0, 1, 1)).mean(1, True).mean((2, 3), True) + x
    ),
    "all of a map with one place added": _local(
        lambda _net, x: (x[:, :, :1, :1] + x).mean((2, 3), True) + x
    ),
    "extremes": _local(lambda _net, x: (x - x.min()) / x.max()),
    "normalised": _local(lambda _net, x: functional.normalize(x.flatten(1)).view(x.shape)),
    "global branch": _local(
        lambda _net, x: (
            x + functional.interpolate(functional.adaptive_avg_pool2d(x, 1), x.shape[2:])
        )
    ),
    "global maximum": nn.Sequential(_same(3), nn.AdaptiveMaxPool2d(1)),
    "Fourier layer with complex weights": _local(
        _fourier_layer, gains=Weights(torch.randn(3, 3, 24, 13, dtype=torch.complex64))
    ),
    "linear over space": nn.Sequential(_same(3), nn.Flatten(), nn.Linear(3 * 24 * 24, 5)),
    "linear along both axes": Net(lambda net, x: net.fc(net.fc(x).mT), fc=nn.Linear(24, 24)),
    "rows as channels, columns too": Net(
        lambda net, x: net.conv(net.conv(x.permute(0, 2, 1, 3)).permute(0, 3, 2, 1)),
        conv=_conv(1, 24, 24),
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_image(name: str) -> None:
    """Statistics over space, attention, dense layers; their size does not depend on the image's."""
    field = receptive_field.theoretical(WHOLE[name], "output", (24, 24))
    assert field.size == INFINITE
    assert all(map(math.isnan, [*field.stride, *field.offset]))


ONE_AXIS = {
    "strip pooling": _local(lambda _net, x: x + x.mean(2, keepdim=True)),
    "mixed along rows": _local(lambda net, x: net.fc(x.mT).mT, fc=nn.Linear(24, 24)),
    "rows as channels": _local(
        lambda net, x: net.conv(x.transpose(1, 2)).transpose(1, 2), conv=_conv(1, 24, 24)
    ),
    "softmax along rows": _local(lambda _net, x: x.softmax(2)),
    "pooled to a row": nn.Sequential(_same(7), nn.AdaptiveMaxPool2d((1, None))),
}


@pytest.mark.parametrize("name", ONE_AXIS)
def test_whole_columns_of_some_width(name: str) -> None:
    """What runs over rows alone leaves the width as it is."""
    field = receptive_field.theoretical(ONE_AXIS[name], "output", (24, 24))
    assert field.size == (math.inf, 7.0)
    assert (field.stride[1], field.offset[1]) == (1.0, 0.0)


def test_statistics_over_channels_stay_local() -> None:
    """Softmax is constant where all channels are alike, so it has no surrogate."""
    field = receptive_field.theoretical(_local(lambda _net, x: x.softmax(1)), "output", (24, 24))
    local = (7.0, 7.0), (1.0, 1.0), (0.0, 0.0), (12.0, 12.0)
    assert field == receptive_field.ReceptiveField(*local)


def test_running_statistics_stay_local() -> None:
    """Instance normalisation with running statistics is an affine map."""
    model = nn.Sequential(_same(3), nn.InstanceNorm2d(3, track_running_stats=True))
    assert receptive_field.theoretical(model, "output", (24, 24)).size == (3.0, 3.0)


def test_targets_in_other_layouts() -> None:
    """Channels last is still a map; a map made into a vector is one place, all of it."""
    model = nn.Sequential(
        _same(3, stride=2),
        Net(lambda _net, x: x.permute(0, 2, 3, 1)),
        Net(lambda _net, x: x.flatten(1, 2).unsqueeze(1)),
        nn.Flatten(),
    )
    found = receptive_field.fields(model, input_size=(24, 16))
    assert found["1"] == found["0"]
    for vector in ("2", "3", "output"):
        assert found[vector].size == (25.0, 17.0)  # with the padding
        assert all(map(math.isnan, found[vector].stride))


# --------------------------------------------------------------------------------------- errors


UNKNOWN = {
    "linalg_inv_ex": lambda _net, x: torch.linalg.inv(x[..., :3, :3] + 9 * torch.eye(3)),
    "_cdist_forward": lambda _net, x: torch.cdist(x, x),
    "convolution.* 3 dimensions": lambda net, x: net.volume(x[:, None])[:, 0],
    "with a mask": lambda _net, x: x + x[x > -99].mean(),
    "_local_scalar_dense": lambda _net, x: x if x.mean() > 0 else -x,
    "equal": lambda _net, x: x if torch.equal(x, x) else -x,
    "numpy": lambda _net, x: x + torch.from_numpy(x.flip(2).numpy()),
    "__array__": lambda _net, x: x + torch.tensor(np.asarray(x.flip(2))),
    "__dlpack__|is_pinned": lambda _net, x: x + torch.from_dlpack(x.flip(2)),
    "tolist": lambda _net, x: x + torch.tensor(x.flip(2).tolist()),
    "for 1 dimensions": lambda net, x: net.line(x.flatten(2)).view(x.shape),
    "upsample_bilinear2d": lambda _net, x: functional.interpolate(
        x, scale_factor=1.3, mode="bilinear"
    ),
    "upsample_bicubic2d": lambda _net, x: functional.interpolate(
        functional.avg_pool2d(x, 7), scale_factor=1.3, mode="bicubic"
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_operations_are_named(name: str) -> None:
    """They are an error from there on; what comes before them is not."""
    model = Net(
        lambda net, x: net.after(UNKNOWN[name](net, net.before(x))),
        before=_same(3),
        line=nn.ConvTranspose1d(3, 3, 1),
        volume=nn.Conv3d(1, 1, 3, padding=1),
        after=_same(3),
    )
    for target in ("after", "output"):
        with pytest.raises(UnknownFieldError, match=name):
            receptive_field.theoretical(model, target, (23, 23))
    for targets in (["before"], ["before", "before"]):
        found = receptive_field.fields(model, targets, (23, 23))
        assert [field.size for field in found.values()] == [(3.0, 3.0)]


def _slices_of_zeros(_net: Net, x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, :1] = x[:, 1:2]
    return y


def _slices_of_new_memory(net: Net, x: Tensor) -> Tensor:
    y = torch.zeros(x.shape)
    y[:, :1] += net.conv(x)[:, :1]
    return x + y


def _enlarged_slice(net: Net, x: Tensor) -> Tensor:
    y = net.conv(x)
    x = torch.cat([x[:, :1], y[:, :2]], 1)
    x[:, :1].add_(x[:, 1:2])
    return x


def _shifted_slice(_net: Net, x: Tensor) -> Tensor:
    x = x.clone()
    x[:, :, 1:].add_(x[:, :, :-1])
    return x


def _slice_of_what_is_written(net: Net, x: Tensor) -> Tensor:
    x = x.clone()
    part = x[:, :1]
    x.add_(net.conv(x))
    return torch.cat([part] * 3, 1)


def _slice_of_new_memory_written(net: Net, x: Tensor) -> Tensor:
    y = torch.zeros(x.shape)
    part = y[:, :1]
    y.add_(net.conv(x))
    return x + part


def _given_output(net: Net, x: Tensor) -> Tensor:
    y = torch.empty(x.shape)
    torch.add(x, net.conv(x), out=y[:])
    return x + y


def _given_part_of_output(net: Net, x: Tensor) -> Tensor:
    y = x.clone()
    torch.add(x, net.conv(x), out=y[:])
    return y


def _mask_written(_net: Net, x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, torch.tensor([True, False, True])] = x[:, :2]
    return y


WRITES = {
    **{f.__name__: f for f in (_slices_of_zeros, _slices_of_new_memory, _enlarged_slice)},
    **{f.__name__: f for f in (_shifted_slice, _slice_of_what_is_written, _given_output)},
    _given_part_of_output.__name__: _given_part_of_output,
    **{f.__name__: f for f in (_slice_of_new_memory_written, _mask_written)},
    "parameter": lambda net, x: x + nn.Parameter(net.conv(x)),
    "transposed in place": lambda _net, x: x.clone().as_strided_(x.shape, x.mT.stride()),
    "transposed and made contiguous in place": lambda _net, x: x.mT.clone().mT.as_strided_(
        x.shape, x.stride()
    ),
    "resized in place": lambda _net, x: x.clone().unsqueeze_(0)[0],
}


@pytest.mark.parametrize("name", WRITES)
def test_writes_through_other_names_are_refused(name: str) -> None:
    """A slice, a base or an alias would keep the smaller field it had."""
    with pytest.raises(UnknownFieldError):
        receptive_field.theoretical(_local(WRITES[name], conv=_same(7)), "output", (24, 24))


def test_harmless_writes() -> None:
    """A slice that depends on nothing new leaves its base as it was; new memory has no slices."""

    def given(net: Net, x: Tensor) -> Tensor:
        y = torch.add(x, net.conv(x), out=torch.empty(x.shape))
        return torch.empty(x.shape).copy_(y)

    model = _local(given, conv=_same(3))
    assert receptive_field.theoretical(model, "output", (24, 24)).size == (9.0, 9.0)

    def scaled(_net: Net, x: Tensor) -> Tensor:
        x[:, :1].mul_(2).relu_()
        x[:, 1:] += 1
        return x

    assert receptive_field.theoretical(_local(scaled), "output", (24, 24)).size == (7.0, 7.0)


def test_bad_targets() -> None:
    """Each message names the target; that of an unknown one also what there is."""
    model = Net(
        lambda net, x: net.many(net.first(x))[0] + net.fixed(x).mean(),
        first=_same(3),
        never=_same(3),
        many=Net(lambda _net, x: [x, x]),
        fixed=Net(lambda _net, _x: torch.ones(1, 3, 24, 24)),
    )
    assert "unknown target 'layer5'" in _refused(model, "layer5")
    assert "output, first, never, many, fixed, and the modules" in _refused(model, "layer5")
    assert "target 'never' is never called in a forward pass" in _refused(model, "never")
    assert "target 'many' yields a list of 2, no map" in _refused(model, "many")
    assert "target 'fixed' yields nothing that the image reaches" in _refused(model, "fixed")
    with pytest.raises(InputError, match="'never'"):
        receptive_field.fields(model, ["first", "never"], (24, 24))
    assert set(receptive_field.fields(model, input_size=(24, 24))) == {"first", "output"}


NEAR = {
    "layer4.2.cnov3": "did you mean layer4.2.conv3 or",
    "Layer4": "did you mean layer4?",
    "stage4.conv3": "did you mean layer1.0.conv3",
    "stage3": r"unknown target 'stage3': The network has output, conv1, .*models\.NAME\.targets",
}


@pytest.mark.parametrize("target", NEAR)
def test_near_matches_of_nested_targets(target: str) -> None:
    """By the whole name, or else by its last part."""
    with torch.device("meta"):
        names = ["output", *(n for n, _ in torchvision.models.resnet50().named_modules() if n)]
    with pytest.raises(InputError, match=NEAR[target]) as error:
        named(["layer1", target], names)
    assert len(str(error.value)) < 300
    many = [f"block{i}" for i in range(40)]
    with pytest.raises(InputError, match=r"block11 and 28 more, and the modules"):
        named(["xyz"], many)


def test_a_size_that_the_network_cannot_take() -> None:
    """The network's own error, with the shape of the image and the line where it arose."""

    def picky(_net: Net, x: Tensor) -> Tensor:
        assert x.shape[2] == 32, "32 px only"
        return x

    assert re.fullmatch(
        r"the network fails on images of shape \(1, 3, 24, 20\) \(AssertionError: 32 px only, "
        r"in .*test_receptive_field.py, line \d+\): choose a size that it takes, or fix its code",
        _refused(Net(picky), size=(24, 20)),
    )


def test_a_network_that_catches_all_errors_ends_at_its_last_target() -> None:
    def caught(net: Net, x: Tensor) -> Tensor:
        try:
            x = net.conv(x)
        except Exception:
            x = net.conv(x)
        return torch.cdist(x, x)

    field = receptive_field.theoretical(Net(caught, conv=_same(3)), "conv", (24, 24))
    assert field.size == (3.0, 3.0)


def test_rows_of_the_table(caplog: pytest.LogCaptureFixture) -> None:
    """Height and width apart; without gates a gated map keeps its own field; what is unknown."""

    def gated(net: Net, x: Tensor) -> Tensor:
        x = net.conv(x)
        return torch.cdist(net.tail(x * x.mean((2, 3), True)), x)

    model = Net(gated, conv=_conv((3, 7), stride=(2, 3), padding=(0, 2)), tail=_conv((3, 1)))
    targets = {"first": "conv", "gated": "tail", "all": "output"}
    first, with_gates, unknown = receptive_field.table(model, targets, (60, 64))
    assert first == {
        **{"target": "first", "size_h": 3.0, "size_w": 7.0, "stride_h": 2.0, "stride_w": 3.0},
        **{"offset_h": 1.0, "offset_w": 1.0, "gateless_size_h": 3.0, "gateless_size_w": 7.0},
        **{"center_h": 29.0, "center_w": 31.0, "kind": "exact", "reason": ""},
        "reading": "conv",
    }
    assert with_gates["kind"] == "whole input"
    assert (with_gates["size_h"], with_gates["size_w"]) == INFINITE
    assert (with_gates["gateless_size_h"], with_gates["gateless_size_w"]) == (7.0, 7.0)
    assert (unknown["target"], unknown["kind"]) == ("all", "unknown")
    assert "the receptive field of operation aten._euclidean_dist" in str(unknown["reason"])
    assert math.isnan(float(unknown["size_h"])) and math.isnan(float(unknown["gateless_size_w"]))
    assert f"target all: {unknown['reason']}" in caplog.text


def test_feature_that_depends_on_nothing() -> None:
    """The central feature may lie in a gap of a transposed convolution."""
    model = nn.Sequential(nn.ConvTranspose2d(3, 3, 1, 3))
    assert "'output' depends on no pixel" in _refused(model)
    assert receptive_field.theoretical(model, "output", (23, 23)).size == (1.0, 1.0)


def test_first_call_counts() -> None:
    """Whether or not the pass ends with it."""
    model = Net(_two_calls, conv=_same(3))
    assert receptive_field.theoretical(model, "conv", (24, 24)).size == (3.0, 3.0)
    assert receptive_field.theoretical(model, "output", (24, 24)).size == (5.0, 5.0)
    found = receptive_field.fields(model, ["conv", "output"], (24, 24))
    assert [field.size for field in found.values()] == [(3.0, 3.0), (5.0, 5.0)]


def test_model_is_left_as_it_was() -> None:
    """Parameters, statistics, modes, hooks, types and gradients, after a result and an error."""
    model = nn.Sequential(_same(3), nn.BatchNorm2d(3), nn.ReLU(inplace=True)).double().train()
    model[1].eval()
    model[0].weight.requires_grad_(requires_grad=False)
    before = copy.deepcopy(model.state_dict())
    receptive_field.theoretical(model, "1", (24, 24))
    with pytest.raises(InputError):
        receptive_field.theoretical(model, "3", (24, 24))
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True]
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.is_grad_enabled()


# ----------------------------------------------------------------------------- random networks


def _random_convolution(rng: random.Random, stride: int) -> nn.Module:
    kernel = rng.randint(1, 5), rng.randint(1, 4)
    padding = [rng.randint(0, k) for k in kernel]
    dilation = rng.randint(1, 2), rng.randint(1, 2)
    groups = rng.choice([1, 2, 4])
    mode = "replicate" if rng.random() < 0.2 else "zeros"
    return nn.Conv2d(
        4, 4, kernel, stride, padding, dilation=dilation, groups=groups, padding_mode=mode
    )


def _random_residual(rng: random.Random, stride: int) -> nn.Module:
    main = nn.Sequential(_same(3, 4, stride=stride), nn.BatchNorm2d(4), _same(5, 4))
    short = _conv(1, 4, 4, stride=stride) if rng.random() < 0.5 else nn.MaxPool2d(1, stride)
    return Net(lambda net, x: net.main(x).add_(net.short(x)), main=main, short=short)


def _random_dense(rng: random.Random, stride: int) -> nn.Module:
    return Net(
        lambda net, x: net.mix(torch.cat([net.a(x), x, net.b(x)], 1)),
        a=_same(rng.choice([1, 3, 7]), 4),
        b=nn.MaxPool2d(3, 1, 1),
        mix=_conv(1, 12, 4, stride=stride),
    )


def _random_pool(rng: random.Random, stride: int) -> nn.Module:
    kind = rng.choice([nn.MaxPool2d, nn.AvgPool2d])
    return kind(rng.randint(2, 3), stride, rng.randint(0, 1), ceil_mode=rng.random() < 0.5)


def _random_enlargement(rng: random.Random, stride: int) -> nn.Module:
    transposed = nn.ConvTranspose2d(4, 4, rng.randint(2, 4), 2, 1)
    nearest = nn.Upsample(scale_factor=2)
    bilinear = nn.Upsample(scale_factor=2, mode="bilinear")
    return nn.Sequential(rng.choice([transposed, nearest, bilinear]), _same(3, 4, stride=stride))


def _random_network(seed: int) -> nn.Module:
    """Six random blocks; those with an odd seed enlarge their maps somewhere."""
    rng = random.Random(seed)
    kinds = [_random_convolution, _random_residual, _random_dense, _random_pool]
    blocks = [rng.choice(kinds)(rng, rng.choice([1, 1, 2])) for _ in range(5)]
    if seed % 2:
        blocks.insert(rng.randint(1, 4), _random_enlargement(rng, rng.choice([1, 2])))
    return nn.Sequential(_conv(3, 3, 4, padding=1), *blocks)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_random_networks_against_gradients(seed: int) -> None:
    """Size and position; on smaller images the same, or an error."""
    model, size = _random_network(seed), (320, 296) if seed % 2 == 0 else (160, 144)
    field = receptive_field.theoretical(model, "output", size)
    _assert_true(field, _truth(model, "output", size), size)
    for small in ((21, 34), (47, 40)) if seed % 2 == 0 else ():
        try:
            same = receptive_field.theoretical(model, "output", small)
        except InputError as error:
            assert "larger input size" in str(error)
        else:
            assert (same.size, same.offset) == (field.size, field.offset)
