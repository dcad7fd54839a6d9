"""Networks that are measured whatever they look like, and those that are refused in one line."""

import logging
import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import plain
from deadpixel import erf
from deadpixel.errors import InputError
from deadpixel.features import features
from deadpixel.targets import Target


class Net(nn.Module):
    """A convolution, a norm, a head, and what is done to the image and to the logits."""

    def __init__(self, before=lambda image: image, after=lambda logits: logits) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 3)
        self.before, self.after = before, after

    def forward(self, image: Tensor):
        return self.after(self.head(self.first(self.before(image)).square().mean((2, 3))))


class Counting:
    """Another result in each call."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: Tensor) -> Tensor:
        self.calls += 1
        return image * self.calls


class FirstBatch:
    """Scales by what the first batch was like."""

    def __init__(self) -> None:
        self.scale = None

    def __call__(self, image: Tensor) -> Tensor:
        if self.scale is None:
            self.scale = image.detach().std()
        return image / self.scale


class Windows(Net):
    """Maps of parts of each image."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(torch.cat([image, image])).unflatten(0, (2, -1)).mean(0)


class Lazy(Net):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.LazyLinear(3)


class Counted(Net):
    """What it counts its calls with cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = (number for number in range(1000))


def boom(image: Tensor) -> Tensor:
    raise KeyError("boom")


def fixed_size(image: Tensor) -> Tensor:
    return image.view(-1, 3, 32, 32)


class Cut(torch.autograd.Function):
    @staticmethod
    def forward(_context, image):
        return image.clone()

    @staticmethod
    def backward(_context, _gradient):
        raise RuntimeError("no way back")


REFUSED = {
    "a dict": (Net(after=lambda y: {"out": y, "aux": y}), "dict of out, aux"),
    "nothing": (Net(after=lambda y: None), "NoneType"),
    "the auxiliary output first": (Net(after=lambda y: (y / 2, y)), "tuple of 2"),
    "no logits": (Net(after=lambda y: y[..., None]), r"\(2, 3, 1\)"),
    "classes": (Net(after=lambda y: y.argmax(1, keepdim=True)), "int64 on cpu: let its forward"),
    "complex": (Net(after=lambda y: torch.complex(y, y)), "torch.complex.*: let its forward"),
    "meta": (Net(after=lambda y: y.to("meta")), "on meta: let its forward"),
    "one for all images": (Net(after=lambda y: y.mean(0, keepdim=True)), "1 maps of 2 images"),
    "detached": (Net(after=lambda y: y.detach()), "no gradient leads from target 'output'"),
    "detached image": (Net(before=lambda x: x.detach()), "no gradient leads"),
    "no_grad": (Net(after=torch.no_grad()(lambda y: y * 2)), "no gradient leads"),
    "no way back": (Net(before=Cut.apply), "cannot be differentiated .RuntimeError: no way back"),
    "dropout": (Net(before=lambda x: functional.dropout(x, 0.1)), "between two passes"),
    "counting": (Net(before=Counting()), "between two passes"),
    "set by the first batch": (Net(before=FirstBatch()), "with the images beside it"),
    "the batch's mean": (Net(before=lambda x: x - x.mean(0)), "with the images beside it"),
    "earlier images": (Net(before=lambda x: x.cumsum(0)), "with the images beside it"),
    "later images": (Net(before=lambda x: x.flip(0).cumsum(0).flip(0)), "the images beside it"),
    "the batch's statistics": (
        Net(before=lambda x: functional.batch_norm(x, None, None, training=True)),
        "with the images beside it",
    ),
    "lazy": (Lazy(), "lazy modules"),
    "no copy": (Counted(), "cannot be copied .TypeError: cannot pickle .generator."),
    "an error": (Net(before=boom), "KeyError: 'boom'"),
    "another size": (Net(before=fixed_size), "choose a size that it takes"),
}


def images() -> Tensor:
    return torch.randn(4, 3, 8, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize(("model", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_has_no_field_is_refused(model, message, dtype):
    with pytest.raises(InputError, match=message) as caught:
        erf.accumulate(model, images(), ["output"], dtype=dtype)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Windows(), "yields 4 maps of 2 images"),
        (Net(before=lambda x: x - x.mean(0)), "target 'first.0' .*with the images beside it"),
        (Net(before=lambda x: x.detach()), "no gradient leads from target 'first.0'"),
    ],
    ids=["windows", "mixing", "detached"],
)
def test_modules_that_have_no_field_are_refused(model, message):
    with pytest.raises(InputError, match=message):
        erf.accumulate(model, images(), ["first.0"])


def test_what_is_put_out_does_not_matter_to_modules():
    model = Net()
    truth = erf.accumulate(model, images(), ["first"])["first"].total
    model.after = lambda logits: {"out": logits}
    assert np.array_equal(erf.accumulate(model, images(), ["first"])["first"].total, truth)


class Viewing(Net):
    """Takes for granted that maps are contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4 * 8 * 6, 3)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.first(image).view(len(image), -1))


