"""Padded and sliced kernels against the odd ones they came from, and against plain definitions."""

import contextlib
import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
import torchvision
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

import narrow
from deadpixel import erf, gaussian, kernels, receptive_field
from deadpixel.errors import InputError
from deadpixel.networks import calibration, folding, zoo

SIZES = range(7, 25)
CONVOLUTIONS = {
    "1x1": {"kernel_size": 1, "stride": 2},
    "1x1 padded": {"kernel_size": 1, "stride": 2, "padding": 1},
    "3x3": {"kernel_size": 3, "stride": 2, "padding": 1},
    "3x3 without padding": {"kernel_size": 3, "stride": 2},
    "3x3 valid": {"kernel_size": 3, "stride": 2, "padding": "valid"},
    "3x3 dilated": {"kernel_size": 3, "stride": 2, "padding": 2, "dilation": 2},
    "3x3 dilated valid": {"kernel_size": 3, "stride": 2, "padding": "valid", "dilation": 3},
    "3x3 dilated along columns": {
        "kernel_size": 3,
        "stride": 2,
        "padding": (1, 3),
        "dilation": (1, 3),
    },
    "3x3 grouped": {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 2},
    "5x5": {"kernel_size": 5, "stride": 2, "padding": 2},
    "5x5 depthwise": {"kernel_size": 5, "stride": 2, "padding": 2, "groups": 4},
    "7x7": {"kernel_size": 7, "stride": 2, "padding": 3},
    "odd height": {"kernel_size": (3, 4), "stride": 2, "padding": (1, 1)},
    "1x7": {"kernel_size": (1, 7), "stride": 2, "padding": (0, 3)},
    "stride 2 x 1": {"kernel_size": 3, "stride": (2, 1), "padding": 1},
    "stride 3 x 2": {"kernel_size": 5, "stride": (3, 2), "padding": 2},
}
POOL_SHAPES = [(3, 0), (3, 1), (5, 0), (5, 2), (1, 0), ((3, 2), (1, 0))]  # kernel, padding
POOLS = [
    *(nn.MaxPool2d(kernel, 2, padding) for kernel, padding in POOL_SHAPES),
    *(nn.MaxPool2d(kernel, 2, padding, ceil_mode=True) for kernel, padding in POOL_SHAPES),
    *(nn.AvgPool2d(kernel, 2, padding) for kernel, padding in POOL_SHAPES),
]
SLICED_POOLS = [(3, 2, 1), (3, 2, 0), (5, 2, 2), (5, 2, 0)]  # kernel, stride, padding


def convolution(**settings) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(4, 6 if settings.get("groups") != 4 else 8, **settings)


