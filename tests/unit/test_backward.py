"""The way back to the image against PyTorch's own, and where it differs against plain loops."""

import gc
import itertools
import math
import weakref

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import narrow
from deadpixel import erf
from deadpixel.backward.way import WayBack
from deadpixel.features import features, in_evaluation
from deadpixel.networks import calibration, folding
from deadpixel.targets import Target

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def gradient(network, image: Tensor, place=None, *, ties="first", mean_colour=False, own=True):
    """Of the sum of squares of what `network` makes, at one place or everywhere."""
    leaf = image.clone().requires_grad_()
    if own:
        with WayBack(leaf, ties, mean_colour=mean_colour):
            found = network(leaf.clone())
    else:
        found = network(leaf.clone())
    if place is not None:
        found = found[:, :, place[0], place[1]]
    return torch.autograd.grad((found * found.detach()).sum(), leaf)[0]


GEOMETRIES = [
    {"kernel_size": 7, "stride": 2, "padding": 3},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3},
    {"kernel_size": (3, 2), "stride": (1, 2), "padding": (0, 1)},
    {"kernel_size": 4, "stride": 4},
    {"kernel_size": (5, 3), "stride": 2, "padding": (2, 0)},
    {"kernel_size": 5, "stride": 3, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 4, "dilation": 2},
    {"kernel_size": 2, "stride": 3, "padding": 2},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": 1, "padding": 2},
    {"kernel_size": (2, 3), "padding": "same"},
    {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
]


@pytest.mark.parametrize("size", [(17, 13), (16, 20)])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("groups", [1, 3])
def test_a_convolutions_gradient_is_pytorchs(geometry, groups, size):
    torch.manual_seed(0)
    network = nn.Conv2d(3, 6, groups=groups, **geometry).double().requires_grad_(False)
    image = noise(2, 3, *size)
    height, width = network(image).shape[2:]
    for place in (
        None,
        (height // 2, width // 2),
        (0, 0),
        (height - 1, 0),
        (height - 1, width - 1),
    ):
        truth = gradient(network, image, place, own=False)
        torch.testing.assert_close(gradient(network, image, place), truth, **EXACT)
        mean = gradient(network, image, place, mean_colour=True).mean(1)
        torch.testing.assert_close(mean, truth.mean(1), **EXACT)


class Both(nn.Module):
    """The image goes to a convolution and beside it."""

    def __init__(self, before) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3, padding=1)
        self.before = before

    def forward(self, image: Tensor) -> Tensor:
        return self.stem(self.before(image)) + image[:, [1, 2, 0]]


def normalised(image: Tensor) -> Tensor:
    return image / torch.tensor([1.0, 2, 3], dtype=image.dtype)[:, None, None]


@pytest.mark.parametrize(
    "before",
    [
        lambda image: image,
        normalised,
        lambda image: image.mul_(torch.tensor([1.0, 2, 3]).double()[:, None, None]),
        lambda image: functional.pad(image, (1, 0, 0, 2), value=0.5)[:, :, 2:, 1:],
        lambda image: functional.pad(image, (0, 2, 0, 2))[:, :, :9, :9],
        lambda image: image.contiguous(memory_format=torch.channels_last),
        lambda image: image.flip(1),
    ],
)
def test_the_mean_over_colours_is_right_wherever_else_the_image_goes(before):
    torch.manual_seed(0)
    network = Both(before).double().requires_grad_(False)
    image = noise(2, 3, 9, 9)
    truth = gradient(network, image, own=False)
    torch.testing.assert_close(gradient(network, image), truth, **EXACT)
    mean = gradient(network, image, mean_colour=True).mean(1)
    torch.testing.assert_close(mean, truth.mean(1), **EXACT)