class Strided(Net):
    """Reads its maps in the order in which they lie."""

    def forward(self, image: Tensor) -> Tensor:
        found = self.first(image)
        lying = found.as_strided(found.shape, (192, 48, 6, 1))
        return self.head((lying * torch.linspace(0, 1, 48).view(8, 6)).sum((2, 3)))


class Spectral(Net):
    """Complex weights, and a parameter of five dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.gains = nn.Parameter(torch.randn(3, 8, 4, dtype=torch.complex64))
        self.offset = nn.Parameter(torch.randn(1, 1, 3, 8, 6))

    def forward(self, image: Tensor) -> Tensor:
        filtered = torch.fft.irfft2(torch.fft.rfft2(image) * self.gains, s=(8, 6))
        return super().forward(filtered + self.offset[0])


MEASURED = {
    "changes the image": lambda: Net(before=lambda x: x.mul_(2)),
    "views": Viewing,
    "strides": Strided,
    "complex weights": Spectral,
    "half-precision weights": lambda: Net().half(),
}


@pytest.mark.parametrize("make", MEASURED.values(), ids=MEASURED)
def test_what_is_unusual_is_measured(make):
    torch.manual_seed(0)
    model = make()
    found = erf.accumulate(model, images(), ["output"], dtype=torch.float64)["output"].mean
    truth = plain.field(model, images())
    assert np.linalg.norm(found - truth) < 1e-12 * np.linalg.norm(truth)


class FourierLayer(Net):
    """Takes weights of its own precision alone."""

    def __init__(self) -> None:
        super().__init__()
        self.gains = nn.Parameter(torch.randn(3, 3, 8, 4, dtype=torch.complex64))

    def forward(self, image: Tensor) -> Tensor:
        found = torch.einsum("nixy,ioxy->noxy", torch.fft.rfft2(image), self.gains)
        return super().forward(torch.fft.irfft2(found, s=(8, 6)))


def test_complex_weights_are_of_the_precision_asked_for(caplog):
    caplog.set_level(logging.INFO, "deadpixel")
    torch.manual_seed(0)
    model = FourierLayer()
    single, double = (
        erf.accumulate(model, images(), ["output"], dtype=dtype)["output"].mean
        for dtype in (torch.float32, torch.float64)
    )
    assert 0 < np.linalg.norm(single - double) < 1e-5 * np.linalg.norm(double)
    assert "slower" not in caplog.text


def test_weights_without_values_are_named():
    with torch.device("meta"):
        model = Net()
    with pytest.raises(InputError, match=r"cannot be moved to cpu \(NotImpl"):
        erf.accumulate(model, images(), ["output"])


class Keeping(Net):
    """Keeps what a forward pass makes of its weights, which PyTorch does not copy."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = []

    def forward(self, image: Tensor) -> Tensor:
        self.kept.append(super().forward(image))
        return self.kept[-1]


def test_what_keeps_its_results_is_measured_without_them():
    found = []
    for make in (Net, Keeping):
        torch.manual_seed(0)
        model = make()
        model(images())
        found.append(erf.accumulate(model, images(), ["output"])["output"].total)
    assert np.array_equal(*found)


class Casting(Net):
    """Cannot compute in float64."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image.float())


def test_what_casts_to_float32_is_measured_in_it(caplog):
    caplog.set_level(logging.INFO, "deadpixel")
    torch.manual_seed(0)
    model = Casting()
    found = erf.accumulate(model, images(), ["output"])["output"].mean
    truth = plain.field(model, images(), single=True)
    assert np.linalg.norm(found - truth) < 1e-5 * np.linalg.norm(truth)
    assert re.search("not folded, which is slower: in float64 the network fails", caplog.text)
    model.before = lambda image: image - image.mean(0)
    with pytest.raises(InputError, match="with the images beside it"):
        erf.accumulate(model, images(), ["output"])
    with pytest.raises(InputError, match="the network fails"):
        erf.accumulate(model, images(), ["output"], dtype=torch.float64)


class PartlySingle(Net):
    """A part of it computes in float32, whatever comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3, 3, 3))

    def forward(self, image: Tensor) -> Tensor:
        found = functional.conv2d(image.float(), self.weight.float(), padding=1)
        return super().forward(found.to(image.dtype))


