"""BlurPool against plain loops and convolved kernels; space to depth against PyTorch's own."""

import copy
import itertools
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional

import narrow
from deadpixel import erf, kernels, receptive_field, sensitivity
from deadpixel.imbalance import mean_tile, tile_contrast
from deadpixel.networks import calibration, folding
from deadpixel.operations.flops import forward_costs
from deadpixel.surgery.changes import is_changed

FILTERS = {"blur3": np.array([1, 2, 1]) / 4, "blur4": np.array([1, 3, 3, 1]) / 8}
SIZES = [(9, 9), (10, 10), (9, 12), (16, 11)]
CONVOLUTIONS = {
    "3 x 3": {"kernel_size": 3, "padding": 1},
    "3 x 3 dilated": {"kernel_size": 3, "padding": 1, "dilation": 2},
    "3 x 3 grouped": {"kernel_size": 3, "padding": 1, "groups": 2},
    "5 x 5 depthwise": {"kernel_size": 5, "padding": 2, "groups": 4},
    "3 x 3 reflected": {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    "4 x 2": {"kernel_size": (4, 2), "padding": (1, 0)},
    "1 x 1": {"kernel_size": 1},
    "3 x 3 without padding": {"kernel_size": 3, "padding": "valid"},
    "stride 2 x 1": {"kernel_size": 3, "padding": 1, "stride": (2, 1)},
    "stride 3 x 2": {"kernel_size": 3, "padding": 1, "stride": (3, 2)},
}
POOLS = {
    "3": nn.MaxPool2d(3, 2, 1),
    "2": nn.MaxPool2d(2),
    "3 without padding": nn.MaxPool2d(3, 2),
    "3 in ceil mode": nn.MaxPool2d(3, 2, ceil_mode=True),
    "3 padded in ceil mode": nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    "3 x 2 in ceil mode": nn.MaxPool2d((3, 2), 2, (0, 1), ceil_mode=True),
    "stride 1 x 2": nn.MaxPool2d(3, (1, 2), 1),
}


def convolution(**settings: Any) -> Any:
    torch.manual_seed(0)
    return nn.Conv2d(4, 8, **{"stride": 2, **settings}).double()


def image_of(size: tuple[int, int], channels: int = 4, number: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(size[0] * size[1])
    return torch.randn(number, channels, *size, dtype=torch.float64, generator=generator)


def changed_one(surgery: str, module: nn.Module, **settings: Any) -> Any:
    before = str(module)
    changed: Any = kernels.apply(nn.Sequential(module), "mine", {surgery: "all"}, **settings)
    assert str(module) == before and not module._forward_hooks
    return changed[0]


def blurred(dense: Tensor, taps: np.ndarray, strides: tuple[int, int]) -> Tensor:
    """Along each axis that has a stride of 2: a window of `taps` around every other place."""
    for axis, stride in zip((-2, -1), strides, strict=True):
        if stride == 2:
            dense = torch.from_numpy(blurred_line(dense.numpy(), taps, axis))
    return dense


def blurred_line(dense: np.ndarray, taps: np.ndarray, axis: int) -> np.ndarray:
    line = np.moveaxis(dense, axis, -1)
    length, places = line.shape[-1], []
    for center in range(0, length, 2):
        reached = np.arange(len(taps)) + center - (len(taps) - 1) // 2
        reached = np.abs(reached)  # reflected at the first place
        reached = length - 1 - np.abs(length - 1 - reached)  # and at the last
        places.append(line[..., reached] @ taps)
    return np.moveaxis(np.stack(places, -1), -1, axis)


# ----------------------------------------------------------------------------------- blurring


@pytest.mark.parametrize("surgery", FILTERS)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_blurred_convolution_is_the_dense_one_blurred_and_strided(name, surgery):
    odd = convolution(**CONVOLUTIONS[name])
    changed = changed_one(surgery, odd)
    assert is_changed(changed) and not is_changed(odd)
    dense = copy.deepcopy(odd)
    dense.stride = tuple(1 if stride == 2 else stride for stride in odd.stride)
    for size in SIZES:
        image = image_of(size)
        with torch.no_grad():
            found, expected = changed(image), blurred(dense(image), FILTERS[surgery], odd.stride)
            assert found.shape == odd(image).shape
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


def dense_maxima(image: Tensor, pool: Any, outputs: torch.Size) -> Tensor:
    """Of every window of stride 1 (or the one that is kept), cut to the map, to the last output."""

    def pair(value) -> tuple[int, int]:
        return (value, value) if isinstance(value, int) else value

    kernel, stride, padding = map(pair, (pool.kernel_size, pool.stride, pool.padding))
    spans = []
    for axis in (0, 1):
        length = image.shape[2 + axis]
        number = max(
            (outputs[axis] - 1) * stride[axis] + 1, length + 2 * padding[axis] - kernel[axis] + 1
        )
        starts = np.arange(number) - padding[axis]
        spans.append([slice(max(0, first), first + kernel[axis]) for first in starts])
    maxima = [[image[..., r, c].amax((2, 3)) for c in spans[1]] for r in spans[0]]
    return torch.stack([torch.stack(row, -1) for row in maxima], -2)


@pytest.mark.parametrize("surgery", FILTERS)
@pytest.mark.parametrize("name", POOLS)
def test_a_blurred_max_pool_is_the_dense_one_blurred_and_strided(name, surgery):
    odd: Any = POOLS[name]
    changed = changed_one(surgery, odd)
    strides = (2, 2) if odd.stride == 2 else odd.stride
    for size in SIZES:
        image = image_of(size)
        found, outputs = changed(image), odd(image).shape
        assert found.shape == outputs
        expected = blurred(dense_maxima(image, odd, outputs[2:]), FILTERS[surgery], strides)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("surgery", FILTERS)
@pytest.mark.parametrize("groups", [1, 2])
def test_a_blurred_convolution_is_one_with_the_convolved_kernel(surgery, groups):
    """But at the borders, where one reflects and the other adds zeros."""
    odd = convolution(kernel_size=3, padding=1, groups=groups)
    changed, taps = changed_one(surgery, odd), torch.from_numpy(FILTERS[surgery])
    window = torch.outer(taps, taps)[None, None]
    weight = odd.weight.detach().reshape(-1, 1, 3, 3)
    wide = functional.conv2d(weight, window, padding=len(taps) - 1)  # symmetric: no flip
    wide = wide.view(8, -1, *wide.shape[2:])
    image = image_of((20, 23))
    padding = 1 + (len(taps) - 1) // 2
    expected = functional.conv2d(image, wide, odd.bias, 2, padding, groups=groups)
    inside = slice(2, 8)
    found = changed(image)[..., inside, inside]
    torch.testing.assert_close(found, expected[..., inside, inside], rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 5), (4, 3)])
