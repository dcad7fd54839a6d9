"""Networks whose weights are computed from others are measured as those with the same weights."""

import copy
import types
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from deadpixel import erf, receptive_field, sensitivity, tiles
from deadpixel.copies import copied
from deadpixel.errors import InputError

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def weight_norm(convolution: nn.Conv2d) -> nn.Module:
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(convolution)


def spectral_norm(convolution: nn.Conv2d) -> nn.Module:
    """After a pass, as while it is trained."""
    normed = nn.utils.spectral_norm(convolution)
    normed(IMAGES)
    return normed


def pruned(convolution: nn.Conv2d) -> nn.Module:
    return prune.l1_unstructured(convolution, "weight", 0.3)


COMPUTED = [weight_norm, spectral_norm, pruned]


def network(change: Callable[[nn.Conv2d], nn.Module]) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(change(nn.Conv2d(3, 4, 3, 2, 1)), nn.ReLU())


def plain(computed: nn.Sequential) -> nn.Sequential:
    """With ordinary weights, those that `computed` computes now."""
    same = network(lambda convolution: convolution)
    computed.eval()(IMAGES)
    for name in ("weight", "bias"):
        values = getattr(computed[0], name).detach()
        setattr(same[0], name, nn.Parameter(values))
    return same


@pytest.mark.filterwarnings("ignore:.*spectral_norm:FutureWarning")
@pytest.mark.parametrize("change", COMPUTED)
def test_weights_that_are_computed_are_measured_as_plain_ones(change):
    model = network(change)
    same = plain(model)
    size = (16, 16)
    assert not isinstance(model[0].weight, nn.Parameter)
    with pytest.raises(RuntimeError, match="Only Tensors created explicitly"):
        copy.deepcopy(model)
    of_one, of_other = (receptive_field.theoretical(m, "0", size) for m in (model, same))
    assert of_one == of_other
    assert tiles.halo(model, "0") == tiles.halo(same, "0")
    assert tiles.input_sizes(model, "0") == tiles.input_sizes(same, "0")
    expected, truth = (sensitivity.expected(m, size) for m in (model, same))
    assert np.array_equal(expected, truth)
    found, measured = (erf.accumulate(m, IMAGES, ["0"])["0"].mean for m in (model, same))
    np.testing.assert_allclose(found, measured, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("keep", [lambda kept: kept, lambda kept: {"all": [kept]}])
def test_what_is_computed_becomes_a_constant_of_its_own(keep):
    model = nn.Linear(2, 3)
    model.kept = keep(2 * model.weight)
    found = copied(model)
    if isinstance(found.kept, dict):
        model.kept, found.kept = model.kept["all"][0], found.kept["all"][0]
    assert torch.equal(found.kept, model.kept)
    assert found.kept.grad_fn is None
    assert found.kept.data_ptr() != model.kept.data_ptr()
    assert found.weight.data_ptr() != model.weight.data_ptr()


def test_others_stand_in_for_what_they_are_named_for():
    model = nn.Linear(2, 3)
    model.twice = 2 * model.weight
    shape = nn.Parameter(model.weight.detach().to("meta"))
    found = copied(model, {id(model.weight): shape})
    assert found.weight is shape
    assert torch.equal(found.bias, model.bias)
    assert torch.equal(found.twice, model.twice)


def test_what_cannot_be_copied_is_the_users_to_mend():
    model = nn.Linear(2, 3)
    vars(model)["kept"] = types.SimpleNamespace(twice=2 * model.weight)
    with pytest.raises(InputError, match=r"cannot be copied \(RuntimeError.* keep nothing in its"):
        receptive_field.theoretical(model, "output")
