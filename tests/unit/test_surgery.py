"""Kernels of any class, changed by trial: equal to the unchanged module, or left with a reason."""

import copy
import logging
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite_pytorch import utils as lite
from timm import layers
from timm.layers.pool2d_same import MaxPool2dSame
from torch import Tensor, nn
from torch.nn import functional

from deadpixel import kernels
from deadpixel.networks import calibration, folding
from deadpixel.surgery import selection, ties

SIZES = [(9, 9), (10, 10), (9, 12), (16, 11), (31, 40), (57, 33)]


class PadsItself(nn.Conv2d):
    """Adds a row and a column below and to the right before it convolves."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(functional.pad(image, [0, 1, 0, 1]))


class WithoutAttributes(nn.Module):
    """No class of PyTorch: nothing but its code says which stride it has."""

    def __init__(self, stride: int = 2) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4, 3, 3))
        self._step = stride

    def forward(self, image: Tensor) -> Tensor:
        return functional.conv2d(image, self.weight, stride=self._step, padding=1)


def weight_norm(settings: dict) -> nn.Module:
    return nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 6, **settings))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def old_weight_norm() -> nn.Module:
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(nn.Conv2d(4, 6, 3, 2, 1))


CHANGED = {
    "timm's Conv2dSame 3": lambda: layers.Conv2dSame(4, 6, 3, 2),
    "timm's Conv2dSame 1": lambda: layers.Conv2dSame(4, 6, 1, 2),
    "timm's Conv2dSame 5, depthwise": lambda: layers.Conv2dSame(4, 8, 5, 2, groups=4),
    "timm's Conv2dSame 1 x 7": lambda: layers.Conv2dSame(4, 6, (1, 7), 2),
    "timm's Conv2dSame, stride 2 x 1": lambda: layers.Conv2dSame(4, 6, 3, (2, 1)),
    "static padding of even images": lambda: lite.Conv2dStaticSamePadding(
        4, 6, 3, 2, image_size=224
    ),
    "static padding of odd images": lambda: lite.Conv2dStaticSamePadding(
        4, 6, 5, 2, image_size=225
    ),
    "dynamic padding": lambda: lite.Conv2dDynamicSamePadding(4, 6, 3, 2),
    "weight norm": lambda: weight_norm({"kernel_size": 3, "stride": 2, "padding": 1}),
    "weight norm 1": lambda: weight_norm({"kernel_size": 1, "stride": 2}),
    "weight norm as it was before PyTorch 2": old_weight_norm,
    "a user's padding": lambda: PadsItself(4, 6, 3, 2),
    "a user's dilation": lambda: PadsItself(4, 6, 3, 2, dilation=2),
    "a user's module": WithoutAttributes,
}


def padded(module: nn.Module, **settings) -> nn.Module:
    changed, names = kernels.pad(nn.Sequential(module), **settings)
    assert names == ["0"]
    return changed[0]


def image_of(size: tuple[int, int], channels: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(size[0] * size[1])
    return torch.randn(2, channels, *size, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("name", CHANGED)
def test_a_convolution_of_any_class_computes_the_same_with_an_even_kernel(name):
    module = CHANGED[name]().double()
    odd = [k % 2 == 1 for k in module.weight.shape[2:]]
    changed = padded(module)
    assert type(changed).__name__ == type(module).__name__
    grown = [k + o for k, o in zip(module.weight.shape[2:], odd, strict=True)]
    if name != "timm's Conv2dSame, stride 2 x 1":
        assert [*changed.weight.shape[2:]] == grown
    for size in SIZES:
        image = image_of(size)
        with torch.no_grad():
            truth, found = module(image), changed(image)
        assert found.shape == truth.shape
        assert float((found - truth).abs().max()) < 1e-13 * float(truth.abs().max())
        assert kernels.odd_strided(module, image) and not kernels.odd_strided(changed, image)


@pytest.mark.parametrize("name", CHANGED)
def test_the_added_weights_count_and_are_trained(name):
    module = CHANGED[name]().double()
    changed = padded(module)
    added = kernels.added_weights(changed)
    assert added.numel() == changed.weight.numel() - module.weight.numel()
    assert not added.any()
    changed(image_of((16, 13))).square().sum().backward()
    kernel = max(changed.parameters(), key=Tensor.numel)
    assert kernel.grad is not None and (kernel.grad != 0).all()
    with torch.no_grad():
        kernel += 1
    changed(image_of((16, 13)))  # weight norm computes its kernel in each call
    assert kernels.added_weights(changed).numel() == added.numel()
    assert kernels.added_weights(changed).all()


def test_zeros_go_to_the_bottom_right_and_to_the_top_left_where_only_that_is_right():
    """Padding as TensorFlow's begins a place earlier for an even kernel if the map is even."""
    module = layers.Conv2dSame(4, 6, 3, 2)
    assert torch.equal(padded(module).weight[..., 1:, 1:], module.weight)
    module = PadsItself(4, 6, 3, 2)
    assert torch.equal(padded(module).weight[..., :3, :3], module.weight)
    module = layers.Conv2dSame(4, 6, (1, 7), 2)
    assert torch.equal(padded(module).weight[..., :1, 1:], module.weight)
    assert padded(module).kernel_size == (2, 8)