@pytest.mark.parametrize("colours", [(0, 1), (1, -1), (-1, 0)])
def test_colours_that_padding_adds_or_takes_are_no_colours_of_the_image(colours):
    """Such as a fourth one that is always zero, for libraries that want RGBX."""
    padded = nn.ConstantPad3d((0, 0, 0, 0, *colours), 0.0)
    stem = nn.Conv2d(3 + sum(colours), 4, 3, 2, 1)
    network = nn.Sequential(padded, stem).double().requires_grad_(False)
    image = noise(2, 3, 9, 9)
    truth = gradient(network, image, own=False)
    found = gradient(network, image, mean_colour=True)
    torch.testing.assert_close(found.mean(1), truth.mean(1), **EXACT)


def test_padding_before_the_stem_is_no_obstacle():
    network = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 4, 4, 2, 1)).double()
    image = noise(1, 3, 12, 12)
    found = gradient(network.requires_grad_(False), image, mean_colour=True)
    assert torch.equal(found[:, 0], found[:, 1])  # all colours are the mean
    assert not torch.equal(*gradient(network, image)[:, :2].unbind(1))


def test_another_leaf_is_no_image():
    torch.manual_seed(0)
    stem = nn.Conv2d(3, 4, 3).double().requires_grad_(False)
    image, other = noise(1, 3, 6, 6).requires_grad_(), noise(1, 3, 6, 6, seed=1).requires_grad_()
    with WayBack(image, "first", mean_colour=True):
        found = stem(other.clone()).square().sum()
    truth = stem(other.clone()).square().sum()
    torch.testing.assert_close(
        *torch.autograd.grad(found, other), *torch.autograd.grad(truth, other), **EXACT
    )