def test_maps_too_small_to_be_reflected_go_on_with_their_outermost_values(size):
    odd = convolution(kernel_size=1)
    dense = functional.conv2d(image_of(size), odd.weight, odd.bias).detach()
    edges = np.pad(
        dense, [(0, 0), (0, 0), (1, 2), (1, 2)], mode="edge" if min(size) < 3 else "reflect"
    )
    taps = FILTERS["blur4"]
    expected = sum(
        taps[i] * taps[j] * edges[..., i : i + size[0] : 2, j : j + size[1] : 2]
        for i, j in itertools.product(range(4), range(4))
    )
    found = changed_one("blur4", odd)(image_of(size))
    assert np.allclose(found.detach(), expected, rtol=0, atol=1e-13)


def test_no_weights_are_added_and_none_is_renamed_or_changed():
    model = narrow.resnet18()
    for surgery in FILTERS:
        changed = kernels.apply(model, "mine", {surgery: "all"}, init="random", seed=3)
        before, after = model.state_dict(), changed.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert not kernels.added_weights(changed).numel()
        assert [type(m) for m in changed.modules()] == [type(m) for m in model.modules()]
        again = kernels.apply(narrow.resnet18(seed=1), "mine", {surgery: "all"})
        again.load_state_dict(after)
        image = torch.randn(2, 3, 33, 40)
        with torch.no_grad():
            truth = changed(image)
            for twin in (again, copy.deepcopy(changed), pickle.loads(pickle.dumps(changed))):
                assert torch.equal(twin(image), truth)


