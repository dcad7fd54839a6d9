from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, softplus

from deadpixel.erf import NonFiniteGradientError
from deadpixel.errors import InputError
from deadpixel.probes import saliency as probes
from deadpixel.probes.saliency import SALIENCIES, NoReluError, saliency
from deadpixel.targets import Target

CLASSES = torch.tensor([2, 0, 1])
TARGET = Target("0", layout="nchw")
NUMBERS = np.array([7, 3, 11])


def images(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*(shape or (3, 3, 8, 10)), generator=generator, dtype=torch.float64)


def ready(model: nn.Module, seed: int = 0) -> nn.Module:
    """In evaluation mode, with drawn weights that want no gradients."""
    generator = torch.Generator().manual_seed(seed)
    for weights in model.parameters():
        weights.data = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
    return model.eval().requires_grad_(False)


class Means(nn.Module):
    def forward(self, channels: Tensor) -> Tensor:
        return channels.mean((2, 3))


class Bent(nn.Module):
    """Smooth, so that no midpoint meets a kink."""

    def forward(self, channels: Tensor) -> Tensor:
        return softplus(channels)


def linear() -> nn.Sequential:
    return nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(240, 3))


def convolutional(activation: nn.Module | None = None, bias: bool = True) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1, bias=bias),
        activation or nn.ReLU(),
        nn.Conv2d(4, 4, 3, 1, 1, bias=bias),
        activation or nn.ReLU(),
        Means(),
        nn.Linear(4, 3, bias=bias),
    )


def found(name: str, model: nn.Module, pixels: Tensor | None = None, **options: Any) -> np.ndarray:
    pixels = images() if pixels is None else pixels
    options = {"classes": CLASSES, "numbers": NUMBERS, "target": TARGET} | options
    return saliency(name, model, pixels, **options)


@pytest.mark.parametrize("name", ["gradient", "smoothgrad", "smooth_strides"])
def test_gradients_of_a_linear_network_are_its_weights(name: str) -> None:
    """The mean over colours of those of each image's own class."""
    model = ready(linear())
    weights = model[2].weight.unflatten(1, (3, 8, 10)).mean(1)[CLASSES]
    np.testing.assert_allclose(found(name, model), weights, rtol=1e-12)


@pytest.mark.parametrize("name", ["gradient_x_input", "integrated_gradients"])
def test_products_of_a_linear_network_sum_to_the_logit_but_for_that_of_zero(name: str) -> None:
    model = ready(linear())
    logits = model(images()) - model(torch.zeros(1, 3, 8, 10, dtype=torch.float64))
    sums = found(name, model).sum((1, 2))
    np.testing.assert_allclose(sums, logits[range(3), CLASSES], rtol=1e-12)
    weights = model[2].weight[CLASSES].unflatten(1, (3, 8, 10))
    np.testing.assert_allclose(found(name, model), (weights * images()).sum(1), rtol=1e-12)


def test_integrated_gradients_sum_to_the_logit_of_a_bent_network() -> None:
    """The midpoint rule's error falls with the square of the number of points."""
    model = ready(convolutional(Bent()))
    logits = (model(images()) - model(torch.zeros_like(images())))[range(3), CLASSES].numpy()
    few, many = (
        np.abs(found("integrated_gradients", model, points=points).sum((1, 2)) - logits).max()
        for points in (32, 128)
    )
    assert many < 1e-4 * np.abs(logits).max() and 12 < few / many < 20


def test_the_way_to_an_image_is_straight_without_biases() -> None:
    model = ready(convolutional(bias=False))
    products, integrated = (found(f, model) for f in ("gradient_x_input", "integrated_gradients"))
    np.testing.assert_allclose(integrated, products, atol=1e-12)


