"""Expected sensitivity: closed forms, each operation's Jacobian, and an average over networks."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn
from torch.nn import functional

from deadpixel import sensitivity
from deadpixel.errors import InputError
from deadpixel.imbalance import mean_tile
from deadpixel.networks import calibration
from deadpixel.variances.moments import Moments, through


def _variances(model: nn.Module, size: tuple[int, int], **how: Any) -> np.ndarray:
    """Relative to their mean."""
    variance = sensitivity.expected(model, size, **how) ** 2
    return variance / variance.mean()


def _headed(*modules: nn.Module) -> nn.Sequential:
    """Of which every place of the last map counts the same."""
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _met(length: int, windows: list[tuple[int, int, int]]) -> np.ndarray:
    """How many paths lead from each pixel of a line through windows (kernel, stride, padding)."""
    if not windows:
        return np.ones(length)
    (kernel, stride, padding), *following = windows
    outputs = (length + 2 * padding - kernel) // stride + 1
    behind = _met(outputs, following)
    counts = np.zeros(length + 2 * padding)
    for place in range(outputs):
        for tap in range(kernel):
            counts[place * stride + tap] += behind[place]
    return counts[padding : padding + length]


CHAINS = {
    "7 by 2": [(7, 2, 3)],
    "3 by 2": [(3, 2, 1)],
    "3 by 2 without padding": [(3, 2, 0)],
    "2 by 3, which leaves pixels out": [(2, 3, 0)],
    "7 by 2, 3 by 2, 3 by 1, 3 by 2": [(7, 2, 3), (3, 2, 1), (3, 1, 1), (3, 2, 1)],
}


@pytest.mark.parametrize("windows", CHAINS.values(), ids=[*CHAINS])
def test_convolutions_count_the_windows_that_meet_a_pixel_and_chains_multiply_out(windows):
    """Fig. 2 of the paper, along rows and along columns of another length."""
    model = _headed(*(nn.Conv2d(3, 3, k, s, p) for k, s, p in windows))
    counts = np.outer(_met(37, windows), _met(44, windows))
    assert np.allclose(_variances(model, (37, 44)), counts / counts.mean(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("kernels", [[4], [2, 8], [4, 4, 2]])
def test_even_kernels_that_their_stride_divides_see_all_pixels_equally(kernels):
    model = _headed(*(nn.Conv2d(3, 3, kernel, 2, kernel // 2 - 1) for kernel in kernels))
    inside = _variances(model, (96, 96))[32:64, 32:64]
    assert np.ptp(inside) < 1e-12


def test_the_pattern_repeats_after_the_product_of_the_strides_and_not_before():
    model = _headed(nn.Conv2d(3, 3, 3, 2, 1), nn.MaxPool2d(3, 2, 1), nn.Conv2d(3, 3, 5, 3, 2))
    inside = _variances(model, (96, 96))[24:72, 24:72]
    assert np.allclose(inside[12:], inside[:-12], rtol=1e-12)
    for period in (2, 3, 4, 6):
        assert np.ptp(inside[period:] - inside[:-period]) > 0.1


def test_dilated_grouped_and_depthwise_convolutions_meet_pixels_by_their_taps():
    dilated = _headed(nn.Conv2d(3, 3, 3, 3, 2, dilation=2))
    assert sorted({*_variances(dilated, (36, 36))[9:27, 18].round(9)}) != [1.0]
    plain = _headed(nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1))
    for groups in (2, 6):
        grouped = _headed(nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1, groups=groups))
        expected = sensitivity.expected(plain, (32, 32))
        assert np.allclose(sensitivity.expected(grouped, (32, 32)), expected, rtol=1e-12)


class Only(nn.Module):
    """One linear operation and no weights, so that its Jacobian can be computed."""

    def __init__(self, operation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, image: Tensor) -> Tensor:
        return self.operation(image).flatten(1)


FILTER = torch.tensor([[1.0, 2, 1], [0, 3, 1], [1, 1, 1]])[None, None].repeat(3, 1, 1, 1)
MASK = torch.randn(7, 9, generator=torch.Generator().manual_seed(0))
OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "average pool": lambda x: functional.avg_pool2d(x, 3, 2, 1),
    "average pool of what there is": lambda x: functional.avg_pool2d(
        x, 3, 2, 1, ceil_mode=True, count_include_pad=False
    ),
    "average pool in ceil mode": lambda x: functional.avg_pool2d(x, (2, 3), 2, ceil_mode=True),
    "average pool with a divisor": lambda x: functional.avg_pool2d(x, 2, divisor_override=3),
    "adaptive average pool": lambda x: functional.adaptive_avg_pool2d(x, (3, 4)),
    "bilinear": lambda x: functional.interpolate(x, size=(5, 12), mode="bilinear"),
    "nearest": lambda x: functional.interpolate(x, scale_factor=2.0, mode="nearest"),
    "mean over places": lambda x: x.mean((2, 3)),
    "mean over rows, kept": lambda x: x.mean(2, keepdim=True),
    "mean over columns and colours": lambda x: x.mean((3, 1)),
    "sum": lambda x: x.sum(-1),
    "slices, concatenated": lambda x: torch.cat(
        [x[:, :, ::2], x[:, 1:2, 1::2].expand(1, 3, 3, 9), torch.ones(1, 3, 2, 9)], 2
    ),
    "nothing, concatenated": lambda x: torch.cat([x[:, :, :0] * 2, x[:, :, 3:]], 2),
    "stacked": lambda x: (
        torch.stack([x[:, :, :3], x[:, :1, 4:].expand(1, 3, 3, 9), torch.ones(1, 3, 3, 9)], -2)
        * torch.arange(1.0, 4)[:, None]
    ),
    "stacked before all": lambda x: torch.stack([x[0, :, ::2], x[0, :, 3:]])[None],
    "columns of windows": lambda x: functional.unfold(x, (3, 2), stride=2, padding=(1, 0)),
    "constant weights on the left": lambda x: MASK.T.to(x.dtype) @ x,
    "constant weights on the right": lambda x: x @ MASK.T.to(x.dtype),
    "added product": lambda x: torch.addcmul(MASK, MASK, x, value=2),
    "added product, other way": lambda x: torch.addcmul(x[:, :1], x[:, 1:], MASK),
    "chunks": lambda x: torch.cat([x.chunk(3, 1)[0] * 2, x.chunk(3, 1)[2]], 1),
    "split along rows": lambda x: x.split(4, 2)[1],
    "padding": lambda x: functional.pad(x, (1, 2, 0, 3)),
    "reflection": lambda x: functional.pad(x, (2, 1, 3, 1), mode="reflect"),
    "cropping": lambda x: functional.pad(x, (-1, -2, 0, -3)),
    "roll, flip and turn": lambda x: x.roll((1, 2), (2, 3)).flip(3).permute(0, 2, 3, 1),
    "shuffled channels": lambda x: -2 * functional.channel_shuffle(x, 3),
    "windows as channels": lambda x: functional.pixel_unshuffle(x[:, :, :6, :8], 2),
    "windows by views": lambda x: x[:, :, :6].view(1, 3, 3, 2, 9).transpose(2, 3).reshape(1, 6, -1),
    "broadcast": lambda x: x[:, :1] - x[:, 1:, :, :1].expand(1, 2, 7, 5).mean(1)[:, None, :, :1],
    "indices": lambda x: x[:, torch.tensor([0, 0, 2])],
    "a constant map": lambda x: x * MASK + MASK,
    "division": lambda x: torch.add(x[:, :1], x[:, 1:], alpha=2) / 3,
    "a constant divisor": lambda x: x / (MASK.abs() + 1),
    "fixed filter": lambda x: functional.conv2d(x, FILTER.to(x.dtype), stride=2, groups=3),
    "fixed filters": lambda x: functional.conv2d(
        x, FILTER.to(x.dtype) * torch.tensor([1, 2, 3])[:, None, None, None], padding=1, groups=3
    ),
    "a fixed filter of all channels": lambda x: functional.conv2d(
        x, FILTER.to(x.dtype).view(1, 3, 3, 3).expand(3, -1, -1, -1), stride=(2, 1)
    ),
    "a fixed filter, transposed": lambda x: functional.conv_transpose2d(
        x, FILTER.to(x.dtype) * torch.tensor([1, 2, 3])[:, None, None, None], stride=2, padding=1
    ),
    "repetition": lambda x: functional.pad(x, (2, 1, 3, 0), mode="replicate"),
    "one line": lambda x: x.unsqueeze(1).squeeze(1)[:, :, 3],
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=[*OPERATIONS])
def test_a_linear_operation_passes_on_the_squares_of_its_jacobian(operation):
    """By autograd, of gradients that are independent at each of its outputs."""
    image = torch.randn(1, 3, 7, 9, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: Only(operation)(x)[0], image)
    squares = (jacobian[:, 0] ** 2).sum((0, 1)) / len(jacobian) ** 2 / 9
    found = sensitivity.expected(Only(operation), (7, 9)) ** 2
    assert np.allclose(found, squares, rtol=1e-9, atol=1e-15)


def _normal(mean: float, steady: float, power: float) -> Moments:
    return Moments(
        *(torch.tensor([number], dtype=torch.float64) for number in (mean, steady, power))
    )


def test_a_relu_of_normal_values_makes_their_means_and_halves_their_gradients():
    moments, slope = through(_normal(0, 0, 1), torch.relu)
    expected = [(2 * np.pi) ** -0.5, 1 / (2 * np.pi), 0.5]
    assert np.allclose([float(part) for part in moments], expected, rtol=1e-5)
    assert float(slope) == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("function", [functional.silu, functional.relu6, torch.sigmoid, torch.exp])
def test_moments_behind_an_activation_are_integrals_over_channels_and_places(function):
    """By adaptive quadrature, and by Monte Carlo of the means of channels."""
    moments, slope = through(_normal(0.3, 0.5, 1.1), function)
    x = torch.linspace(-8, 8, 200001, dtype=torch.float64, requires_grad=True)
    values = function(0.3 + np.sqrt(1.1 - 0.09) * x)
    (slopes,) = torch.autograd.grad(values.sum(), x)
    density = stats.norm.pdf(x.detach())
    values = values.detach().numpy()
    mean, power = (
        integrate.trapezoid(part * density, dx=16 / 200000) for part in (values, values**2)
    )
    squared_slope = integrate.trapezoid(slopes.numpy() ** 2 * density, dx=16 / 200000) / 1.01
    assert np.allclose([float(moments.mean), float(moments.power)], [mean, power], rtol=2e-3)
    assert float(slope) == pytest.approx(squared_slope, rel=5e-3)
    generator = torch.Generator().manual_seed(0)
    channels = 0.3 + 0.41**0.5 * torch.randn(4000, 1, generator=generator, dtype=torch.float64)
    places = 0.6**0.5 * torch.randn(1, 2000, generator=generator, dtype=torch.float64)
    steady = (function(channels + places).mean(1) ** 2).mean()
    assert float(moments.steady) == pytest.approx(float(steady), rel=0.1)


@pytest.mark.parametrize("function", [torch.sigmoid, functional.hardtanh, functional.hardswish])
def test_an_activation_that_saturates_at_once_has_no_pole(function):
    """Most of its slope is at a few nodes where values are 80 times as wide as it."""
    assert through(_normal(0, 3200, 6400), function)[1].isfinite()


@pytest.mark.parametrize("function", [torch.clone, torch.neg])
def test_the_largest_of_nine_is_where_order_statistics_say(function):
    """Harter, "Expected values of normal order statistics", Biometrika 48, 1961: 1.48501."""
    moments, _ = through(_normal(0, 0, 1), function, largest_of=9)
    assert float(moments.mean) == pytest.approx(1.48501, abs=2e-5)


def test_the_larger_of_two_lengths_is_no_length_of_the_larger():
    """Its mean is 2 / sqrt(pi), in polar coordinates, and its mean square 1 + 2 / pi."""
    moments, slope = through(_normal(0, 0, 1), torch.abs, largest_of=2)
    expected = [2 / np.pi**0.5, 1 + 2 / np.pi, 1]
    found = [float(part) for part in (moments.mean, moments.power, slope)]
    assert np.allclose(found, expected, rtol=1e-5)


def test_a_smallest_value_is_as_far_below_the_mean_as_a_largest_is_above():
    """A pool of the negative of what is symmetric is a pool of it."""
    smallest, negative = (
        sensitivity.expected(
            Only(lambda x, way=way: (-functional.max_pool2d(way(x), 2)).relu()), (8, 8)
        )
        for way in (torch.neg, torch.clone)
    )
    assert np.allclose(smallest, negative, rtol=1e-9)


def test_behind_a_relu_the_largest_values_of_windows_have_the_steepest_slope():
    """Of two values one is positive with a chance of 3 / 4, and each is the largest in half."""
    pooled = _headed(nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d((1, 2)))
    plain = _headed(nn.BatchNorm2d(3), nn.ReLU())
    ratio = sensitivity.expected(pooled, (8, 8)) ** 2 / sensitivity.expected(plain, (8, 8)) ** 2
    assert np.allclose(ratio, 4 * (3 / 4) / 2 / (1 / 2), rtol=1e-3)


def test_batch_norms_behind_relus_make_gradients_grow():
    """By pi / (pi - 1) at each, as Yang et al. (ICLR 2019) derived."""
    block = [nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()]
    shallow, deep = (_headed(*block * number, nn.Conv2d(3, 3, 1)) for number in (1, 3))
    shallow, deep = (sensitivity.expected(model, (8, 8)) ** 2 for model in (shallow, deep))
    assert np.allclose(deep / shallow, (np.pi / (np.pi - 1)) ** 2, rtol=1e-3)


@pytest.mark.parametrize("layers", [42, 60])
def test_each_of_many_layers_without_norms_halves_gradients(layers):
    """However small they get."""
    block = [nn.Conv2d(3, 3, 1), nn.ReLU()]
    shallow, deep = (_headed(*block * number, nn.Conv2d(3, 3, 1)) for number in (2, layers))
    shallow, deep = (sensitivity.expected(model, (8, 8)) ** 2 for model in (shallow, deep))
    assert np.allclose(deep / shallow, 0.5 ** (layers - 2), rtol=1e-9)


class Weighed(nn.Module):
    """Two channels behind ReLUs, added with weights 1 and 2, and normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.behind = nn.BatchNorm2d(3), nn.BatchNorm2d(1)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.before(image).relu()
        return self.behind(torch.add(maps[:, :1], maps[:, 1:2], alpha=2)).flatten(1)