# --------------------------------------------------------------------------------------- pools


@pytest.mark.parametrize(
    ("pool", "value"),
    [
        (MaxPool2dSame(3, 2), -np.inf),
        (layers.AvgPool2dSame(3, 2), 0.0),
        (lite.MaxPool2dStaticSamePadding(3, 2, image_size=224), None),
        (type("Own", (nn.MaxPool2d,), {})(5, 2, 2), -np.inf),
    ],
)
def test_a_pool_of_any_class_has_windows_of_one_more(pool, value):
    """Of timm's: TensorFlow's padding of the odd kernel, and one more row above and column left.

    The plain loop knows nothing of how windows are found.
    """
    changed = padded(pool)
    side, before = (4, 1) if "Same" in type(pool).__name__ else (6, 0)
    for height, width in [(9, 9), (10, 10), (9, 12), (16, 11)]:
        image = image_of((height, width))
        if value is None:  # zeros that it adds itself are in its maximum
            image = image.abs()
        found = changed(image)
        assert found.shape == pool(image).shape
        reduced = torch.mean if isinstance(pool, nn.AvgPool2d) else torch.amax
        starts = [
            _first_start(pool, n, value is None) - before * (value is not None)
            for n in (height, width)
        ]
        frame = functional.pad(image, [8, 8, 8, 8], value=0.0 if value is None else value)
        for i in range(found.shape[2]):
            for j in range(found.shape[3]):
                top, left = 8 + starts[0] + 2 * i, 8 + starts[1] + 2 * j
                window = frame[..., top : top + side, left : left + side]
                assert torch.allclose(found[..., i, j], reduced(window, dim=(2, 3)))


def _first_start(pool: nn.Module, length: int, is_static: bool) -> int:
    """Where the first window of the odd kernel begins."""
    if is_static:
        return 0
    if "Same" not in type(pool).__name__:
        return -2
    return -(length % 2)  # 3 - 2 in all at even lengths, 3 - 1 at odd ones, the half of it before


# ---------------------------------------------------------------------------- what is left


class Slices(nn.Conv2d):
    """Its weight grows, what it computes with does not."""

    def forward(self, image: Tensor) -> Tensor:
        return functional.conv2d(image, self.weight[..., :3, :3], self.bias, 2, 1)


class Uses(nn.Conv2d):
    """The weight is not what it convolves with."""

    def __init__(self) -> None:
        super().__init__(4, 6, 3, 2, 1)
        self.other = nn.Parameter(torch.randn(6, 4, 5, 5))

    def forward(self, image: Tensor) -> Tensor:
        return functional.conv2d(image, self.other, self.bias, 2, 2) * self.weight.mean()


