"""Folded batch norms against a hand-written loop of the network as it is, one image at a time."""

import copy
import logging

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

import plain
from deadpixel import erf, features
from deadpixel.networks import folding, zoo


class Net(nn.Module):
    """Two convolutions with a norm each, the second of both always to be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)))
        self.rest = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(4, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU())
        self.head = nn.Linear(5, 3)

    @property
    def convolution(self) -> nn.Conv2d:
        return self.stem[0][0]

    def forward(self, image: Tensor) -> Tensor:
        features = self.last(self.rest(self.middle(image)))
        return self.head(features.square().mean((2, 3)))

    def middle(self, image: Tensor) -> Tensor:
        return self.stem(image)


class Reread(Net):
    """The convolution's weight is used by a function, too."""

    def forward(self, image: Tensor) -> Tensor:
        again = functional.conv2d(image, self.convolution.weight, padding=1)
        features = self.last(self.rest(self.stem(image)) + again)
        return self.head(features.square().mean((2, 3)))


class RereadBias(Net):
    def forward(self, image: Tensor) -> Tensor:
        features = self.last(self.rest(self.stem(image)) * self.convolution.bias[:, None, None])
        return self.head(features.square().mean((2, 3)))


class Twice(Net):
    """The convolution is called twice, with a norm of its own each time."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.BatchNorm2d(4)

    def forward(self, image: Tensor) -> Tensor:
        features = self.rest(self.stem(image)) + self.other(self.stem(image.flip(-1)))
        return self.head(self.last(features).square().mean((2, 3)))


class TwiceNormed(Net):
    """The norm is called twice, once behind a convolution."""

    def forward(self, image: Tensor) -> Tensor:
        features = self.rest(self.stem(image))
        return self.head(self.last(self.rest[0](features)).square().mean((2, 3)))


class Branching(Net):
    def forward(self, image: Tensor) -> Tensor:
        features = self.stem(image)
        return self.head(self.last(features + self.rest(features)).square().mean((2, 3)))


class Tied(Net):
    def __init__(self) -> None:
        super().__init__()
        self.tied = nn.Conv2d(3, 4, 3, padding=1)
        self.tied.weight = self.convolution.weight

    def forward(self, image: Tensor) -> Tensor:
        features = self.last(self.rest(self.stem(image)) + self.tied(image))
        return self.head(features.square().mean((2, 3)))


class Listed(Net):
    """The convolution is called by a name that PyTorch does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.known = [self.convolution]

    def middle(self, image: Tensor) -> Tensor:
        return self.known[0](image)


class Scaled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def parametrised() -> Net:
    model = Net()
    parametrize.register_parametrization(model.convolution, "weight", Scaled())
    return model


def own_forward() -> Net:
    model = Net()
    convolution = model.convolution
    plain = convolution.forward
    convolution.forward = lambda image: plain(image).square()
    return model


def hooked(place: str, kind: str, hook) -> Net:
    model = Net()
    getattr(model.get_submodule(place), f"register_{kind}")(hook)
    return model


def square(*arguments):
    """The output of a forward hook, or the input of a pre-hook, squared."""
    last = arguments[-1]
    return (last[0].square(),) if isinstance(last, tuple) else last.square()


def squared(_module, *gradients):
    """What a backward hook makes of the gradients."""
    return tuple(None if g is None else g.square() for g in gradients[0])


BACKWARD, BEFORE = "full_backward_hook", "full_backward_pre_hook"
# The network, its target, and how many norms may be folded.
CASES = {
    "nothing in the way": (Net, "output", 2),
    "the norm is the target": (Net, "rest.0", 2),
    "a container of the norm is the target": (Net, "rest", 2),
    "the convolution is the target": (Net, "stem.0.0", 1),
    "a container that ends in the convolution is": (Net, "stem.0", 1),
    "a container of such a container is": (Net, "stem", 1),
    "its weight is read elsewhere": (Reread, "output", 1),
    "its bias is read elsewhere": (RereadBias, "output", 1),
    "its weight is tied": (Tied, "output", 2),
    "the convolution is called twice": (Twice, "output", 1),
    "the norm is called twice": (TwiceNormed, "output", 1),
    "something else reads its output": (Branching, "output", 1),
    "it has another name": (Listed, "output", 2),
    "its weight is parametrised": (parametrised, "output", 1),
    "it has a forward of its own": (own_forward, "output", 1),
    "hook on the convolution": (lambda: hooked("stem.0.0", "forward_hook", square), "output", 1),
    "hook before it": (lambda: hooked("stem.0.0", "forward_pre_hook", square), "output", 1),
    "hook on a container": (lambda: hooked("stem", "forward_hook", square), "output", 1),
    "hook before the norm": (lambda: hooked("rest.0", "forward_pre_hook", square), "output", 1),
    "hook on the norm": (lambda: hooked("rest.0", "forward_hook", square), "output", 1),
    "hook before its container": (lambda: hooked("rest", "forward_pre_hook", square), "output", 1),
    "backward, convolution": (lambda: hooked("stem.0.0", BACKWARD, squared), "output", 1),
    "backward, container": (lambda: hooked("stem", BACKWARD, squared), "output", 1),
    "backward, norm": (lambda: hooked("rest.0", BACKWARD, squared), "output", 1),
    "before backward": (lambda: hooked("stem.0", BEFORE, squared), "output", 1),
    "hook elsewhere": (lambda: hooked("head", "forward_hook", square), "output", 2),
}