def test_a_norm_behind_a_sum_divides_by_the_variance_of_all_addends():
    """Of ReLUs it is (1 + 4) (1 / 2 - 1 / 2 pi), and the gradients of both are (1 + 4) / 2."""
    found = sensitivity.expected(Weighed(), (4, 4)) ** 2
    assert np.allclose(found, np.pi / (np.pi - 1) / 16**2 / 9, rtol=1e-5)


@pytest.mark.parametrize(("joined", "sign"), [(torch.add, 1), (torch.sub, -1)])
def test_a_gate_passes_on_the_mean_square_of_the_other_factor(joined, sign):
    """Of two ReLUs: 1 + 1 / pi added, 1 - 1 / pi subtracted; each gets half of what arrives."""
    model = Only(lambda x: joined(x[:, :1].relu(), x[:, 1:2].relu()) * x[:, 2:])
    found = sensitivity.expected(model, (4, 4)) ** 2
    assert np.allclose(found, (2 + sign / np.pi) / 16**2 / 9, rtol=1e-5)


def test_an_added_product_is_a_sum_and_a_product():
    def parted(x: Tensor) -> tuple[Tensor, ...]:
        return x[:, :1].relu(), x[:, 1:2].relu(), x[:, 2:].relu()

    def at_once(x: Tensor) -> Tensor:
        one, two, three = parted(x)
        return torch.addcmul(one, two, three, value=2) * x

    def apart(x: Tensor) -> Tensor:
        one, two, three = parted(x)
        return (one + 2 * (two * three)) * x

    found, truth = (sensitivity.expected(Only(way), (4, 4)) for way in (at_once, apart))
    assert np.allclose(found, truth, rtol=1e-12)