def test_weights_that_depend_on_the_image_keep_their_gradients():
    class Dynamic(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return functional.conv2d(image, image.mean((0, 2, 3)).expand(2, 3)[:, :, None, None])

    image = noise(2, 3, 5, 5)
    found = gradient(Dynamic(), image, mean_colour=True)
    torch.testing.assert_close(found, gradient(Dynamic(), image, own=False), **EXACT)


class _Sizes(TorchDispatchMode):
    """Notes the rows and columns of the gradients that convolutions send back."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution_backward.default:
            self.seen.append(tuple(args[0].shape[2:]))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("place", "seen"), [((6, 8), [(1, 1), (3, 3), (5, 5)]), ((0, 0), [(1, 1), (2, 2), (3, 3)])]
)
def test_only_what_is_not_zero_is_computed(place, seen):
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
    network = nn.Sequential(*layers).double().requires_grad_(False)
    with _Sizes() as sizes:
        gradient(network, noise(2, 3, 12, 16), place)
    assert sizes.seen == seen


def test_gradients_that_cancel_are_not_zero():
    """Over channels or over images; the outermost of those that arrive do."""
    network = nn.Conv2d(3, 2, 3, padding=1).double().requires_grad_(False)
    arriving = torch.zeros(2, 2, 9, 9, dtype=torch.float64)
    arriving[0, 0, 2, 4], arriving[0, 1, 2, 4] = 1, -1
    arriving[0, 0, 6, 4], arriving[1, 0, 6, 4] = 1, -1
    arriving[0, 1, 4, 2] = arriving[1, 0, 4, 6] = 1
    image = noise(2, 3, 9, 9).requires_grad_()
    with WayBack(image, "first", mean_colour=False):
        found = network(image.clone())
    (ours,) = torch.autograd.grad(found, image, arriving)
    (truth,) = torch.autograd.grad(network(image), image, arriving)
    torch.testing.assert_close(ours, truth, **EXACT)


def test_no_gradient_is_no_gradient():
    layers = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 2, 3)
    network = nn.Sequential(*layers, nn.Threshold(100, 0)).double().requires_grad_(False)
    assert not gradient(network, noise(2, 3, 8, 8)).any()


POOLS = [
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)},
    {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    {"kernel_size": 2, "stride": 2, "dilation": 3},
    {"kernel_size": [2], "stride": [3]},
]


def shared_by_loops(feature_map: Tensor, arriving: Tensor, pool: nn.MaxPool2d) -> Tensor:
    """Each window's gradient, in equal parts to those of its values that are the largest."""
    rows, columns = functional.unfold(
        torch.stack(torch.meshgrid(*map(torch.arange, feature_map.shape[2:]), indexing="ij"))[
            None
        ].double()
        + 1,
        **_unfolding(pool),
    ).view(2, -1, arriving.shape[2] * arriving.shape[3])
    found = torch.zeros_like(feature_map)
    for image, channel in itertools.product(*map(range, feature_map.shape[:2])):
        for number, value in enumerate(arriving[image, channel].flatten()):
            places = [
                (int(row) - 1, int(column) - 1)
                for row, column in zip(rows[:, number], columns[:, number], strict=True)
                if row > 0
            ]
            values = [float(feature_map[image, channel, *place]) for place in places]
            winners = [p for p, v in zip(places, values, strict=True) if v == max(values)]
            for place in winners:
                found[image, channel, *place] += value / len(winners)
    return found


def _unfolding(pool: nn.MaxPool2d) -> dict:
    names = ("kernel_size", "stride", "padding", "dilation")
    return {name: getattr(pool, name) for name in names}


@pytest.mark.parametrize("behind_relu", [False, True])
@pytest.mark.parametrize("geometry", [g for g in POOLS if not g.get("ceil_mode")][:-1], ids=str)
def test_the_largest_values_of_a_window_share_its_gradient(geometry, behind_relu):
    """Whole numbers from -3 to 1, of which many are equal."""
    pool = nn.MaxPool2d(**geometry)
    feature_map = torch.randint(-3, 2, (2, 2, 8, 9), generator=torch.Generator().manual_seed(0))
    feature_map = feature_map.double()
    first = nn.ReLU() if behind_relu else nn.Identity()
    with torch.no_grad():
        arriving = pool(first(feature_map))
    found = gradient(nn.Sequential(first, pool), feature_map, ties="shared")
    truth = shared_by_loops(first(feature_map), arriving, pool)
    if behind_relu:
        truth *= feature_map > 0
    torch.testing.assert_close(found, truth, **EXACT)


@pytest.mark.parametrize("geometry", POOLS, ids=str)
def test_without_ties_a_max_pools_gradient_is_pytorchs(geometry):
    pool, feature_map = nn.MaxPool2d(**geometry), noise(2, 3, 11, 12)
    truth = gradient(pool, feature_map, own=False)
    torch.testing.assert_close(gradient(pool, feature_map, ties="shared"), truth, **EXACT)


@pytest.mark.parametrize("value", [0.0, -3.0, 5.0])
@pytest.mark.parametrize("geometry", POOLS, ids=str)
def test_a_flat_map_gets_a_gradient_without_a_direction(geometry, value):
    """As an average pool's, as far as nothing lies beyond the border; PyTorch's leans."""
    side = 13
    pool, flat = nn.MaxPool2d(**geometry), torch.full((1, 1, side, side), value).double()
    leaf = flat.clone().requires_grad_()
    with WayBack(leaf, "shared", mean_colour=False):
        pooled = pool(leaf)
    (found,) = torch.autograd.grad(pooled.sum(), leaf)
    assert float(found.sum()) == pytest.approx(pooled.numel())
    if geometry.get("dilation", 1) == 1 and not isinstance(geometry["kernel_size"], list):
        options = {name: value for name, value in geometry.items() if name != "dilation"}
        average = nn.AvgPool2d(**options, count_include_pad=False)
        leaf = flat.clone().requires_grad_()
        (truth,) = torch.autograd.grad(average(leaf).sum(), leaf)
        torch.testing.assert_close(found, truth, **EXACT)


def test_windows_lie_beside_each_other_unless_a_stride_is_given():
    flat = torch.ones(1, 1, 6, 6, dtype=torch.float64)
    for pool in (functional.max_pool2d, torch.max_pool2d):
        found = gradient(lambda image, pool=pool: pool(image, 2), flat, ties="shared")
        assert found.eq(1 / 4).all()


@pytest.mark.parametrize("stride", [{}, {"stride": np.int64(3)}])
def test_sizes_of_windows_may_be_numbers_of_numpy(stride):
    image = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    pools = (nn.MaxPool2d(size, **stride) for size in (np.int64(2), 2))
    ours, truth = (gradient(pool, image, ties="shared") for pool in pools)
    assert torch.equal(ours, truth)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_that_rounding_tells_apart_are_equal_and_others_are_not(dtype):
    eps = torch.finfo(dtype).eps
    leaf = torch.tensor([[1.0, 1 + 2 * eps], [1 - 2 * eps, 1 - 40 * eps]], dtype=dtype)
    leaf = leaf[None, None].requires_grad_()
    with WayBack(leaf, "shared", mean_colour=False):
        pooled = functional.max_pool2d(leaf, 2)
    (found,) = torch.autograd.grad(pooled.sum(), leaf)
    third = 1 / 3
    torch.testing.assert_close(found.flatten().tolist(), [third, third, third, 0.0])


def test_what_is_equal_is_judged_by_each_image_alone():
    """A bright image beside a dark one makes no value of the dark one equal."""
    dark, bright = noise(1, 1, 6, 6) * 1e-12, noise(1, 1, 6, 6, seed=1) * 1e6
    both = gradient(nn.MaxPool2d(2), torch.cat([dark, bright]), ties="shared")
    alone = gradient(nn.MaxPool2d(2), dark, ties="shared")
    assert torch.equal(both[:1], alone)


def test_what_rounding_adds_is_as_large_as_each_image_is_bright():
    near = torch.ones(2, 2, dtype=torch.float64)
    near[1, 1] += 4 * torch.finfo(near.dtype).eps
    both = torch.stack([near * 1e-9, near, near * 1e9])[:, None]
    found = gradient(nn.MaxPool2d(2), both, ties="shared")
    assert all(len(of_image.unique()) == 1 for of_image in found)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_passed_on_and_breaks_nothing(value):
    feature_map = torch.ones(1, 1, 7, 7, dtype=torch.float64)
    feature_map[..., 2, 3] = value
    leaf = feature_map.requires_grad_()
    with WayBack(leaf, "shared", mean_colour=False):
        pooled = functional.max_pool2d(leaf, 3, 2, 1)
    (found,) = torch.autograd.grad(pooled[torch.isfinite(pooled)].sum(), leaf)
    truth = functional.max_pool2d(feature_map.detach(), 3, 2, 1)
    assert torch.equal(torch.isnan(pooled), torch.isnan(truth))
    assert found.isfinite().all()
    if value == -math.inf:
        assert found[0, 0, 0, 0] == 1 / 4  # of a window without it


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_beside_what_is_not_finite_other_values_stay_unequal(value):
    feature_map = noise(1, 1, 7, 7)
    feature_map[..., 2, 3] = value
    found = []
    for ties in ("shared", "first"):
        leaf = feature_map.clone().requires_grad_()
        with WayBack(leaf, ties, mean_colour=False):
            pooled = functional.max_pool2d(leaf, 3, 2, 1)
        found += torch.autograd.grad(pooled[torch.isfinite(pooled)].sum(), leaf)
    assert torch.equal(*found)


def test_a_map_of_nothing_but_minus_infinity_keeps_pytorchs_rule():
    endless, pool = torch.full((1, 1, 7, 7), -math.inf).double(), nn.MaxPool2d(3, 2, 1)
    leaf, plain = endless.clone().requires_grad_(), endless.clone().requires_grad_()
    with WayBack(leaf, "shared", mean_colour=False):
        pooled = pool(leaf)
    arriving = noise(*pooled.shape)
    found = torch.autograd.grad(pooled, leaf, arriving)
    assert torch.equal(*found, *torch.autograd.grad(pool(plain), plain, arriving))


def test_images_are_freed_without_the_garbage_collector():
    """It comes late: dozens of batches would wait for it."""
    leaf = noise(1, 3, 8, 8).requires_grad_()
    gc.disable()
    try:
        with WayBack(leaf, "shared", mean_colour=True):
            found = nn.Conv2d(3, 2, 3).double().requires_grad_(False)(leaf).sum()
        torch.autograd.grad(found, leaf)
        images = weakref.ref(leaf)
        del leaf, found
        assert images() is None
    finally:
        gc.enable()


def test_half_precision_keeps_pytorchs_rule():
    leaf = torch.ones(1, 1, 4, 4, dtype=torch.bfloat16).requires_grad_()
    with WayBack(leaf, "shared", mean_colour=False):
        pooled = functional.max_pool2d(leaf, 2)
    (found,) = torch.autograd.grad(pooled.sum(), leaf)
    assert found[..., ::2, ::2].eq(1).all() and found.sum() == 4


def flat_discs(number: int, side: int) -> Tensor:
    """Discs of one colour each on a background of one colour, normalised."""
    draw = np.random.default_rng(0)
    row, column = np.mgrid[:side, :side]
    images = np.empty((number, 3, side, side))
    for image in images:
        image[:] = draw.random((3, 1, 1))
        for _ in range(5):
            (y, x), radius = draw.random(2) * side, side * draw.uniform(0.1, 0.3)
            image[:, (row - y) ** 2 + (column - x) ** 2 < radius**2] = draw.random((3, 1))
    return torch.from_numpy((images - 0.45) / 0.225)


def _fields(model, images, ties, *, last=False, folded=False, batch=1, dtype=torch.float64):
    targets = {name: Target(name, layout="nchw") for name in ("layer3", "layer4")}
    network = in_evaluation(model, torch.device("cpu"), dtype)
    if folded:
        assert folding.fold_batch_norms(network)
    layout = torch.channels_last if last else torch.contiguous_format
    network.to(memory_format=layout)
    sums = 0
    for few in images.to(dtype).split(batch):
        leaf = few.contiguous(memory_format=layout).clone().requires_grad_()
        with WayBack(leaf, ties, mean_colour=True):
            found = features(network, leaf, targets)
        maps = [torch.autograd.grad(found[t].mean(1).sum(), leaf, retain_graph=True) for t in found]
        sums = sums + torch.stack([each.mean(1).relu().sum(0) for (each,) in maps]).double()
    return sums


@pytest.fixture(scope="module")
def network():
    model = narrow.resnet18()
    calibration.calibrate(model, [noise(16, 3, 64, 64).float()], device=torch.device("cpu"))
    return model


def distance(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).norm() / truth.norm())