def test_what_computes_in_float32_in_part_is_measured_in_it(caplog, monkeypatch):
    """How a convolution rounds depends on how many images there are, and on the machine."""
    caplog.set_level(logging.INFO, "deadpixel")
    torch.manual_seed(0)
    model = PartlySingle()
    truth = erf.accumulate(model, images(), ["output"])["output"].mean
    convolved = functional.conv2d
    monkeypatch.setattr(
        functional, "conv2d", lambda x, *w, **how: convolved(x, *w, **how) * (1 + 1e-7 * len(x))
    )
    caplog.clear()
    found = erf.accumulate(model, images(), ["output"])["output"].mean
    np.testing.assert_allclose(found, truth, rtol=1e-5, atol=1e-7)
    assert re.search(
        "not folded, which is slower: in float64 the features of target 'output' differ by "
        r"\S+e-0[78] for an image with the images beside it$",
        caplog.text,
        re.MULTILINE,
    )
    with pytest.raises(InputError, match="of a batch in evaluation mode, or take dtype float32"):
        erf.accumulate(model, images(), ["output"], dtype=torch.float64)
    model.before = lambda image: image - 1e-3 * image.mean(0)
    with pytest.raises(InputError, match=r"images of a batch in evaluation mode$"):
        erf.accumulate(model, images(), ["output"])


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_inside_is_named(half, caplog):
    """In float64 it does not show."""
    model = Net()
    erf.accumulate(model, images(), ["output"])
    assert not caplog.text
    model.after = lambda y: y.to(half).float() if y.dtype == torch.float32 else y
    erf.accumulate(model, images(), ["output"])
    assert "the network computes in half precision" in caplog.text


def test_a_field_that_is_zero_is_named(caplog):
    model = Net(after=lambda logits: -logits.square().round())
    found = erf.accumulate(model, images(), ["output"])["output"]
    assert not found.total.any()
    assert "no pixel of any image raises target 'output'" in caplog.text


def test_one_image_at_a_time_may_be_measured_whatever_is_beside_it():
    """In batches of one nothing can mix."""
    model = Net(before=lambda x: x - x.mean((0, 2, 3), keepdim=True))
    found = erf.accumulate(model, images(), ["output"], batch_size=1, dtype=torch.float64)
    truth = plain.field(model, images())
    assert np.linalg.norm(found["output"].mean - truth) < 1e-12 * np.linalg.norm(truth)


def test_a_place_is_a_row_and_a_column():
    model, batch = nn.Sequential(nn.Conv2d(3, 4, 3)), images()
    with torch.no_grad():
        truth = model(batch)
        found = features(model, batch, {"0": Target("0", "nchw", place=(1, 3))})["0"]
        middle = features(model, batch, {"0": Target("0", "nchw")})["0"]
    assert torch.equal(found, truth[:, :, 1, 3])
    assert torch.equal(middle, truth[:, :, truth.shape[2] // 2, truth.shape[3] // 2])
    assert truth.shape[2] != truth.shape[3]


def test_a_map_of_whole_numbers_has_no_gradient_and_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Rounded())
    with pytest.raises(InputError, match=r"target '1' yields torch.int64, no real numbers"):
        features(model, images(), {"1": Target("1", "nchw")})


class Rounded(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image.long()


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(3), nn.InstanceNorm2d(3, affine=True)])
def test_one_image_before_a_norm_whose_map_becomes_tokens(norm):
    """PyTorch 2.15 by itself is wrong here: norms mistake the layout of one image's gradient."""

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.pool, self.norm = nn.AvgPool2d(4), norm
            self.layer, self.mix = nn.LayerNorm(3), nn.Linear(3, 4)

        def forward(self, images: Tensor) -> Tensor:
            maps = self.norm(self.pool(images))
            return self.mix(self.layer(maps.flatten(2).transpose(1, 2)) ** 2).mean(1)

    images = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(3)).double()
    alone, together = (
        erf.accumulate(Tokens(), images, ["mix"], batch_size=size, dtype=torch.float64)["mix"].mean
        for size in (1, 2)
    )
    np.testing.assert_allclose(alone, together, rtol=1e-9, atol=1e-9 * together.max())


def test_channels_that_cancel_are_named(caplog):
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.embed, self.norm = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8)

        def forward(self, images: Tensor) -> Tensor:
            return self.norm(self.embed(images).flatten(2).transpose(1, 2)).mean(1)

    images, model = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(3)), Normed()
    erf.accumulate(model, images, {"norm": {"module": "norm", "layout": "tokens"}})
    assert "the channels of target 'norm' sum to zero whatever the image" in caplog.text
    caplog.clear()
    model.norm.weight.data.normal_()
    erf.accumulate(model, images, ["norm", "embed"])
    assert not caplog.records