@pytest.mark.parametrize("surgery", ["blur3", "blur4", "space_to_depth"])
def test_every_weight_is_trained_in_half_precision_too(surgery):
    changed = kernels.apply(narrow.resnet18(), "mine", {surgery: "all"}).train()
    with torch.autocast("cpu", torch.bfloat16):
        changed(torch.randn(4, 3, 64, 64)).square().sum().backward()
    for name, parameter in changed.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


@pytest.mark.parametrize("size", [33, 64])
def test_batch_norms_fold_into_blurred_convolutions(size):
    """A filter that sums to one at borders too does not mind what a channel is scaled and moved."""
    model = narrow.resnet18()
    calibration.calibrate(model, [torch.randn(4, 3, 64, 64)], device=torch.device("cpu"))
    changed = kernels.apply(model, "mine", {"blur4": "all"}).double()
    image = image_of((size, size), 3)
    with torch.no_grad():
        truth = changed(image)
        assert folding.fold_batch_norms(changed) == 21  # all
        torch.testing.assert_close(changed(image), truth, rtol=1e-11, atol=1e-12)


class PoolsByFunction(nn.Module):
    """A pool that no module holds, and one on a single map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        return functional.max_pool2d(self.conv(image[0])[None], 3, 2, 1).mean((2, 3))


def test_a_pool_that_is_a_function_stays():
    changed = kernels.apply(PoolsByFunction(), "mine", {"blur4": "all"})
    image = torch.randn(1, 3, 20, 20)
    assert changed(image).shape == PoolsByFunction()(image).shape
    left = kernels.odd_strided(changed, image)
    assert left == ["PoolsByFunction: max_pool2d_with_indices 3 x 3, stride 2 x 2"]


def test_what_has_another_stride_is_an_average_or_transposed_is_left_without_a_word(caplog):
    others = nn.Sequential(
        *(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 11, 4), nn.MaxPool2d(3), nn.AvgPool2d(2, 2)),
        *(nn.ConvTranspose2d(3, 3, 2, 2), nn.Conv1d(3, 3, 3, 2)),
    )
    for name, surgery in kernels.SURGERIES.items():
        assert surgery(others, "all", "zero", 0, torch.empty(0))[1] == [], name
    assert not caplog.records


def already_padded() -> nn.Module:
    (padded,) = kernels.pad(nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1)))[0].children()
    return padded


@pytest.mark.parametrize("surgery", ["blur3", "blur4", "space_to_depth"])
@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Conv2dSame(4, 6, 3, 2), "it is a class of its own"),
        (
            nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 6, 3, 2, 1)),
            "it is a class of its own",
        ),
        (already_padded(), "another surgery has changed it"),
    ],
)
def test_what_cannot_be_changed_is_named_with_its_reason(surgery, module, reason, caplog):
    model = nn.ModuleDict({"stem": module})
    changed, names = kernels.SURGERIES[surgery](model, "all", "zero", 0, torch.empty(0))
    assert names == [] and str(changed) == str(model)
    assert f"stem ({type(module).__name__}) stays as it is: {reason}" in caplog.text


def test_pools_with_indices_are_not_blurred(caplog):
    pool = nn.Sequential(nn.MaxPool2d(3, 2, return_indices=True))
    assert kernels.SURGERIES["blur3"](pool, "all", "zero", 0, torch.empty(0))[1] == []
    assert "0 (MaxPool2d) stays as it is: its indices would not fit the map" in caplog.text


# ------------------------------------------------------------------------------ what is measured


@pytest.mark.parametrize(("surgery", "offset"), [("blur3", 0), ("blur4", 15.5)])
def test_a_theoretical_field_grows_by_a_tap_less_one_of_each_stride_so_far(surgery, offset):
    """435 px of ResNet-18's layer4, and blurs of maps of 1, 2, 4, 8 and 16 px a cell."""
    changed = kernels.apply(narrow.resnet18(), "mine", {surgery: "all"})
    field = receptive_field.theoretical(changed, "layer4", (448, 448))
    size = 435 + (len(FILTERS[surgery]) - 1) * (1 + 2 + 4 + 8 + 16)
    assert (field.size, field.offset) == ((size, size), (offset, offset))
    assert field.kind == "exact"