def maps(height: int, width: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(height * width)
    return torch.randn(2, 4, height, width, dtype=dtype, generator=generator)


def sizes(module: nn.Module) -> list[tuple[int, int]]:
    """Every size, in pairs of different heights and widths, at which the module yields a map."""
    dtype = next((parameter.dtype for parameter in module.parameters()), torch.float32)
    found = []
    for size in zip(SIZES, reversed(SIZES), strict=True):
        with contextlib.suppress(RuntimeError):  # the map is smaller than the kernel
            module(torch.zeros(1, 4, *size, dtype=dtype))
            found.append(size)
    assert len(found) > len(SIZES) / 2
    return found


def changed_one(change, module: nn.Module, **settings) -> nn.Module:
    changed, names = change(nn.Sequential(module), **settings)
    assert names == ["0"]
    return changed[0]


def largest_difference(found: Tensor, truth: Tensor) -> float:
    assert found.shape == truth.shape
    return float((found - truth).detach().abs().max())


def rounding(module: nn.Module, image: Tensor) -> float:
    """Bound of the difference of two ways to sum the same products, in any order.

    Either is off by at most (terms + 1) eps / 2 times the sum of the products' magnitudes (Higham,
    Accuracy and Stability of Numerical Algorithms, Eq. 3.5).
    """
    weight, window = getattr(module, "weight", None), np.prod(module.kernel_size)
    terms = window if weight is None else weight[0].numel()
    most = 1.0 if weight is None else float(weight.detach().abs().flatten(1).sum(1).max())
    if weight is not None and module.bias is not None:
        most += float(module.bias.detach().abs().max())
    return (terms + 2) * torch.finfo(image.dtype).eps * most * max(1.0, float(image.abs().max()))


def dropped(kernel: int, stride: int, padding: int) -> int | None:
    """Which row or column of a kernel slicing drops."""
    if stride != 2 or kernel in (1, 4):
        return None
    return 0 if padding else -1


# ------------------------------------------------------------------------------- convolutions


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_padded_convolution_computes_the_same_at_every_size(name):
    odd = convolution(**CONVOLUTIONS[name])
    padded = changed_one(kernels.pad, odd)
    assert type(padded) is nn.Conv2d and padded.padding == odd.padding
    odd64, padded64 = copy.deepcopy(odd).double(), copy.deepcopy(padded).double()
    for size in sizes(odd):
        image = maps(*size)
        assert largest_difference(padded(image), odd(image)) < rounding(padded, image)
        image = image.double()
        assert largest_difference(padded64(image), odd64(image)) < rounding(padded64, image)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_padded_kernel_grows_along_axes_of_stride_two_only(name):
    odd = convolution(**CONVOLUTIONS[name])
    padded = changed_one(kernels.pad, odd)
    grown = tuple(
        kernel + (kernel % 2 == 1 and stride == 2)
        for kernel, stride in zip(odd.kernel_size, odd.stride, strict=True)
    )
    assert padded.kernel_size == padded.weight.shape[2:] == grown
    height, width = odd.kernel_size
    assert torch.equal(padded.weight[..., :height, :width], odd.weight)
    assert padded.weight.requires_grad
    assert kernels.added_weights(padded).numel() == padded.weight.numel() - odd.weight.numel()


def test_random_weights_keep_the_shape():
    for settings in CONVOLUTIONS.values():
        odd = convolution(**settings)
        padded = changed_one(kernels.pad, odd, init="random")
        for size in sizes(odd):
            assert padded(maps(*size)).shape == odd(maps(*size)).shape


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_sliced_convolution_is_the_odd_one_without_a_row_and_a_column(name):
    odd = convolution(**CONVOLUTIONS[name]).double()
    sliced = changed_one(kernels.slice, odd)
    padding = (0, 0) if odd.padding == "valid" else odd.padding
    rows, columns = map(dropped, odd.kernel_size, odd.stride, padding)
    truth = copy.deepcopy(odd)
    with torch.no_grad():
        if rows is not None:
            truth.weight[..., rows, :] = 0
        if columns is not None:
            truth.weight[..., columns] = 0
    for size in sizes(odd):
        image = maps(*size, dtype=torch.float64)
        assert largest_difference(sliced(image), truth(image)) < rounding(truth, image)


@pytest.mark.parametrize(
    ("settings", "kernel", "padding"),
    [
        ({"kernel_size": 7, "stride": 2, "padding": 3}, (6, 6), (2, 2)),
        ({"kernel_size": 3, "stride": 2, "padding": 1}, (2, 2), (0, 0)),
        ({"kernel_size": 3, "stride": 2}, (2, 2), (0, 0)),
        ({"kernel_size": 1, "stride": 2}, (2, 2), (0, 0)),
        ({"kernel_size": 3, "stride": (2, 1), "padding": 1}, (2, 3), (0, 1)),
        ({"kernel_size": 3, "stride": 2, "padding": 2, "dilation": 2}, (2, 2), (0, 0)),
    ],
)
def test_sliced_geometry(settings, kernel, padding):
    sliced = changed_one(kernels.slice, convolution(**settings))
    assert (sliced.kernel_size, sliced.padding) == (kernel, padding)
    assert sliced.weight.shape[2:] == kernel


# -------------------------------------------------------------------------------------- pools


def windows(image: Tensor, pool: nn.Module, outputs: torch.Size, *, first: int, last: int):
    """Each window of `pool`, cut to the map, without `first` and with `last` more of its rows."""
    kernel, stride, padding = (
        value if isinstance(value, tuple) else (value, value)
        for value in (pool.kernel_size, pool.stride, pool.padding)
    )
    gains = [(first, last) if k % 2 else (0, 0) for k in kernel]
    for place in itertools.product(*map(range, outputs)):
        part = image
        for dim in (0, 1):
            start = place[dim] * stride[dim] - padding[dim] + gains[dim][0]
            stop = place[dim] * stride[dim] - padding[dim] + kernel[dim] + gains[dim][1]
            stop = min(stop, image.shape[dim - 2])
            part = part.narrow(dim - 2, max(start, 0), stop - max(start, 0))
        yield place, part


def plain_pool(image: Tensor, pool: nn.Module, outputs: torch.Size, area: int, **edges) -> Tensor:
    result = image.new_empty(*image.shape[:2], *outputs)
    for (i, j), window in windows(image, pool, outputs, **edges):
        mean = window.sum((2, 3)) / area
        result[..., i, j] = window.amax((2, 3)) if isinstance(pool, nn.MaxPool2d) else mean
    return result


@pytest.mark.parametrize("odd", POOLS, ids=str)
def test_padded_pool_is_the_pool_over_the_larger_window(odd):
    padded = changed_one(kernels.pad, odd)
    assert type(padded) is type(odd)
    area = np.prod(padded.kernel_size)
    for size in sizes(odd):
        image = maps(*size)
        truth = plain_pool(image, odd, odd(image).shape[2:], area, first=0, last=1)
        assert largest_difference(padded(image), truth) < rounding(padded, image)


@pytest.mark.parametrize(
    "odd",
    [
        *(kind(*shape) for kind in (nn.MaxPool2d, nn.AvgPool2d) for shape in SLICED_POOLS),
        *(nn.MaxPool2d(kernel, 2, ceil_mode=True) for kernel in (3, 5)),
    ],
    ids=str,
)
def test_sliced_pool_is_the_pool_over_the_smaller_window(odd):
    sliced = changed_one(kernels.slice, odd)
    kernel = odd.kernel_size - 1
    assert sliced.kernel_size == (kernel, kernel)
    edges = {"first": 1, "last": 0} if odd.padding else {"first": 0, "last": -1}
    for size in sizes(odd):
        image = maps(*size)
        truth = plain_pool(image, odd, odd(image).shape[2:], kernel**2, **edges)
        assert largest_difference(sliced(image), truth) < rounding(sliced, image)


# ----------------------------------------------------------------------- what is left as it was


def same_padding() -> nn.Conv2d:
    module = nn.Conv2d(4, 4, 3, padding="same")
    module.stride = (2, 2)  # as the constructor refuses
    return module


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.Conv2d(4, 4, 3, 2, 1, padding_mode="reflect"), "padding_mode is 'reflect'"),
        (same_padding(), "padding is 'same'"),
        (nn.AvgPool2d(3, 2, 1, count_include_pad=False), "divisor"),
        (nn.AvgPool2d(3, 2, 1, ceil_mode=True), "divisor"),
        (nn.AvgPool2d(3, 2, 1, divisor_override=9), "divisor"),
        (nn.MaxPool2d(3, 2, return_indices=True), "indices"),
    ],
)
def test_what_cannot_be_changed_is_named_in_a_warning(module, reason, caplog):
    for change in (kernels.pad, kernels.slice):
        caplog.clear()
        result, names = change(nn.ModuleDict({"stem": module}))
        assert not names and result["stem"].kernel_size == module.kernel_size
        (record,) = caplog.records
        assert record.getMessage().startswith(f"stem ({type(module).__name__}) stays as it is")
        assert reason in record.getMessage()


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.Conv2d(4, 4, 3, 2, padding=1, dilation=2), "smaller than its dilation"),
        (nn.MaxPool2d(3, 2, 1, ceil_mode=True), "miss the map"),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3, 2)), "class of its own"),
    ],
)
def test_what_can_be_padded_but_not_sliced(module, reason, caplog):
    assert kernels.pad(nn.Sequential(module))[1] == ["0"] and not caplog.records
    assert kernels.slice(nn.Sequential(module))[1] == []
    assert reason in caplog.text