def settled(make) -> nn.Module:
    """The network with the statistics of a trained one, in float64."""
    torch.manual_seed(0)
    model = make()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.1, 3)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    return model.double().eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(4, 3, 9, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(("make", "target", "folded"), CASES.values(), ids=CASES)
def test_folding_changes_no_map(make, target, folded, images, caplog):
    caplog.set_level(logging.INFO, "deadpixel")
    model = settled(make)
    truth = plain.field(model, images, target)
    found = erf.accumulate(model, images, [target], batch_size=2, dtype=torch.float64)[target].mean
    assert np.linalg.norm(found - truth) < 1e-12 * np.linalg.norm(truth)
    assert folding.fold_batch_norms(copy.deepcopy(model), keep=[target]) == folded
    assert not caplog.text, "the rules suffice: nothing was left to the trial"


def test_a_convolution_of_two_names_is_watched_by_either(images):
    model = settled(Net)
    model.alias = model.stem[0]
    assert folding.fold_batch_norms(copy.deepcopy(model), keep=["alias"]) == 1
    found = erf.accumulate(model, images, ["alias"], dtype=torch.float64)["alias"].mean
    truth = plain.field(model, images, "alias")
    assert np.linalg.norm(found - truth) < 1e-12 * np.linalg.norm(truth)


def test_folding_yields_the_same_logits_and_happens_once():
    resnet = zoo.build("resnet18").double()
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    before = resnet(image)
    assert folding.fold_batch_norms(resnet) == 20
    torch.testing.assert_close(resnet(image), before, rtol=1e-12, atol=1e-12)
    assert folding.fold_batch_norms(resnet) == 0


class Branches(Net):
    """What torch.fx cannot trace: the way depends on the image."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image if image.sum() > 0 else -image)


class Remembers(Net):
    """Keeps what it was last called with; while it is traced that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = None

    def forward(self, image: Tensor) -> Tensor:
        self.seen = self.last(self.rest(self.middle(image))).square().mean((2, 3))
        return self.head(self.seen)


def test_what_cannot_be_traced_stays_and_tracing_leaves_nothing_behind(images, caplog):
    caplog.set_level(logging.INFO, "deadpixel")
    model = settled(Branches)
    assert folding.fold_batch_norms(model) == 0
    assert "not folded" in caplog.text and "control flow" in caplog.text
    model = settled(Remembers)
    assert folding.fold_batch_norms(model) == 2
    assert model.seen is None


def test_norms_that_use_the_batch_are_not_folded():
    model = settled(Net)
    model.rest[0].train()
    assert folding.fold_batch_norms(model) == 1
    untracked = settled(Net)
    untracked.rest[0] = nn.BatchNorm2d(4, track_running_stats=False).double().eval()
    assert folding.fold_batch_norms(untracked) == 1


def spoilt_folding(model: nn.Module, *, keep) -> int:
    """A mistake of a ten-millionth, such as no rule would think of."""
    model.stem[0][0].weight.data *= 1 + 1e-7
    return 1


def test_a_folding_that_changes_the_features_is_taken_back(images, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "deadpixel")
    model = settled(Net)
    monkeypatch.setattr(features, "fold_batch_norms", spoilt_folding)
    found = erf.accumulate(model, images, ["output"], dtype=torch.float64)["output"].mean
    truth = plain.field(model, images, "output")
    assert np.linalg.norm(found - truth) < 1e-12 * np.linalg.norm(truth)
    assert len(caplog.messages) == 1 and "it would change output" in caplog.text


class Standardised(nn.Conv2d):
    """Computes with other weights than those it holds."""

    def forward(self, image: Tensor) -> Tensor:
        weight = (self.weight - self.weight.mean()) / self.weight.std()
        return self._conv_forward(image, weight, self.bias)


def test_a_convolution_of_another_class_is_not_folded():
    model = nn.Sequential(Standardised(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))
    assert folding.fold_batch_norms(model.append(nn.BatchNorm2d(4)).eval()) == 1