def test_no_layout_matters_to_flat_images(network):
    images = flat_discs(6, 64)
    truth = _fields(network, images, "shared")
    for last, folded, batch in itertools.product((False, True), (False, True), (1, 8)):
        found = _fields(network, images, "shared", last=last, folded=folded, batch=batch)
        assert distance(found, truth) < 1e-9
        single = _fields(
            network, images, "shared", last=last, folded=folded, batch=batch, dtype=torch.float32
        )
        assert distance(single, truth) < 0.02


def test_the_first_of_equal_values_depends_on_the_layout(network):
    """What the shared rule is for: rounding decides, by 1 % and more."""
    images = flat_discs(6, 64)
    truth = _fields(network, images, "first")
    layouts = itertools.product((False, True), (False, True))
    others = [_fields(network, images, "first", last=a, folded=b) for a, b in layouts]
    assert max(distance(other, truth) for other in others) > 0.01


def test_ties_are_shared_unless_the_first_is_asked_for(network):
    images = flat_discs(4, 64).float()
    usual = erf.accumulate(network, images, ["layer4"])["layer4"].mean
    shared = erf.accumulate(network, images, ["layer4"], ties="shared")["layer4"].mean
    first = erf.accumulate(network, images, ["layer4"], ties="first")["layer4"].mean
    assert np.array_equal(usual, shared) and not np.allclose(usual, first, rtol=1e-3)