def test_even_kernels_and_other_strides_are_left_without_a_word(caplog):
    others = [nn.Conv2d(3, 3, 2, 2), nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 11, 4), nn.MaxPool2d(3)]
    model = nn.Sequential(*others, nn.AvgPool2d(2, 2, ceil_mode=True), nn.Conv1d(3, 3, 3, 2))
    assert kernels.pad(model)[1] == kernels.slice(model)[1] == []
    assert not caplog.records


@pytest.mark.parametrize("change", [kernels.pad, kernels.slice])
@pytest.mark.parametrize("init", ["zero", "random"])
def test_the_argument_and_the_generator_are_left_as_they_were(change, init):
    model = narrow.resnet18()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    text, state = str(model), torch.get_rng_state()
    changed, _ = change(model, init)
    assert str(model) == text and str(changed) != text
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert changed.state_dict().keys() == before.keys()
    assert [type(module) for module in changed.modules()] == [type(m) for m in model.modules()]


# ------------------------------------------------------------------------------ whole networks

FAMILIES = {  # convolutions and pools that change
    **{"resnet18": 8, "densenet121": 2, "mobilenet_v3_small": 5, "regnet_y_400mf": 9},
    **{"shufflenet_v2_x0_5": 8, "squeezenet1_1": 4, "inception_v3": 7, "alexnet": 3},
}