class Scaled(nn.Module):
    """A layer scale as it is before training, and a position embedding."""

    def __init__(self, at_once: bool = False) -> None:
        super().__init__()
        self.at_once = at_once
        self.scale, self.place = (nn.Parameter(torch.full((3, 1, 1), 1e-6)) for _ in range(2))

    def forward(self, image: Tensor) -> Tensor:
        if self.at_once:
            return torch.addcmul(self.place, self.scale, image)
        return image * self.scale + self.place


def test_parameters_count_as_one_where_they_multiply_and_as_nothing_where_they_are_added():
    models = _headed(nn.ReLU()), *(_headed(Scaled(way), nn.ReLU()) for way in (False, True))
    plain, *scaled = (sensitivity.expected(model, (4, 4)) for model in models)
    assert all(np.array_equal(found, plain) for found in scaled)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
def test_padded_channels_keep_their_own_variances(mode):
    """A norm takes away what each was multiplied by."""

    def normalised(scale: float) -> np.ndarray:
        def padded(x: Tensor) -> Tensor:
            x = functional.pad(torch.cat([x[:, :1], scale * x[:, 1:]], 1), (1, 1, 1, 1), mode)
            return functional.batch_norm(x, torch.zeros(3), torch.ones(3))[:, 1:]

        return sensitivity.expected(Only(padded), (8, 8))

    assert np.allclose(normalised(1), normalised(3), rtol=1e-12)