class Averages(nn.Conv2d):
    """Divides by the number of its weights."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) / self.weight.numel()


class Masks(nn.Conv2d):
    """Weights that are added are multiplied by zero."""

    def forward(self, image: Tensor) -> Tensor:
        height, width = self.weight.shape[2:]
        kernel = functional.pad(self.weight[..., :3, :3], [0, width - 3, 0, height - 3])
        return functional.conv2d(image, kernel, self.bias, 2, 1)


class TakesTwo(nn.Conv2d):
    def forward(self, image: Tensor, scale: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(image) * scale


class Smallest(nn.MaxPool2d):
    def forward(self, image: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return -super().forward(-image)


class OwnKernelSize(nn.Conv2d):
    """Pads by half of a kernel size that it keeps as a number."""

    def __init__(self) -> None:
        super().__init__(4, 6, 3, 2)
        self.kernel_size = 3  # pyright: ignore[reportAttributeAccessIssue]

    def forward(self, image: Tensor) -> Tensor:
        edge = self.kernel_size // 2  # pyright: ignore[reportOperatorIssue]
        return functional.conv2d(image, self.weight, self.bias, 2, edge)


def spectral_norm() -> nn.Module:
    return nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 6, 3, 2, 1))


LEFT = {
    "timm's StdConv2d": (lambda: layers.StdConv2d(4, 6, 3, 2), "compute something else"),
    "timm's StdConv2d 1": (lambda: layers.StdConv2d(4, 6, 1, 2), "compute something else"),
    "timm's StdConv2dSame": (lambda: layers.StdConv2dSame(4, 6, 3, 2), "compute something else"),
    "timm's ScaledStdConv2d": (
        lambda: layers.ScaledStdConv2d(4, 6, 3, 2),
        "with a kernel of 4 x 4 it would compute something else",
    ),
    "timm's ScaledStdConv2dSame": (
        lambda: layers.ScaledStdConv2dSame(4, 6, 3, 2),
        "compute something else",
    ),
    "timm's Conv2dSame, dilated": (
        lambda: layers.Conv2dSame(4, 6, 3, 2, dilation=2),
        "compute something else",
    ),
    "spectral norm": (spectral_norm, "with an even kernel it fails (RuntimeError: size mismatch"),
    "reflected edges": (
        lambda: type("Own", (nn.Conv2d,), {})(4, 6, 3, 2, 1, padding_mode="reflect"),
        "compute something else",
    ),
    "a slice of the weight": (lambda: Slices(4, 6, 3, 2, 1), "not what it computes with"),
    "another weight": (Uses, "not what it computes with (Uses: convolution 5 x 5, stride 2 x 2)"),
    "a number of weights": (lambda: Averages(4, 6, 3, 2, 1), "compute something else"),
    "a mask": (lambda: Masks(4, 6, 3, 2, 1), "would have no effect"),
    "two arguments": (lambda: TakesTwo(4, 6, 3, 2), "does not run on a map alone (TypeError"),
    "a kernel size that is a number": (OwnKernelSize, "with an even kernel it fails (TypeError"),
    "a minimum": (lambda: Smallest(3, 2, 1), "neither the maximum nor the mean"),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_cannot_be_proven_is_left_and_named_with_its_reason(name, caplog):
    make, reason = LEFT[name]
    module = make()
    changed, names = kernels.pad(nn.ModuleDict({"stem": module}))
    assert names == []
    (record,) = caplog.records
    assert record.getMessage().startswith(f"stem ({type(module).__name__}) stays as it is: ")
    assert reason in record.getMessage()
    assert not changed["stem"]._forward_pre_hooks
    for name, tensor in changed["stem"].state_dict().items():
        assert torch.equal(tensor, module.state_dict()[name])


def test_other_modules_with_four_dimensions_are_left_without_a_word(caplog):
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, 4, 1, 1))

        def forward(self, image: Tensor) -> Tensor:
            return image * self.weight

    others = [layers.Conv2dSame(4, 4, 4, 2), layers.Conv2dSame(4, 4, 3), WithoutAttributes(1)]
    transposed = type("Own", (nn.ConvTranspose2d,), {})(4, 4, 3, 2)
    assert kernels.pad(nn.Sequential(*others, transposed, Scale()))[1] == []
    assert not caplog.records


def test_functions_without_a_module_are_named():
    class Net(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            kernel = torch.ones(3, 3, 3, 3)
            return functional.max_pool2d(functional.conv2d(image, kernel, stride=2), 3, 2)

    assert kernels.odd_strided(Net(), torch.zeros(1, 3, 32, 32)) == [
        "Net: convolution 3 x 3, stride 2 x 2",
        "Net: max_pool2d_with_indices 3 x 3, stride 2 x 2",
    ]


def test_a_module_may_be_called_on_a_weight():
    class ClassToken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1, 3, 1, 1))
            self.conv, self.norm = nn.Conv2d(3, 3, 3, stride=2), nn.Identity()

        def forward(self, images: Tensor) -> Tensor:
            return self.conv(images) + self.norm(self.token.expand(len(images), -1, -1, -1))

    found = kernels.odd_strided(ClassToken(), torch.zeros(1, 3, 8, 8))
    assert found == ["ClassToken.conv: convolution 3 x 3, stride 2 x 2"]


# ------------------------------------------------------------------------------------------ ties


def tied(*modules: nn.Module) -> nn.Sequential:
    for module in modules[1:]:
        module.weight = modules[0].weight
    return nn.Sequential(*modules)


def test_tied_kernels_change_together_and_stay_tied():
    model = tied(*(nn.Conv2d(4, 4, 3, 2, 1) for _ in range(3)))
    changed, names = kernels.pad(model)
    assert names == ["0", "1", "2"]
    assert changed[0].weight is changed[1].weight is changed[2].weight
    assert [*changed[0].weight.shape] == [4, 4, 4, 4]
    drawn, _ = kernels.pad(model, "random", seed=1)
    alone, _ = kernels.pad(nn.Sequential(copy.deepcopy(model[0])), "random", seed=1)
    assert torch.equal(drawn[2].weight, alone[0].weight) and drawn[2].weight is drawn[0].weight
    assert torch.equal(drawn[0].bias, alone[0].bias)
    assert not torch.equal(drawn[1].bias, alone[0].bias)


def test_what_is_tied_to_a_kernel_that_is_left_is_left_too():
    """From the last of a chain to its first."""
    first, both, last = (nn.Conv2d(4, 4, 3, 2, 1) for _ in range(3))
    both.weight, both.other = first.weight, nn.Parameter(torch.zeros_like(both.weight))
    last.weight = both.other
    change = SimpleNamespace(hook=SimpleNamespace(gains=(1, 1)))
    model = nn.ModuleDict({"first": first, "both": both, "last": last})
    found = ties.broken(model, {"first": change, "both": change})
    assert found.keys() == {"first", "both"}
    assert "with last" in found["both"] and "with both" in found["first"]


def test_tied_weight_norms_stay_tied():
    model = nn.Sequential(weight_norm({"kernel_size": 3, "stride": 2}), PadsItself(4, 6, 3, 2))
    model[1].weight = model[0].parametrizations.weight.original1
    changed, names = kernels.pad(model)
    assert names == ["0", "1"]
    assert changed[1].weight is changed[0].parametrizations.weight.original1


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(4, 4, 3, 1, 1),  # of another stride
        layers.StdConv2d(4, 4, 3, 2, 1),  # cannot change
        layers.Conv2dSame(4, 4, 3, 2),  # with its zeros at the top left
    ],
)
def test_a_kernel_that_is_tied_to_one_that_does_not_change_is_left(other, caplog):
    model = tied(nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2), copy.deepcopy(other))
    changed, names = kernels.pad(model)
    assert names == []
    assert changed[0].weight is changed[1].weight is changed[2].weight
    messages = [record.getMessage() for record in caplog.records]
    assert any(m.startswith("0 (Conv2d)") and "shares its kernel with 2" in m for m in messages)


def test_a_kernel_that_its_parent_holds_too_is_left():
    model = nn.Sequential(nn.Conv2d(4, 4, 3, 2))
    model.register_parameter("mine", model[0].weight)
    assert kernels.pad(model)[1] == []


# ---------------------------------------------------------------------------- around the change


def test_the_module_its_hooks_and_the_generator_are_left_as_they_were():
    calls = []

    class Noisy(PadsItself):
        def forward(self, image: Tensor) -> Tensor:
            torch.rand(1)
            return super().forward(image)

    module = Noisy(4, 6, 3, 2)
    module.register_forward_pre_hook(lambda *_: calls.append("before"))
    module.register_forward_hook(lambda *_: calls.append("after"))
    before, state = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    changed = padded(module.train())
    assert not calls and module.training and changed.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert module.weight.requires_grad and len(module._forward_pre_hooks) == 1
    changed(torch.zeros(1, 4, 9, 9))
    assert calls == ["before", "after"]


def test_a_module_without_a_batch_and_with_further_arguments():
    class Scales(PadsItself):
        def forward(self, image: Tensor, by: float = 1.0) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            return by * super().forward(image)

    module = Scales(4, 6, 3, 2)
    image = torch.randn(4, 10, 9)
    assert torch.allclose(padded(module)(image, 3.0), module(image, 3.0), atol=1e-6)


class ByName(nn.Module):
    """Gives its modules their maps by name."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.conv = PadsItself(4, 6, 3, 2), nn.Conv2d(6, 6, 1, 2)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)

    def forward(self, image: Tensor) -> Tensor:
        return self.pool(input=self.conv(input=self.own(image=image)))