def test_names_of_resnet50():
    model = narrow.resnet50()
    names = [
        *("conv1", "maxpool", "layer2.0.conv2", "layer2.0.downsample.0"),
        *("layer3.0.conv2", "layer3.0.downsample.0", "layer4.0.conv2", "layer4.0.downsample.0"),
    ]
    assert kernels.pad(model)[1] == kernels.slice(model)[1] == names


def _filled(module):
    """Its own numbers do not matter, and drawing them takes seconds."""
    for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
        tensor.data.fill_(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"), [("resnet18", 466), ("resnet34", 930), ("resnet50", 458)]
)
def test_receptive_field_of_layer4_after_padding(name, size):
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None)
    model.to_empty(device="cpu").apply(_filled)
    field = receptive_field.theoretical(kernels.apply(model, "padded"), "layer4")
    assert field.size == (size, size)
    assert field.stride == (32, 32) and field.offset == (15.5, 15.5)


@pytest.mark.parametrize("size", [63, 64])
def test_receptive_field_does_not_depend_on_the_size_of_the_image(size):
    padded, sliced = (kernels.apply(narrow.resnet18(), k) for k in ("padded", "sliced"))
    field = receptive_field.theoretical(padded, "layer2", (size, size))
    assert (field.size, field.offset) == ((106, 106), (3.5, 3.5))
    field = receptive_field.theoretical(sliced, "layer2", (size, size))
    assert (field.size, field.offset) == ((92, 92), (3.5, 3.5))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_families_keep_their_shapes_and_every_convolution_its_results(name):
    model = zoo.build(name)
    padded, names = kernels.pad(model)
    assert len(names) == FAMILIES[name]
    captured: dict[nn.Module, Tensor] = {}
    compared = []

    def capture(module, arguments):
        (captured[module],) = arguments

    def compare(module, _arguments, output):
        own = next(name for name, other in padded.named_modules() if other is module)
        truth = model.get_submodule(own)(captured[module])
        assert largest_difference(output, truth) <= rounding(module, captured[module])
        compared.append(own)

    for changed in names:
        module = padded.get_submodule(changed)
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(capture, prepend=True)
            module.register_forward_hook(compare)
    convolutions = [n for n in names if isinstance(model.get_submodule(n), nn.Conv2d)]
    for size in (75, 96):  # inception_v3 takes no smaller one
        compared.clear()
        image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(size))
        with torch.no_grad():
            output, truth = padded(image), model(image)
        assert output.shape == truth.shape and output.isfinite().all()
        assert sorted(compared) == sorted(convolutions)


@pytest.mark.parametrize("size", [64, 97])
@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_sliced_networks_keep_their_shapes(name, size):
    model = zoo.build(name)
    sliced = kernels.apply(model, "sliced")
    image = torch.randn(2, 3, size, size)
    output = sliced(image)
    assert output.shape == model(image).shape and output.isfinite().all()


@pytest.mark.slow
def test_functions_that_no_module_holds_are_reported():
    image = torch.zeros(1, 3, 96, 96)
    resnet = narrow.resnet18()
    found = kernels.odd_strided(resnet, image)
    assert len(found) == 8
    assert found[0] == "_Narrow.conv1: convolution 7 x 7, stride 2 x 2"
    assert kernels.odd_strided(kernels.apply(resnet, "padded"), image) == []
    assert kernels.odd_strided(kernels.apply(resnet, "sliced"), image) == []
    assert kernels.odd_strided(kernels.apply(zoo.build("inception_v3"), "padded"), image) == [
        "Inception3.Mixed_6a: max_pool2d_with_indices 3 x 3, stride 2 x 2",
        "Inception3.Mixed_7a: max_pool2d_with_indices 3 x 3, stride 2 x 2",
    ]