class Tokens(Scaled):
    """With a class token before them, which a norm behind must not divide by zero."""

    def forward(self, image: Tensor) -> Tensor:
        tokens = image.flatten(2).transpose(1, 2)
        first = self.place.view(1, 1, 3)
        return functional.layer_norm(torch.cat([first, tokens], 1), (3,)).mean(1)


def test_a_class_token_is_taken_for_one_of_the_tokens():
    """17 of them are averaged, each of variance one."""
    found = sensitivity.expected(Tokens(), (4, 4)) ** 2
    assert np.allclose(found, 3 / 3**2 / 17**2 / 9, rtol=1e-12)


def test_a_prelu_has_the_slope_that_pytorch_gives_it():
    plain, bent = _headed(), _headed(nn.PReLU())
    ratio = (sensitivity.expected(bent, (4, 4)) / sensitivity.expected(plain, (4, 4))) ** 2
    assert np.allclose(ratio, (1 + 0.25**2) / 2, rtol=1e-12)


@pytest.mark.parametrize(
    "weights", [[nn.Conv2d(3, 3, 1), nn.Flatten()], [nn.Flatten(), nn.Linear(48, 48)]]
)
def test_behind_weights_a_relu_is_open_in_half_of_the_channels(weights):
    """Whatever the mean of the values before them."""
    plain, opened = (nn.Sequential(nn.ReLU(), *weights, *last) for last in ([], [nn.ReLU()]))
    ratio = (sensitivity.expected(opened, (4, 4)) / sensitivity.expected(plain, (4, 4))) ** 2
    assert np.allclose(ratio, 0.5, rtol=2e-3)


def test_a_linear_layer_has_weights_of_one_over_its_inputs():
    """Of 48; the mean of 5 logits has a fifth of the variance of one."""
    found = sensitivity.expected(nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), (4, 4)) ** 2
    assert np.allclose(found, 3 / 48 / 5 / 9, rtol=1e-12)


def test_a_filter_that_is_known_keeps_the_means_of_channels_and_averages_what_varies():
    """Behind weights and a ReLU these are 1 / 2 pi and the rest of 1 / 2, and both mean squares."""
    steady, power = 1 / (2 * np.pi), 0.5
    squares, total = float((FILTER[0] ** 2).sum()), float(FILTER[0].sum())
    filtered = total**2 * steady + squares * (power - steady)

    def normalised(blurred: bool) -> np.ndarray:
        def joined(x: Tensor) -> Tensor:
            x = functional.conv2d(x, FILTER, groups=3) if blurred else x
            return functional.layer_norm(x, x.shape[1:])

        model = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 3, 1), Only(joined))
        return sensitivity.expected(model, (12, 12)) ** 2

    ratio = normalised(blurred=True)[6, 6] / normalised(blurred=False)[6, 6]
    assert ratio == pytest.approx(squares / filtered * power * 144**2 / 100**2, rel=1e-4)


def test_transposed_convolutions_have_the_fan_in_of_their_outputs():
    """Of one tap of 2 by 2, and 3 channels; each pixel is seen by 4 of 64 places."""
    model = _headed(nn.ConvTranspose2d(3, 3, 2, 2))
    found = sensitivity.expected(model, (4, 4)) ** 2
    assert np.allclose(found, 3 * (4 * 3 / 3) / 64**2 / 9 / 9, rtol=1e-12)


def _normalised_behind_weights(way: Callable[[Tensor], Tensor]) -> np.ndarray:
    """Whose means differ between channels."""

    def normalised(x: Tensor) -> Tensor:
        x = way(x)
        return functional.layer_norm(x, x.shape[1:])

    model = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 1), Only(normalised))
    return sensitivity.expected(model, (8, 8))


def test_a_place_behind_a_fixed_transposed_filter_meets_the_taps_of_its_residue():
    """A kernel of 2 by 2 ones, of stride 2, repeats each place."""
    ones = torch.ones(4, 1, 2, 2)
    found = _normalised_behind_weights(
        lambda x: functional.conv_transpose2d(x, ones, stride=2, groups=4)
    )
    truth = _normalised_behind_weights(lambda x: functional.interpolate(x, scale_factor=2.0))
    assert np.allclose(found, truth, rtol=1e-12)


WEIGHT = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))


def test_a_fixed_transposed_filter_of_stride_one_is_the_turned_filter():
    of_groups = [part.transpose(0, 1).flip(2, 3) for part in WEIGHT.split(2)]
    found = _normalised_behind_weights(
        lambda x: functional.conv_transpose2d(x, WEIGHT, padding=1, groups=2)
    )
    truth = _normalised_behind_weights(
        lambda x: functional.conv2d(x, torch.cat(of_groups), padding=1, groups=2)
    )
    assert np.allclose(found, truth, rtol=1e-12)


def test_a_dilated_transposed_filter_is_one_with_zeros_between_its_taps():
    dense = torch.zeros(4, 3, 5, 5)
    dense[..., ::2, ::2] = WEIGHT
    found = _normalised_behind_weights(
        lambda x: functional.conv_transpose2d(x, WEIGHT, stride=2, dilation=2)
    )
    truth = _normalised_behind_weights(lambda x: functional.conv_transpose2d(x, dense, stride=2))
    assert np.allclose(found, truth, rtol=1e-12)


@pytest.mark.parametrize(
    "norm", [lambda x: functional.layer_norm(x, x.shape[1:]), lambda x: functional.group_norm(x, 3)]
)
def test_layer_and_group_norms_divide_by_what_varies_around_their_mean(norm):
    """Behind a ReLU that is 1 / 2 - 1 / 2 pi."""
    found = sensitivity.expected(Only(lambda x: norm(x.relu())), (4, 4)) ** 2
    assert np.allclose(found, np.pi / (np.pi - 1) * 3 / 48**2 / 9, rtol=1e-5)


