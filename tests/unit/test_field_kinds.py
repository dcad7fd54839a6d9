"""The word for each theoretical field: exact, whole input, upper bound, unknown."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import deform_conv2d, roi_align

from deadpixel import receptive_field
from deadpixel.trf.algebra import UnknownFieldError

SIZE = (24, 20)


class Between(nn.Module):
    """A function between two convolutions, whose fields are 5 x 5 px if it is the identity."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.before = nn.Conv2d(3, 4, 3, padding=1)
        self.after = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return self.after(self.function(self.before(image)))


def _field(function: Callable[[Tensor], Tensor]) -> receptive_field.ReceptiveField:
    return receptive_field.fields(Between(function), ["output"], SIZE)["output"]


def _inverted(x: Tensor) -> Tensor:
    return torch.linalg.inv(x[..., :4, :4] + 9 * torch.eye(4)).mean()


def _moved(x: Tensor) -> Tensor:
    grid = functional.affine_grid(torch.eye(2, 3)[None], list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid + x.mean(1)[..., None], align_corners=False)


def _deformed(x: Tensor) -> Tensor:
    offsets = x.repeat(1, 5, 1, 1)[:, :18]
    return deform_conv2d(x, offsets, torch.ones(4, 4, 3, 3), padding=(1, 1))


def _regions(x: Tensor) -> Tensor:
    return roi_align(x, [torch.tensor([[0.0, 0.0, 8.0, 8.0]])], x.shape[2:])


def _ordered(x: Tensor) -> Tensor:
    return x.gather(1, x.argsort(1))


def _scattered(x: Tensor) -> Tensor:
    return torch.zeros_like(x).scatter(1, x.argsort(1), x)


def _summed(x: Tensor) -> Tensor:
    return x.index_add(1, torch.tensor([0, 0]), x[:, :2])


BOUNDS = {
    "grid_sampler_2d": _moved,
    "deform_conv2d": _deformed,
    "roi_align": _regions,
    "gather": _ordered,
    "index.Tensor": lambda x: x[:, x.mean((0, 2, 3)).argsort()],
    "index_select": lambda x: x.index_select(1, x.mean((0, 2, 3)).argsort()),
    "scatter": _scattered,
    "index_add": _summed,
    "max_pool2d_with_indices": lambda x: functional.max_pool2d(x, 3, 1, 1, return_indices=True)[
        1
    ].float(),
    "convolution.default has parameters": lambda x: functional.conv2d(
        x, x[0, :, :2, :2, None, None].flatten(0, 2)[:, :, None].expand(-1, 4, -1, -1)[:4]
    ),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_what_data_decide_is_an_upper_bound(name: str) -> None:
    """With the operation's name; the field may be the whole image, so it says so."""
    field = _field(BOUNDS[name])
    assert field.kind == "upper bound"
    assert name in field.reason
    assert field.size[0] > 5


EXACT = {
    "weights": lambda x: functional.conv2d(x, torch.ones(4, 4, 1, 1) * x.mean()),
    "biases": lambda x: functional.conv2d(x, torch.ones(4, 4, 1, 1), x.mean((0, 2, 3))),
    "statistics": lambda x: functional.batch_norm(x, x.mean((0, 2, 3)), x.var((0, 2, 3))),
    "affine parameters": lambda x: functional.layer_norm(
        x, x.shape[3:], x.mean().expand(x.shape[3])
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_parameters_made_from_the_whole_image_see_all_of_it(name: str) -> None:
    field = _field(EXACT[name])
    assert (field.kind, field.size, field.reason) == ("whole input", (math.inf, math.inf), "")


@pytest.mark.parametrize("function", [lambda x: x.sort(1).values, lambda x: x.topk(4, 1).values])
def test_what_is_sorted_along_channels_stays_at_its_place(function: Callable) -> None:
    field = _field(function)
    assert (field.kind, field.size) == ("exact", (5.0, 5.0))


def test_the_largest_of_all_places_may_be_anywhere() -> None:
    assert _field(lambda x: x.flatten(2).sort(2).values.view(x.shape)).kind == "whole input"


def test_what_is_filled_or_masked_depends_on_nothing() -> None:
    """Channels that a constant mask fills no longer bring in what they saw."""
    wide = nn.Conv2d(4, 4, 9, padding=4)
    mask = torch.tensor([True, False, True, False]).view(1, 4, 1, 1)

    def masked(fill: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        return _field(lambda x: x + fill(wide(x)).mean(1, True)).size

    assert masked(lambda x: x) == (13.0, 13.0)
    assert masked(lambda x: x.masked_fill(mask, 0)) == (13.0, 13.0)
    assert masked(lambda x: x.masked_fill(mask, 0)[:, ::2]) == (5.0, 5.0)
    assert masked(lambda x: x.clone().masked_fill_(mask, 0)[:, ::2]) == (5.0, 5.0)
    assert masked(lambda x: torch.where(mask, torch.zeros(()), x)[:, ::2]) == (5.0, 5.0)
    assert masked(lambda x: torch.where(mask, x, 0.0)[:, 1::2]) == (5.0, 5.0)
    assert masked(lambda x: x.clone().fill_(2)) == (5.0, 5.0)
    assert masked(lambda x: x.clone().zero_()) == (5.0, 5.0)


def test_a_sum_up_to_a_place_sees_what_comes_before() -> None:
    """Of the central row 12 of 24: from the first one, with its margin, to its own."""
    field = _field(lambda x: x.cumsum(2))
    assert field.kind == "exact"
    assert field.size == (12 + 1 + 2 + 2 - 1, 5.0)


def test_an_unknown_operation_makes_what_follows_unknown_and_nothing_else() -> None:
    """The pass goes on: what comes before, and beside it, keeps its field."""

    def function(x: Tensor) -> Tensor:
        return x + _inverted(x)

    found = receptive_field.fields(Between(function), ["before", "after"], SIZE)
    assert (found["before"].kind, found["before"].size) == ("exact", (3.0, 3.0))
    assert found["after"].kind == "unknown"
    assert "linalg_inv_ex" in found["after"].reason
    assert all(map(math.isnan, (*found["after"].size, *found["after"].center)))
    with pytest.raises(UnknownFieldError, match="linalg_inv_ex"):
        receptive_field.theoretical(Between(function), "after", SIZE)


def test_unknown_is_worse_than_an_upper_bound() -> None:
    field = _field(lambda x: _ordered(x) + _inverted(x))
    assert field.kind == "unknown"


def test_values_that_leave_pytorch_make_the_rest_unknown() -> None:
    model = Between(lambda x: x if x.mean() > 0 else -x)
    found = receptive_field.fields(model, ["before", "after"], SIZE)
    assert [field.kind for field in found.values()] == ["exact", "unknown"]