def test_sizes_of_windows_may_be_numbers_of_numpy():
    image = maps(14, 11)
    numpys, ours = (changed_one(kernels.pad, nn.MaxPool2d(n(3), n(2))) for n in (np.int64, int))
    assert torch.equal(numpys(image), ours(image))


def test_copies_and_pickles_compute_the_same():
    padded = kernels.apply(narrow.resnet18(), "padded", init="random")
    image = torch.randn(1, 3, 65, 65)
    with torch.no_grad():
        truth = padded(image)
        for twin in (copy.deepcopy(padded), pickle.loads(pickle.dumps(padded))):
            assert torch.equal(twin(image), truth)
            assert torch.equal(kernels.added_weights(twin), kernels.added_weights(padded))


def test_batch_norms_fold_as_before():
    model = narrow.resnet18()
    calibration.calibrate(model, [torch.randn(4, 3, 64, 64)], device=torch.device("cpu"))
    padded = kernels.apply(model, "padded", init="random").double()
    image = torch.randn(2, 3, 97, 97, dtype=torch.float64)
    with torch.no_grad():
        truth = padded(image)
        assert (
            folding.fold_batch_norms(padded) == folding.fold_batch_norms(copy.deepcopy(model)) == 21
        )
        assert largest_difference(padded(image), truth) < 1e-12 * float(truth.abs().max())


def test_shared_modules_change_once_and_stay_shared():
    shared = nn.Conv2d(3, 3, 3, 2, 1)
    model = nn.ModuleDict({"first": shared, "again": shared})
    padded, names = kernels.pad(model)
    assert names == ["first"] and padded["first"] is padded["again"]
    assert padded["first"].kernel_size == (4, 4) and len(padded["first"]._forward_pre_hooks) == 1


def test_hooks_of_a_module_are_kept():
    calls = []
    odd = nn.Conv2d(4, 4, 3, 2, 1)
    odd.register_forward_pre_hook(lambda *_: calls.append("before"))
    odd.register_forward_hook(lambda *_: calls.append("after"))
    padded = changed_one(kernels.pad, odd)
    padded(maps(9, 9))
    assert calls == ["before", "after"]


def test_one_map_without_a_batch():
    odd = convolution(**CONVOLUTIONS["3x3"])
    image = maps(9, 9)[0]
    padded = changed_one(kernels.pad, odd)
    assert largest_difference(padded(image), odd(image)) < rounding(padded, image)


# ------------------------------------------------------------------------------------- weights


def test_random_kernels_depend_on_the_seed_alone():
    model = narrow.resnet18()
    torch.manual_seed(1)
    first = kernels.apply(model, "padded", init="random", seed=3)
    torch.manual_seed(2)
    again = kernels.apply(model, "padded", init="random", seed=3)
    other = kernels.apply(model, "padded", init="random", seed=4)
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    assert torch.equal(first.layer1[0].conv1.weight, model.layer1[0].conv1.weight)
    bound = (3 * 8 * 8) ** -0.5  # of nn.Conv2d: uniform in +-1/sqrt(fan-in)
    assert 0.99 * bound < float(first.conv1.weight.detach().abs().max()) <= bound


def test_random_kernels_are_those_of_nn_conv2d_of_their_size():
    """Uniform in +-1/sqrt(fan-in), bias included; in every kernel its own numbers."""
    odd = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, 2, groups=4))
    for change, side in ((kernels.pad, 4), (kernels.slice, 2)):
        changed, _ = change(odd, "random", seed=1)
        for module, fan_in in zip(changed, (8 * side**2, 4 * side**2), strict=True):
            weight = module.weight.detach().flatten().double().numpy()
            bound = fan_in**-0.5
            assert stats.kstest(weight, "uniform", (-bound, 2 * bound)).pvalue > 1e-3
            assert 0.5 * bound < float(module.bias.detach().abs().max()) <= bound
        for module, before in zip(changed, odd, strict=True):
            assert not torch.isin(module.bias, before.bias).any()