class InOrder(ByName):
    def forward(self, image: Tensor) -> Tensor:
        return self.pool(self.conv(self.own(image)))


@pytest.mark.parametrize("surgery", ["pad", "slice", "average", "blur3", "space_to_depth"])
def test_maps_may_be_given_by_name(surgery):
    image = image_of((30, 27)).float()
    found = []
    for network in (ByName, InOrder):
        torch.manual_seed(0)
        changed = kernels.apply(network(), "mine", {surgery: "all"})
        found.append(changed(image))
    assert torch.equal(*found)
    names = ["own", "conv", "pool"]
    by_stride = selection.chosen({"stride": "2.."}, names, ByName(), image[:1])
    assert by_stride == ["conv", "pool"]


def test_a_changed_module_without_a_map_fails_as_it_did():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'input'"):
        padded(nn.Conv2d(4, 6, 3, 2))()


def test_what_is_proven_does_not_depend_on_the_weights():
    """A kernel that starts from zero computes the same whatever is done to it."""
    module = layers.StdConv2d(4, 6, 3, 2)
    nn.init.zeros_(module.weight)
    assert kernels.pad(nn.Sequential(module))[1] == []
    with torch.no_grad():
        ours = PadsItself(4, 6, 3, 2)
        ours.weight.zero_()
    assert not padded(ours).weight.any()