def test_a_max_pool_chooses_among_the_places_that_there_are():
    """Of a window of 3 by 3 that lies in the corner, 4."""
    found = sensitivity.expected(Only(lambda x: functional.max_pool2d(x, 3, 2, 1)), (8, 8)) ** 2
    assert found[0, 0] / found[4, 4] == pytest.approx(9 / 4, rel=1e-12)


@pytest.mark.parametrize(
    "largest",
    [
        lambda x: x.view(1, 3, 4, 2, 3, 3).amax((3, 5)),
        lambda x: x.view(1, 3, 4, 2, 3, 3).amax((-1, 3), keepdim=True),
        lambda x: x.view(1, 3, 4, 2, 3, 3).transpose(3, 4).flatten(4).max(4)[0],
    ],
)
def test_the_largest_along_dimensions_is_that_of_a_window(largest):
    """The values themselves count where they are multiplied."""

    def squared(y: Tensor) -> Tensor:
        return y * y.relu()

    found = sensitivity.expected(Only(lambda x: squared(largest(x))), (8, 9))
    pooled = sensitivity.expected(Only(lambda x: squared(functional.max_pool2d(x, (2, 3)))), (8, 9))
    assert np.allclose(found, pooled, rtol=1e-12)


@pytest.mark.parametrize("largest", [lambda x: x.amax(3), lambda x: x.max(3, keepdim=True)[0]])
def test_the_largest_behind_a_relu_has_the_steepest_slope(largest):
    found = sensitivity.expected(Only(lambda x: largest(x.relu())), (8, 2))
    pooled = Only(lambda x: functional.max_pool2d(x.relu(), (1, 2)))
    assert np.allclose(found, sensitivity.expected(pooled, (8, 2)), rtol=1e-12)


COPIES: dict[str, Callable[[Tensor], Tensor]] = {
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "channels last by name": lambda x: x.to(memory_format=torch.channels_last),
    "another precision and back": lambda x: x.double().to(x),
    "a device and a precision": lambda x: x.double().to(x.device, torch.float32),
    "a clone": torch.clone,
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=[*COPIES])
def test_a_copy_in_another_layout_or_precision_is_what_it_was_copied_from(copied):
    """Of an activation as well, whose largest is not that of normal values, and of a statistic."""

    def built(copied: Callable[[Tensor], Tensor]) -> nn.Module:
        def normalised(x: Tensor) -> Tensor:
            x = functional.max_pool2d(copied(x.relu()), 2)
            return x / copied((x * x).mean((1, 2, 3), keepdim=True)).sqrt()

        return nn.Sequential(nn.Conv2d(3, 4, 3), Only(normalised))

    found, truth = (sensitivity.expected(built(way), (8, 8)) for way in (copied, lambda x: x))
    assert np.allclose(found, truth, rtol=1e-12)


ALL = (1, 2, 3)
BY_HAND: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "rsqrt": (lambda x: x * torch.rsqrt(x.pow(2).mean(ALL, keepdim=True) + 1e-9), 2),
    "power": (lambda x: x * x.square().mean(ALL, keepdim=True).add_(1e-9).pow(-0.5), 2),
    "divided by a root": (lambda x: x / (x * x).mean(ALL, keepdim=True).clamp(1e-9).sqrt(), 2),
    "PyTorch's": (lambda x: functional.rms_norm(x, x.shape[1:]), 2),
    "length": (lambda x: functional.normalize(x.flatten(1)) * 48**0.5, 2),
    "length of all": (lambda x: x / x.norm() * 48**0.5, 2),
    "root of a sum": (lambda x: x / (x**2).sum(ALL, keepdim=True) ** 0.5 * 48**0.5, 2),
    "variance": (lambda x: x * (x.var(ALL, keepdim=True) + 1e-9).rsqrt(), 2 * np.pi / (np.pi - 1)),
    "deviation": (lambda x: x / x.std(), 2 * np.pi / (np.pi - 1)),
}


@pytest.mark.parametrize(("norm", "gain"), BY_HAND.values(), ids=[*BY_HAND])
def test_norms_by_hand_divide_by_a_statistic_whose_gradients_are_left_out(norm, gain):
    """Behind a ReLU, which halves gradients: its mean square is 1 / 2."""
    found = sensitivity.expected(Only(lambda x: norm(x.relu())), (4, 4)) ** 2
    assert np.allclose(found, gain / 2 * 3 / 48**2 / 9, rtol=1e-5)


def _over_channels(x: Tensor) -> Tensor:
    """PyTorch's layer norm."""
    return functional.layer_norm(x.movedim(1, 3), x.shape[1:2]).movedim(3, 1)


def _of_squares(x: Tensor, dims: tuple[int, ...], last: bool = False) -> Tensor:
    x = x.movedim(1, 3) if last else x
    centred = x - x.mean(dims, keepdim=True)
    found = centred / (centred.pow(2).mean(dims, keepdim=True) + 1e-12).sqrt()
    return found.movedim(3, 1) if last else found


def _of_variance(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return (x - x.mean(dims, keepdim=True)) / (x.var(dims, keepdim=True) + 1e-12).sqrt()


NORMS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "ConvNeXt's": (lambda x: _of_squares(x, (1,)), _over_channels),
    "channels last": (lambda x: _of_squares(x, (3,), last=True), _over_channels),
    "variance of channels": (lambda x: _of_variance(x, (1,)), _over_channels),
    "squares of places": (lambda x: _of_squares(x, (2, 3)), functional.instance_norm),
    "variance of places": (lambda x: _of_variance(x, (2, 3)), functional.instance_norm),
    "variance of all": (
        lambda x: (x - x.mean()) / x.std(),
        lambda x: functional.layer_norm(x, x.shape[1:]),
    ),
}


