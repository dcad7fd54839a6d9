"""Sizes without a blind edge: by arithmetic, and by the sensitivity of either edge."""

import itertools

import numpy as np
import pytest
from torch import Tensor, nn
from torch.nn import functional

from deadpixel import sensitivity
from deadpixel.blind_edge import Unread, even_sides, unread
from deadpixel.errors import InputError
from deadpixel.networks import zoo
from deadpixel.variances.tape import Tape


def headed(*modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def tape(model: nn.Module, *size: int) -> Tape:
    return sensitivity.recorded(model, (size[0], size[1]))[0]


def is_even(model: nn.Module, side: int) -> bool:
    """Whether the sensitivity is its own mirror image, upside down and from left to right."""
    field = sensitivity.expected(model, (side, side))
    return all(
        np.allclose(field, mirror, rtol=1e-9, atol=0) for mirror in (field[::-1], field[:, ::-1])
    )


NETWORKS = {
    "3 by 2, as in ResNets": headed(*(nn.Conv2d(3, 3, 3, 2, 1) for _ in range(3))),
    "even kernels": headed(*(nn.Conv2d(3, 3, 4, 2, 1) for _ in range(3))),
    "odd, then even": headed(nn.Conv2d(3, 3, 3, 2, 1), nn.MaxPool2d(2), nn.AvgPool2d(2)),
    "without padding": headed(nn.Conv2d(3, 3, 3, 2), nn.Conv2d(3, 3, 3), nn.MaxPool2d(3, 2)),
    "in ceil mode": headed(nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d(2, ceil_mode=True)),
    "stride 4 and 3": headed(nn.Conv2d(3, 3, 11, 4, 2), nn.Conv2d(3, 3, 5, 3, 2)),
    "dilated": headed(nn.Conv2d(3, 3, 5, 3, 2, dilation=2), nn.Conv2d(3, 3, 3, 2, 1)),
    "stride 5": headed(nn.Conv2d(3, 3, 7, 5)),
    "a stride along rows": headed(nn.Conv2d(3, 3, 3, (2, 1), 1)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_at_the_sizes_found_the_sensitivity_is_even_and_at_no_other(name):
    model = NETWORKS[name]
    found = even_sides(model, 40)
    assert found is not None
    first, step = found
    even = {side for side in range(40, 76) if is_even(model, side)}
    assert even == {*range(first, 76, step)}


def test_a_window_leaves_what_its_stride_does_not_reach():
    """Of 3 by 2 with padding 1: of 10 rows the padding at the bottom, of 11 columns nothing."""
    model = headed(nn.Conv2d(3, 3, 3, (2, 3), 1), nn.Conv2d(3, 3, 1, (1, 2)))
    # 10 + 2 rows less 3 are 9, and 5 maps' rows; 15 + 2 columns less 3 are 14, and 5
    assert [*unread(tape(model, 10, 15))] == [Unread(1, 2, 1), Unread(1, 3, 2), Unread(3, 2, 0)]


class SideBySide(nn.Module):
    """A shortcut that wants odd sizes beside a pool that wants even ones."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, 2)

    def forward(self, image: Tensor) -> Tensor:
        pooled = functional.max_pool2d(image, 2, ceil_mode=True)
        return (self.conv(image) + pooled).mean((2, 3))


def test_windows_that_want_different_sizes_have_none():
    assert even_sides(SideBySide(), 16) is None


def test_a_network_that_does_not_take_a_size_says_so():
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 3, 3, 2, 1), nn.Linear(3 * 64, 2)

        def forward(self, image: Tensor) -> Tensor:
            return self.head(self.conv(image).flatten(1))

    with pytest.raises(InputError, match="fails on images of shape"):
        even_sides(Fixed(), 16)


@pytest.mark.parametrize(
    ("name", "first", "step"),
    [
        ("resnet18", 225, 32),  # Alsallakh et al.: 2^d k + 1
        ("mobilenet_v2", 225, 32),
        ("vgg11_bn", 224, 32),
        ("squeezenet1_1", 239, 16),
        ("alexnet", 255, 32),
    ],
)
def test_torchvisions_networks(name, first, step):
    model = zoo.structure(name)
    assert even_sides(model, 224) == (first, step)
    assert is_even(model, first) and is_even(model, first + step)
    assert not is_even(model, first - 1)


def test_branches_read_what_the_longest_path_has_strided():
    """Behind a sum of a strided path and one that is pooled to its size."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 3, 4, 4), nn.Conv2d(3, 3, 3, 2, 1)

        def forward(self, image: Tensor) -> Tensor:
            strided = self.first(image)
            pooled = functional.adaptive_avg_pool2d(image, strided.shape[2:])
            return self.last(pooled + strided).mean((2, 3))

    found = [*itertools.islice(unread(tape(Branches(), 24, 24)), 0, None, 2)]
    assert found == [Unread(1, 4, 0), Unread(4, 2, 1)]
    assert even_sides(Branches(), 24) == (28, 8)