def test_random_kernels_of_any_class_are_those_of_nn_conv2d():
    own, _ = kernels.pad(nn.ModuleDict({"stem": layers.Conv2dSame(4, 6, 3, 2)}), "random", seed=3)
    plain, _ = kernels.pad(nn.ModuleDict({"stem": nn.Conv2d(4, 6, 3, 2)}), "random", seed=3)
    assert torch.equal(own["stem"].weight, plain["stem"].weight)
    assert torch.equal(own["stem"].bias, plain["stem"].bias)


def test_random_kernels_keep_the_length_that_weight_norm_gives_them():
    module = weight_norm({"kernel_size": 3, "stride": 2})
    drawn = padded(module, init="random")
    lengths = [m.weight.detach().flatten(1).norm(dim=1) for m in (module, drawn)]
    assert torch.allclose(*lengths)
    old = padded(old_weight_norm(), init="random")
    weight = old.weight.detach().clone()
    old(torch.zeros(1, 4, 9, 9))
    assert torch.equal(old.weight, weight)  # up to date before the first call


def test_copies_and_pickles_of_changed_modules_compute_the_same():
    changed = padded(layers.Conv2dSame(4, 6, 3, 2), init="random")
    image = torch.randn(1, 4, 11, 16)
    for twin in (copy.deepcopy(changed), pickle.loads(pickle.dumps(changed))):
        assert torch.equal(twin(image), changed(image))


# ------------------------------------------------------------------------------ whole networks


@pytest.mark.slow
def test_a_whole_network_of_static_padding_computes_the_same():
    """EfficientNet-Lite0, all of whose convolutions pad in `forward`; at an odd size too."""
    model = EfficientNet.from_name("efficientnet-lite0").double().eval()
    changed, names = kernels.pad(model)
    assert len(names) == 5
    for size in (96, 81):
        image = torch.randn(1, 3, size, size, dtype=torch.float64)
        with torch.no_grad():
            truth, found = model(image), changed(image)
        assert float((found - truth).abs().max()) < 1e-10 * float(truth.abs().max())
        assert len(kernels.odd_strided(model, image)) == 5
        assert kernels.odd_strided(changed, image) == []


def test_batch_norms_around_a_changed_module_of_any_class_fold():
    model = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), layers.Conv2dSame(4, 4, 3, 2)),
        *(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, 2), nn.BatchNorm2d(4)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
    )
    calibration.calibrate(model, [torch.randn(4, 3, 32, 32)], device=torch.device("cpu"))
    changed = kernels.apply(model, "padded").double()
    image = torch.randn(2, 3, 33, 32, dtype=torch.float64)
    with torch.no_grad():
        truth = changed(image)
        assert folding.fold_batch_norms(changed) == 2
        assert float((changed(image) - truth).abs().max()) < 1e-12 * float(truth.abs().max())


def test_the_log_is_silent_where_everything_changes(caplog):
    with caplog.at_level(logging.DEBUG, "deadpixel"):
        padded(layers.Conv2dSame(4, 6, 3, 2))
    assert not caplog.records