def test_each_module_has_numbers_of_its_own():
    """By its name, as it is in the network, whatever else is changed and in whatever order."""
    odd = nn.ModuleDict({name: nn.Conv2d(8, 8, 3, 2) for name in "abc"})
    changed, _ = kernels.pad(odd, "random", seed=2)
    alone, _ = kernels.pad(nn.ModuleDict({"b": nn.Conv2d(8, 8, 3, 2)}), "random", seed=2)
    assert torch.equal(alone["b"].weight, changed["b"].weight)
    first, second, third = (changed[name].weight.detach().flatten() for name in "abc")
    found = np.corrcoef(torch.stack([first, second, third]).numpy()) - np.eye(3)
    assert np.abs(found).max() < 4.5 / np.sqrt(len(first))
    assert torch.isin(first, torch.cat([second, third])).sum() < 5  # of 24 bits: 0.1 expected


def test_what_is_not_drawn_keeps_its_bias():
    odd = convolution(**CONVOLUTIONS["3x3"])
    for change in (kernels.pad, kernels.slice):
        assert torch.equal(changed_one(change, odd).bias, odd.bias)
        assert not torch.equal(changed_one(change, odd, init="random").bias, odd.bias)


def test_added_weights_are_those_right_and_at_the_bottom():
    padded = changed_one(kernels.pad, nn.Conv2d(2, 5, 3, 2, 1))
    assert kernels.added_weights(padded).tolist() == [0.0] * (2 * 5 * 7)
    with torch.no_grad():
        padded.weight[..., :3, :3] = 9
        padded.weight[..., 3, :] = 1
        padded.weight[..., :3, 3] = 2
    assert float(kernels.added_weights(padded).sum()) == 2 * 5 * (4 * 1 + 3 * 2)
    assert kernels.added_weights(narrow.resnet18()).numel() == 0


def test_added_weights_train_and_frozen_ones_stay_frozen():
    odd = nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1))
    odd[1].requires_grad_(False)
    padded, _ = kernels.pad(odd)
    padded(maps(16, 16)).square().mean().backward()
    assert (padded[0].weight.grad[..., 3, :] != 0).all()
    assert not padded[1].weight.requires_grad


def test_apply():
    model = narrow.resnet18()
    assert kernels.apply(model, "odd") is model
    assert kernels.apply(model, "padded").conv1.kernel_size == (8, 8)
    assert kernels.apply(model, "sliced").conv1.kernel_size == (6, 6)
    with pytest.raises(
        InputError, match="unknown kernels 'even': choose one of odd, padded, sliced"
    ):
        kernels.apply(model, "even")
    for name in ("padded", "sliced"):
        with pytest.raises(InputError, match="Sequential has no kernel with stride 2"):
            kernels.apply(nn.Sequential(nn.Conv2d(3, 3, 3)), name)


# ------------------------------------------------------------------------ what it is good for


def contrast_of_the_pixel_grid(field: np.ndarray) -> float:
    """How much more the pixels in even rows and columns count than those in odd ones."""
    even, odd = field[::2, ::2].mean(), field[1::2, 1::2].mean()
    return abs(even - odd) / (even + odd)


@pytest.fixture(scope="module")
def receptive_fields():
    generator = torch.Generator().manual_seed(1)
    smooth = functional.interpolate(torch.randn(24, 3, 14, 14, generator=generator), size=112)
    images = smooth + 0.3 * torch.randn(24, 3, 112, 112, generator=generator)
    fields = {}
    for init in (None, "zero", "random"):
        model = narrow.resnet18()
        if init:
            model = kernels.apply(model, "padded", init=init)
        calibration.calibrate(model, [images[:4]], device=torch.device("cpu"))
        fields[init] = erf.accumulate(model, images, ["layer3", "output"], batch_size=4)
    return fields


@pytest.mark.slow
def test_padding_brings_the_centre_to_the_middle_once_the_new_weights_are_used(receptive_fields):
    centres = {init: gaussian.fit(f["layer3"].mean) for init, f in receptive_fields.items()}
    for init, middle in {None: 48, "zero": 48.5, "random": 55.5}.items():
        found = centres[init].center_x, centres[init].center_y
        assert found == pytest.approx((middle, middle), abs=3)


def test_padding_evens_out_the_pixel_grid_once_the_new_weights_are_used(receptive_fields):
    contrast = {
        init: contrast_of_the_pixel_grid(fields["output"].mean)
        for init, fields in receptive_fields.items()
    }
    # 0.17 and, of so few images, noise of 0.04
    assert contrast[None] > 0.1 and contrast["random"] < contrast[None] / 3