@pytest.mark.parametrize(("by_hand", "own"), NORMS.values(), ids=[*NORMS])
def test_norms_by_hand_that_take_the_mean_away_are_pytorchs_own(by_hand, own):
    """Behind weights and a ReLU, where means of channels differ."""

    def built(norm: Callable[[Tensor], Tensor]) -> nn.Module:
        before = [nn.ReLU(), nn.Conv2d(3, 4, 1), nn.ReLU()]
        return nn.Sequential(*before, Only(lambda x: norm(x).relu()))

    found, truth = (sensitivity.expected(built(norm), (4, 4)) for norm in (by_hand, own))
    assert np.allclose(found, truth, rtol=1e-9)


@pytest.mark.parametrize(
    "taken", [lambda x, m: torch.sub(x, m, alpha=2), lambda x, m: m - x, lambda x, m: x + m]
)
def test_what_does_not_take_the_own_mean_away_is_a_sum(taken):
    """The gradient of a mean is spread over its four places."""
    own = Only(lambda x: taken(x, x.mean((2, 3), keepdim=True)))
    factor = float(taken(torch.zeros(()), torch.ones(()))) ** 2
    found = sensitivity.expected(own, (2, 2)) ** 2
    assert np.allclose(found, (1 + factor / 4) * 3 / 12**2 / 9, rtol=1e-12)


@pytest.mark.parametrize("function", [torch.sqrt, torch.rsqrt, lambda y: y.pow(0.5)])
def test_a_root_of_what_is_no_statistic_is_an_activation(function):
    found = sensitivity.expected(Only(lambda x: function(x / 50 + 1)), (4, 4)) ** 2
    assert np.allclose(found, 0.01**2 * 3 / 48**2 / 9, rtol=2e-2)


@pytest.mark.parametrize("function", [torch.exp, lambda y: y.pow(2) / 2 + y])
def test_what_is_no_root_of_a_statistic_is_an_activation(function):
    found = sensitivity.expected(Only(lambda x: function(x.mean(ALL, keepdim=True))), (4, 4)) ** 2
    assert np.allclose(found, 3 / 48**2 / 9, rtol=5e-2)


def test_a_product_of_two_maps_varies_by_as_many_products_as_it_sums():
    """6 of variance one each; each entry of either factor is in 6 sums."""
    model = Only(lambda x: functional.layer_norm(x[:, 0] @ x[:, 1], (6,)))
    found = sensitivity.expected(model, (6, 6)) ** 2
    assert np.allclose(found, 2 / 36**2 / 9, rtol=1e-12)


class Branches(nn.Module):
    """All that gives one path a weight beside another: shortcut, gate, groups, concatenation."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = self._block(3, width, 3, 1)
        self.deep = nn.Sequential(
            self._block(width, width, 3, 2, groups=4),
            nn.ReLU(),
            self._block(width, width, 1, 1),
        )
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width, 1, bias=False), nn.Sigmoid()
        )
        self.shortcut = self._block(width, width, 1, 2)
        self.side = nn.Sequential(nn.MaxPool2d(2, 2), self._block(width, width, 1, 1))
        self.norm = nn.BatchNorm2d(2 * width)
        self.last = self._block(2 * width, width, 1, 1)
        self.head = nn.Linear(width, 8, bias=False)

    @staticmethod
    def _block(before: int, after: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
        convolution = nn.Conv2d(
            before, after, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        nn.init.normal_(convolution.weight)
        return nn.Sequential(convolution, nn.BatchNorm2d(after))

    def forward(self, image: Tensor) -> Tensor:
        stem = self.stem(image).relu()
        deep = self.deep(stem)
        deep = deep * self.gate(deep) * 2
        joined = (deep + self.shortcut(stem)).relu()
        every = self.norm(torch.cat([joined, self.side(stem)], 1))
        return self.head(self.last(every.relu()).relu().mean((2, 3)))


def _measured(size: int, networks: int, images: int) -> np.ndarray:
    """Mean squared gradients (H, W) of many networks, each of mean one."""
    total = np.zeros((size, size))
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(networks):
            model = Branches()
            noise = torch.randn(images, 3, size, size, generator=generator)
            calibration.calibrate(model, [noise], device=torch.device("cpu"))
            noise.requires_grad_()
            (gradient,) = torch.autograd.grad(model(noise).mean(1).sum(), noise)
            squares = (gradient.mean(1).double() ** 2).mean(0).numpy()
            total += squares / squares.mean()
    return total / networks


@pytest.mark.slow
def test_random_networks_are_as_sensitive_as_expected_on_average():
    """With a wrong weight of any branch the pattern of two would have another contrast."""
    expected = mean_tile(_variances(Branches(), (16, 16)), 2)
    measured = mean_tile(_measured(16, 150, 4), 2)

    assert np.abs(expected - measured).max() < 0.03


class Attention(nn.Module):
    """Of places of a map in a row, with a mask or without."""

    def __init__(self, mask: Tensor | None = None) -> None:
        super().__init__()
        self.project = nn.Linear(3, 12)
        self.mask = mask

    def forward(self, image: Tensor) -> Tensor:
        query, key, value = self.project(image.flatten(2).transpose(1, 2)).chunk(3, 2)
        scores = query @ key.transpose(1, 2) / 2
        if self.mask is not None:
            scores = scores + (image.new_zeros(1) + self.mask)
        return (scores.softmax(2) @ value).transpose(1, 2).unflatten(2, image.shape[2:])


def test_attention_averages_over_what_no_mask_hides():
    """So a causal mask gives the first place the sum of 1 / t squared over all places t."""
    size, places = (1, 6), np.arange(1, 7)
    mask = torch.full((6, 6), -100.0).triu(1)
    masked = _variances(_headed(Attention(mask)), size)[0]
    counts = np.array([(1 / places[place:] ** 2).sum() for place in range(6)])
    assert np.allclose(masked, counts / counts.mean(), rtol=1e-12)
    assert np.allclose(_variances(_headed(Attention()), size), 1, rtol=1e-12)


class InWindows(nn.Module):
    """A module applied to windows of 4 x 4 px of a map, each as an image of its own."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: Tensor) -> Tensor:
        windows = image.unflatten(3, (-1, 4)).unflatten(2, (-1, 4)).permute(0, 2, 4, 1, 3, 5)
        found = self.module(windows.flatten(0, 2)).unflatten(0, windows.shape[:3])
        return found.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