class Squares(nn.Module):
    """Logits whose gradient at a pixel is twice the pixel."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.square().flatten(1).sum(1, keepdim=True).expand(-1, 3)


def test_smoothgrad_adds_noise_of_a_share_of_the_images_range() -> None:
    """Whose mean over points is seen in the map of a network that squares, of one colour."""
    pixels = images(2, 1, 60, 60) * torch.tensor([1.0, 10.0])[:, None, None, None]
    spread = (pixels.amax((1, 2, 3)) - pixels.amin((1, 2, 3))).numpy()
    for points in (1, 16):
        maps = found(
            "smoothgrad", Squares(), pixels, classes=CLASSES[:2], numbers=NUMBERS[:2], points=points
        )
        noise = maps / 2 - pixels[:, 0].numpy()
        expected = 0.15 * spread / np.sqrt(points)
        np.testing.assert_allclose(noise.std((1, 2)), expected, rtol=0.05)
        assert np.abs(noise.mean((1, 2)) / spread).max() < 0.01


def test_noise_depends_on_the_seed_and_the_image_alone() -> None:
    """Not on the other images, nor on how many copies there are."""
    model = ready(convolutional())
    together = found("smoothgrad", model, points=4)
    alone = saliency(
        "smoothgrad", model, images()[1:2], CLASSES[1:2], NUMBERS[1:2], TARGET, points=4
    )
    np.testing.assert_allclose(alone[0], together[1], rtol=1e-9)
    assert np.abs(found("smoothgrad", model, points=4, seed=1) - together).max() > 1e-3
    same = images()[:1].expand(3, -1, -1, -1)
    noise = found("smoothgrad", Squares(), same, points=1)
    assert all(np.abs(noise[a] - noise[b]).min() > 0 for a, b in ((0, 1), (0, 2), (1, 2)))
    second = 2 * found("smoothgrad", Squares(), same, points=2) - noise
    pixels = 2 * same.mean(1).numpy()
    assert abs(np.corrcoef((second - pixels).ravel(), (noise - pixels).ravel())[0, 1]) < 0.25


class Written(nn.Module):
    """Two convolutions, each with a ReLU as it is written in one way."""

    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.head, self.relu = nn.Linear(4, 3), relu

    def forward(self, pixels: Tensor) -> Tensor:
        channels = self.relu(self.second(self.relu(self.first(pixels))))
        return self.head(channels.mean((2, 3)))


def guided_by_hand(model: Written, pixels: Tensor, top: float = np.inf) -> np.ndarray:
    """Backwards through one ReLU after the other, where what comes back is cut off at zero."""
    first = conv2d(pixels, model.first.weight, model.first.bias)
    second = conv2d(first.clamp(0, top), model.second.weight, model.second.bias)
    places = second[0, 0].numel()
    back = (model.head.weight[CLASSES] / places)[:, :, None, None].expand_as(second)
    for before, layer in ((second, model.second), (first, model.first)):
        back = back.clamp(min=0) * ((before > 0) & (before < top))
        back = conv_transpose2d(back, layer.weight)
    return back.mean(1).numpy()


@pytest.mark.parametrize(
    "relu",
    [nn.ReLU(), nn.ReLU(inplace=True), torch.relu, torch.relu_, nn.functional.relu],
    ids=["module", "in place", "function", "function in place", "functional"],
)
def test_guided_backpropagation_by_hand_however_relus_are_written(relu: Any) -> None:
    """One module is called twice; functions are no modules at all."""
    model = ready(Written(relu))
    maps = found("guided_backpropagation", model)
    np.testing.assert_allclose(maps, guided_by_hand(model, images()), rtol=1e-9, atol=1e-12)
    assert np.abs(maps - found("gradient", model)).max() > 1e-2


def test_a_relu_with_a_ceiling_guides_too() -> None:
    model = ready(Written(nn.ReLU6()))
    expected = guided_by_hand(model, 3 * images(), top=6)
    maps = found("guided_backpropagation", model, 3 * images())
    np.testing.assert_allclose(maps, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("activation", [nn.GELU(), nn.Hardtanh()])
def test_guided_backpropagation_of_a_network_without_relus_is_refused(activation: Any) -> None:
    with pytest.raises(NoReluError, match="leave guided_backpropagation out"):
        found("guided_backpropagation", ready(convolutional(activation)))


class Mixed(nn.Module):
    """Channels that lie last, as the target may say."""

    def forward(self, channels: Tensor) -> Tensor:
        return channels.permute(0, 2, 3, 1)


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, channels: Tensor) -> Tensor:
        return self.linear(channels.square().mean((1, 2)))


def test_grad_cam_by_hand() -> None:
    """Weights of channels are mean gradients, here of the mean of squares; layouts are read."""
    model = ready(nn.Sequential(nn.Conv2d(3, 4, 1), Mixed(), Head()))
    channels = model[0](images())
    weights = model[2].linear.weight[CLASSES]
    cells = channels[0, 0].numel()
    expected = np.zeros((3, 8, 10))
    for n in range(3):
        for c in range(4):
            weight = float(weights[n, c]) * 2 * float(channels[n, c].mean()) / cells
            expected[n] += weight * channels[n, c].numpy()
    expected = expected.clip(0)
    assert 0.1 < (expected > 0).mean() < 0.9
    for target in (Target("0", layout="nchw"), Target("1", layout="nhwc")):
        maps = found("grad_cam", model, target=target)
        np.testing.assert_allclose(maps, expected, rtol=1e-9, atol=1e-15)


def test_grad_cam_is_as_large_as_the_image_and_interpolated() -> None:
    """Four cells of 4 x 5 px: in the corners their values, halfway between two centres the mean."""
    model = nn.Sequential(nn.AvgPool2d((4, 5)), nn.Flatten(), nn.Linear(4, 1, bias=False)).double()
    nn.init.ones_(model[2].weight)
    cells = torch.tensor([[1.0, 3.0], [5.0, 7.0]], dtype=torch.float64)
    pixels = cells.repeat_interleave(4, 0).repeat_interleave(5, 1)[None, None]
    (found_map,) = saliency(
        "grad_cam", model.eval(), pixels, torch.tensor([0]), NUMBERS[:1], Target("0", layout="nchw")
    )
    assert found_map[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == pytest.approx([1, 3, 5, 7])
    assert found_map[0, 2] == pytest.approx(1) and found_map[0, 7] == pytest.approx(3)
    assert found_map[3:5, 0].tolist() == pytest.approx([2.5, 3.5])


def test_grad_cam_of_a_target_aside_is_refused() -> None:
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.aside = linear(), nn.Conv2d(3, 4, 1)

        def forward(self, pixels: Tensor) -> Tensor:
            self.aside(pixels)
            return self.used(pixels)

    with pytest.raises(InputError, match="no logit depends on target 'aside'"):
        found("grad_cam", ready(Aside()), target=Target("aside", layout="nchw"))


@pytest.mark.parametrize(("size", "stride"), [(3, 2), (1, 2), (4, 3), (3, 1)])
def test_the_gradient_of_a_strided_convolution_is_moved_over_its_phases(
    size: int, stride: int
) -> None:
    """By a plain loop over pixels and moves; with a stride of 1 there are none."""
    model = ready(nn.Sequential(nn.Conv2d(3, 4, size, stride, size // 2), Means(), nn.Linear(4, 3)))
    plain, smooth = (found(name, model) for name in ("gradient", "smooth_strides"))
    expected = np.zeros_like(plain)
    for row, col in np.ndindex(8, 10):
        for down, across in np.ndindex(stride, stride):
            expected[:, row, col] += plain[:, row - down, col - across] / stride**2
    np.testing.assert_allclose(smooth, expected, atol=1e-14)


def test_smoothing_leaves_nothing_of_the_checkerboard_of_strides() -> None:
    """Two odd kernels, where every feature counts as much: constant inside, other than before."""
    model = ready(
        nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1), Means(), nn.Linear(4, 3))
    )
    pixels = images(3, 3, 48, 48)
    plain, smooth = (
        found(name, model, pixels)[:, 8:-8, 8:-8] for name in ("gradient", "smooth_strides")
    )
    assert np.ptp(smooth, axis=(1, 2)).max() < 1e-12 < 1e-3 < np.ptp(plain, axis=(1, 2)).min()


def test_transposed_convolutions_stay_as_they_are() -> None:
    model = ready(nn.Sequential(nn.ConvTranspose2d(3, 1, 3, 2), nn.Flatten(), nn.Linear(357, 3)))
    plain, smooth = (found(name, model) for name in ("gradient", "smooth_strides"))
    np.testing.assert_array_equal(smooth, plain)


@pytest.mark.parametrize("name", SALIENCIES)
def test_batches_change_no_map_and_leave_the_network_and_images_as_they_were(name: str) -> None:
    model = ready(convolutional())
    pixels = images()
    maps = found(name, model, pixels, points=3)
    assert maps.shape == (3, 8, 10) and maps.dtype == np.float64
    for batch_size in (1, 2):
        again = found(name, model, pixels, points=3, batch_size=batch_size)
        np.testing.assert_allclose(again, maps, rtol=1e-9, atol=1e-12)
    assert torch.equal(pixels, images()) and not pixels.requires_grad
    assert not any(map(_has_hooks, model.modules()))


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._backward_hooks or module._forward_pre_hooks)


@pytest.mark.parametrize("name", SALIENCIES)
def test_each_image_has_a_map_of_its_own_class(name: str) -> None:
    model = ready(convolutional())
    maps = found(name, model, points=2)
    others = found(name, model, points=2, classes=torch.tensor([2, 1, 1]))
    np.testing.assert_array_equal(others[[0, 2]], maps[[0, 2]])
    assert np.abs(others[1] - maps[1]).max() > 1e-6


def test_only_grad_cam_is_never_negative() -> None:
    signed = {name for name in SALIENCIES if found(name, ready(convolutional())).min() < 0}
    assert signed == SALIENCIES.keys() - {"grad_cam"}


def test_a_gradient_that_is_not_finite_is_refused_with_the_images_number() -> None:
    pixels = images()
    pixels[1] = 0  # where the root has no slope
    model = ready(nn.Sequential(nn.Flatten(), Roots(), nn.Linear(240, 3)))
    with pytest.raises(NonFiniteGradientError, match="image 3:"):
        found("gradient", model, pixels)


class Roots(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.abs().sqrt()


def test_other_saliencies_are_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    fives = probes.Saliency("fives", "us", lambda _model, batch: batch.images.mean(1) * 0 + 5)
    monkeypatch.setitem(SALIENCIES, "fives", fives)
    assert (found("fives", ready(linear())) == 5).all()


@pytest.mark.parametrize("name", ["gradient", "integrated_gradients", "guided_backpropagation"])
def test_maps_are_captums(name: str) -> None:
    from captum import attr as captum  # takes seconds to import

    model = ready(convolutional(nn.ReLU(inplace=True)))
    theirs: dict[str, Callable[[], Tensor]] = {
        "gradient": lambda: captum.Saliency(model).attribute(
            images().requires_grad_(), target=CLASSES, abs=False
        ),
        "integrated_gradients": lambda: (
            3
            * captum.IntegratedGradients(model).attribute(
                images().requires_grad_(), target=CLASSES, n_steps=16, method="riemann_middle"
            )
        ),
        "guided_backpropagation": lambda: captum.GuidedBackprop(model).attribute(
            images().requires_grad_(), target=CLASSES
        ),
    }
    expected = theirs[name]().detach().mean(1).numpy()
    np.testing.assert_allclose(found(name, model, points=16), expected, rtol=1e-9, atol=1e-14)


def test_grad_cam_is_captums() -> None:
    from captum import attr as captum  # takes seconds to import

    model = ready(convolutional())
    coarse = captum.LayerGradCam(model, model[3]).attribute(
        images().requires_grad_(), target=CLASSES, relu_attributions=True
    )
    expected = captum.LayerAttribution.interpolate(coarse, (8, 10), "bilinear")[:, 0].detach()
    maps = found("grad_cam", model, target=Target("3", layout="nchw"))
    np.testing.assert_allclose(maps, expected, rtol=1e-9, atol=1e-14)