@pytest.mark.parametrize("surgery", ["blur3", "blur4", "space_to_depth"])
def test_effective_fields_are_those_of_a_plain_loop(surgery):
    """With norms folded and gradients by hand, of images without ties, in float64."""
    model = narrow.resnet18()
    calibration.calibrate(model, [torch.randn(4, 3, 64, 64)], device=torch.device("cpu"))
    changed = kernels.apply(model, "mine", {surgery: "all"}, init="random")
    images = image_of((64, 50), 3, number=3)
    found = erf.accumulate(changed, images, ["layer2"], batch_size=3, dtype=torch.float64)
    plain: Any = copy.deepcopy(changed).double().eval()
    kept: list[Tensor] = []
    plain.layer2.register_forward_hook(lambda _m, _a, output: kept.append(output))
    total = torch.zeros(64, 50, dtype=torch.float64)
    for image in images:
        image = image[None].requires_grad_()
        plain(image)
        feature = kept.pop()
        center = feature[0, :, feature.shape[2] // 2, feature.shape[3] // 2].mean()
        total += torch.autograd.grad(center, image)[0][0].mean(0).relu()
    assert np.allclose(found["layer2"].mean, total / 3, rtol=1e-9, atol=1e-12 * float(total.max()))


def phases(kernel: int, taps: np.ndarray) -> np.ndarray:
    """Of the squares that reach a pixel in an even and in an odd place, far from borders."""
    squares = np.convolve(taps**2, np.ones(kernel))
    return np.array([squares[0::2].sum(), squares[1::2].sum()])


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_of_one_blurred_layer_three_taps_leave_a_third_of_the_contrast_and_four_none(kernel):
    """In variance: (1, 4, 1) / 16 are 2 to 4 where a stride is 0 to 1, (1, 9, 9, 1) / 64 even."""
    one = nn.Sequential(
        nn.Conv2d(3, 3, kernel, 2, kernel // 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )

    def variances(model: nn.Module) -> np.ndarray:
        tile = sensitivity.expected(model, (64, 64))[32:34, 32:34] ** 2
        return tile / tile.mean()

    before = variances(one)
    for surgery, taps in FILTERS.items():
        found = variances(kernels.apply(one, "mine", {surgery: "all"}))
        pattern = phases(kernel, taps)
        pattern = np.roll(pattern, (kernel // 2 + (len(taps) - 1) // 2)) / pattern.mean()
        assert np.allclose(found, np.outer(pattern, pattern), rtol=1e-12)
        along = found.mean(0)
        if surgery == "blur3":
            assert np.ptp(along) == pytest.approx(np.ptp(before.mean(0)) / 3)
        else:
            assert np.ptp(along) < 1e-12


def test_a_blurred_network_takes_more_arithmetic_and_memory():
    one = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    before, after = (
        forward_costs(model, (32, 32))
        for model in (one, kernels.apply(one, "mine", {"blur3": "all"}))
    )
    assert before["flops"] == 2 * 16 * 16 * 8 * 27
    assert after["flops"] == 4 * before["flops"] + 2 * 16 * 16 * 8 * 9
    assert after["activations"] - before["activations"] == 8 * (32 * 32 - 16 * 16)
    assert after["parameters"] == before["parameters"]


# -------------------------------------------------------------------------------- space to depth


DEEP = {
    "1 x 1": {"kernel_size": 1},
    "3 x 3": {"kernel_size": 3, "padding": 1},
    "3 x 3 without padding": {"kernel_size": 3},
    "4 x 4": {"kernel_size": 4, "padding": 1},
    "7 x 7": {"kernel_size": 7, "padding": 3},
    "grouped": {"kernel_size": 3, "padding": 1, "groups": 2},
    "depthwise": {"kernel_size": 5, "padding": 2, "groups": 4},
    "3 x 5": {"kernel_size": (3, 5), "padding": (1, 2)},
}


@pytest.mark.parametrize("name", DEEP)
def test_a_kernel_of_twice_the_size_is_space_to_depth_and_a_dense_kernel(name):
    """PyTorch's pixel_unshuffle, and the kernel on four times the channels: SPD-Conv."""
    odd = convolution(**DEEP[name])
    changed = changed_one("space_to_depth", odd, init="random")
    height, width = odd.kernel_size
    assert changed.weight.shape[2:] == changed.kernel_size == (2 * height, 2 * width)
    deep = functional.pixel_unshuffle(changed.weight, 2)  # a channel becomes four, as in maps
    for size in SIZES:
        image = image_of(size)
        even = functional.pad(image, [0, size[1] % 2, 0, size[0] % 2])
        dense = functional.conv2d(
            functional.pixel_unshuffle(even, 2), deep, changed.bias, 1, odd.padding, 1, odd.groups
        )
        found = changed(image)
        assert found.shape == odd(image).shape
        rows, columns = (min(a, b) for a, b in zip(found.shape[2:], dense.shape[2:], strict=True))
        torch.testing.assert_close(
            found[..., :rows, :columns], dense[..., :rows, :columns], rtol=0, atol=1e-13
        )
        if name not in ("3 x 3 without padding", "4 x 4"):  # of which the dense one has less
            assert found.shape == dense.shape


@pytest.mark.parametrize("name", DEEP)
def test_with_zeros_it_computes_what_it_did_at_every_size(name):
    odd = convolution(**DEEP[name])
    changed = changed_one("space_to_depth", odd)
    new = changed.weight.numel() - odd.weight.numel()
    assert kernels.added_weights(changed).tolist() == [0] * new
    for size in [*SIZES, (7, 8), (8, 7)]:
        image = image_of(size)
        torch.testing.assert_close(changed(image), odd(image), rtol=0, atol=1e-13)


def test_space_to_depth_along_the_axis_that_has_the_stride():
    odd = convolution(kernel_size=3, padding=1, stride=(2, 1))
    changed = changed_one("space_to_depth", odd)
    assert changed.kernel_size == (6, 3) and changed.padding == (2, 1)
    torch.testing.assert_close(changed(image_of((9, 10))), odd(image_of((9, 10))))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"kernel_size": 3, "padding": 2, "dilation": 2}, "it is dilated"),
        ({"kernel_size": 1, "padding": 2}, "its padding is larger than its kernel"),
        (
            {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
            "its padding_mode is 'reflect'",
        ),
    ],
)
def test_what_no_larger_kernel_amounts_to_stays(settings, reason, caplog):
    model = nn.Sequential(convolution(**settings))
    assert kernels.SURGERIES["space_to_depth"](model, "all", "zero", 0, torch.empty(0))[1] == []
    assert f"0 (Conv2d) stays as it is: {reason}" in caplog.text


def test_space_to_depth_evens_out_all_but_pools():
    model = narrow.resnet18()
    changed = kernels.apply(model, "mine", {"space_to_depth": "all"})
    (left,) = kernels.odd_strided(changed, torch.zeros(1, 3, 64, 64))
    assert "max_pool" in left
    field = receptive_field.theoretical(changed, "layer1", (128, 128))
    assert field.size == (43 + 7,) * 2  # the stem's kernel of 14 instead of 7 px
    one = nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    even = sensitivity.expected(kernels.apply(one, "mine", {"space_to_depth": "all"}), (32, 32))
    assert tile_contrast(mean_tile(even[8:24, 8:24], 2)) < 1e-12