@pytest.mark.parametrize("groups", [1, 3])
def test_windows_of_an_image_may_be_convolved_each_by_itself(groups):
    """They get other gradients, if there are fewer places behind some of them."""
    pixelwise = nn.Conv2d(3, 3, 1, groups=groups)
    whole, in_windows = (
        _variances(_headed(first, nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 5, 3)), (12, 12))
        for first in (pixelwise, InWindows(pixelwise))
    )
    assert np.ptp(whole) > 0.1
    assert np.allclose(whole, in_windows, rtol=1e-12)


def test_a_mean_of_six_places_has_a_sixth_of_their_variance():
    """So a square of it, whose factors count as independent, has 2 / 6 of its gradients."""
    sixths = torch.full((6, 6), 1 / 6)

    def averaged(x: Tensor) -> Tensor:
        return sixths.to(x.dtype) @ x.flatten(2).transpose(1, 2)

    plain, squared = (
        sensitivity.expected(Only(way), (2, 3)) ** 2
        for way in (averaged, lambda x: averaged(x) * averaged(x))
    )
    assert np.allclose(squared / plain, 1 / 3, rtol=1e-6)


def test_attention_may_stand_on_the_right_of_its_values():
    """Channels have slopes of their own behind it, so that their moments count as well."""

    class Squared(Attention):
        def forward(self, image: Tensor) -> Tensor:
            query, key, value = self.project(image.flatten(2).transpose(1, 2)).chunk(3, 2)
            value = torch.cat([value[..., :2], value[..., 2:].relu()], 2)
            found = self.attended((query @ key.transpose(1, 2) / 2).softmax(2), value)
            return (found * found).flatten(1)

    class Left(Squared):
        def attended(self, weights: Tensor, value: Tensor) -> Tensor:
            return (weights @ value).transpose(1, 2)

    class Right(Squared):
        def attended(self, weights: Tensor, value: Tensor) -> Tensor:
            return value.transpose(1, 2) @ weights.transpose(1, 2)

    left, right = (sensitivity.expected(model, (2, 3)) for model in (Left(), Right()))
    assert np.allclose(left, right, rtol=1e-12)


def test_attention_of_pytorchs_own_is_taken_apart():
    class Own(Attention):
        def forward(self, image: Tensor) -> Tensor:
            tokens = image.flatten(2).transpose(1, 2)
            return self.own(tokens, tokens, tokens, need_weights=False)[0].mean(1)

    model = Own()
    model.own = nn.MultiheadAttention(3, 1, batch_first=True)
    assert np.allclose(_variances(model, (2, 3)), 1, rtol=1e-12)


@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_of_pytorchs_own_averages_over_what_no_mask_hides(need_weights):
    class Own(Attention):
        def forward(self, image: Tensor) -> Tensor:
            tokens = image.flatten(2).transpose(1, 2)
            return self.own(tokens, tokens, tokens, attn_mask=self.mask, need_weights=need_weights)[
                0
            ].mean(1)

    mask = torch.full((6, 6), -100.0).triu(1)
    model = Own(mask)
    model.own = nn.MultiheadAttention(3, 1, batch_first=True)
    truth = _variances(_headed(Attention(mask)), (1, 6))
    assert np.allclose(_variances(model, (1, 6)), truth, rtol=1e-12)


@pytest.mark.parametrize("addend", [torch.full((6,), 0.5), MASK[:6, :6], nn.Parameter(MASK[0, :6])])
@pytest.mark.parametrize("in_batches", [False, True])
def test_a_product_that_is_added_to_something_is_a_product_and_a_sum(addend, in_batches):
    class Added(nn.Module):
        def __init__(self, at_once: bool) -> None:
            super().__init__()
            self.addend, self.at_once = addend, at_once
            self.weight = nn.Parameter(torch.ones(6, 6))

        def forward(self, image: Tensor) -> Tensor:
            left, right = image[:, 0].relu(), self.weight
            if not self.at_once:
                found = 3 * (left @ right) + 2 * self.addend
            elif in_batches:
                found = torch.baddbmm(self.addend, left, right[None], beta=2, alpha=3)
            else:
                found = torch.addmm(self.addend, left[0], right, beta=2, alpha=3)[None]
            return (found * image[:, 1]).relu().flatten(1)

    found, truth = (sensitivity.expected(Added(way), (6, 6)) for way in (True, False))
    assert np.allclose(found, truth, rtol=1e-12)


def test_the_target_may_be_a_module_and_its_place():
    """Whose window of 3 by 3, of stride 2 and padding 1, lies around pixel (2 i, 2 j)."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1))
    for target, (row, column) in {
        "0": (8, 8),
        sensitivity.Target("0", layout="nchw", place=(2, 5)): (4, 10),
    }.items():
        found = sensitivity.expected(model, (16, 16), target) > 0
        expected = np.zeros((16, 16), bool)
        expected[row - 1 : row + 2, column - 1 : column + 2] = True
        assert (found == expected).all()


class Parts(nn.Module):
    """Puts out a dict, in which the logits have `name`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.network, self.name = _headed(nn.Conv2d(3, 4, 3, 2, 1)), name

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        found = self.network(image)
        return {"other": found.sum(1), self.name: found}


def test_logits_may_be_a_part_of_what_a_network_puts_out():
    """As `erf` and `receptive_field` read it: what it calls logits, or the part that is named."""
    truth = sensitivity.expected(Parts("logits").network, (16, 16))
    scores = sensitivity.Target("output", part="scores")
    assert np.array_equal(sensitivity.expected(Parts("logits"), (16, 16)), truth)
    assert np.array_equal(sensitivity.expected(Parts("scores"), (16, 16), scores), truth)
    with pytest.raises(InputError, match="puts out a dict of other, scores, no tensor of logits"):
        sensitivity.expected(Parts("scores"), (16, 16))


def test_what_comes_behind_the_target_need_not_be_known():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Only(lambda x: x.cumsum(2)))
    alone = sensitivity.expected(model[:1], (16, 16), "0")
    assert np.array_equal(sensitivity.expected(model, (16, 16), "0"), alone)


def test_images_may_have_another_number_of_colours():
    """The variance of a mean over colours is one over their number."""
    fields = [
        sensitivity.expected(_headed(nn.Conv2d(colours, 4, 3, 2, 1)), (16, 16), channels=colours)
        for colours in (1, 4)
    ]
    assert np.allclose(fields[0], fields[1] * 4, rtol=1e-12)


def test_the_model_is_left_as_it_was_and_its_weights_do_not_count():
    model = Branches(4)
    state = copy.deepcopy(model.state_dict())
    before = sensitivity.expected(model, (16, 16))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert model.training and not model._forward_hooks
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(7)
    dropping = nn.Sequential(nn.Dropout(), model)  # in training mode, as it came
    assert np.array_equal(before, sensitivity.expected(dropping, (16, 16)))


REFUSED = {
    "an operation without a rule": (lambda x: x.cumsum(2), "aten.cumsum.default in module ''"),
    "indices": (lambda x: functional.max_pool2d(x, 2, return_indices=True)[1] * 1.0, "indices"),
    "a dilated pool": (lambda x: functional.max_pool2d(x, 2, dilation=2), "is dilated"),
    "numbers of the image": (lambda x: x * float(x.mean()), "the network fails on images"),
    "weights of the image": (lambda x: functional.conv2d(x, x[:, :, :2, :2]), "image decides"),
    "an addend of the image": (
        lambda x: torch.addmm(x[0, 0], x[0, 1], torch.ones(8, 8))[None],
        "adds",
    ),
    "a pole": (lambda x: x * (1 / (1 + torch.exp(-x))), "aten.reciprocal.default in .* has a pole"),
    "two poles": (torch.tan, "aten.tan.default in module '' has a pole"),
    "what is not defined everywhere": (torch.log1p, "aten.log1p.default in .* is not defined"),
    "places that the image decides": (
        lambda x: x[:, :, x.mean((0, 1, 3)).round().long()],
        "aten.index.Tensor in module ''",
    ),
    "a length of another kind": (lambda x: x / x.norm(p=1), "no Euclidean length"),
    "more maps than images": (lambda x: x[0] * 1.0, "yields 3 maps of 1 images"),
    "no image": (lambda x: torch.zeros(1, 3), "the image does not reach"),
    "no gradient": (lambda x: x.flatten(2).norm(dim=2), "no gradient leads"),
    "what hardly depends on the image": (lambda x: x * 1e-200, "zero everywhere"),
    "an activation of what is not known": (
        lambda x: functional.layer_norm(x * 0, x.shape[1:]).relu(),
        "infinite or NaN",
    ),
    "a norm of constants": (
        lambda x: functional.batch_norm(x * 0, torch.zeros(3), torch.ones(3)),
        "infinite or NaN",
    ),
}


@pytest.mark.parametrize(("operation", "message"), REFUSED.values(), ids=[*REFUSED])
def test_what_is_not_known_is_refused_by_name(operation, message):
    with pytest.raises(InputError, match=message):
        sensitivity.expected(Only(operation), (8, 8))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda: torch.jit.script(nn.ReLU()), "module '0' is scripted"),
        (lambda: nn.LazyConv2d(3, 3), "has lazy modules"),
    ],
)
def test_a_module_that_shows_no_operations_or_has_no_weights_yet_is_refused(module, message):
    with pytest.raises(InputError, match=message):
        sensitivity.expected(nn.Sequential(module()), (8, 8))


class Recurrent(nn.Module):
    """Over the columns of a map."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.scan = kind(3, 3)

    def forward(self, image: Tensor) -> Tensor:
        return self.scan(image.mean(2).permute(2, 0, 1))[0][-1]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_recurrent_module_is_refused_by_name(kind):
    with pytest.raises(InputError, match="module 'scan' is recurrent"):
        sensitivity.expected(Recurrent(kind), (8, 8))


class Written(nn.Module):
    """Writes into a view of its map, or into a constant."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.part = part

    def forward(self, image: Tensor) -> Tensor:
        image = image * 2
        if self.part == "view":
            image[:, :1].relu_()
        elif self.part == "alias":
            (image.data).relu_()
        else:
            image = torch.zeros(image.shape).copy_(image)
        return image.flatten(1)


@pytest.mark.parametrize(
    ("part", "message"), [("view", "written into"), ("alias", "memory"), ("other", "constant")]
)
def test_writing_where_other_tensors_lie_is_refused(part, message):
    with pytest.raises(InputError, match=message):
        sensitivity.expected(Written(part), (8, 8))


def test_operations_in_place_are_those_that_make_new_tensors():
    def built(inplace: bool) -> nn.Sequential:
        modules = [nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(inplace), nn.Conv2d(4, 4, 3, 2, 1)]
        return _headed(*modules, nn.Hardswish(inplace), nn.PReLU(), nn.Conv2d(4, 4, 1))

    new, in_place = (sensitivity.expected(built(inplace), (16, 16)) for inplace in (False, True))
    assert np.array_equal(new, in_place)
