"""The effective receptive field against a hand-written loop, one image and one target at a time."""

import copy
import functools
import operator
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import narrow
import plain
from deadpixel import erf, erf_blocks, features, receptive_field
from deadpixel.data import packs
from deadpixel.data.evaluation import EvaluationImages, evaluation_transform
from deadpixel.errors import InputError
from deadpixel.files import maps, parquet, resume, schemas
from deadpixel.networks import calibration
from packs import listed

TARGETS = ["layer3", "layer4", "output"]
DOUBLE = torch.float64


def plain_fields(model, images, targets, *, single=False):
    return {target: plain.field(model, images, target, single=single) for target in targets}


def distance(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def calibrated(model: nn.Module, side: int):
    images = torch.randn(8, 3, side, side, generator=torch.Generator().manual_seed(1))
    calibration.calibrate(model, images.split(4), device=torch.device("cpu"))
    return model, images[:4]


@pytest.fixture(scope="module", params=[narrow.resnet18, narrow.resnet50])
def network(request):
    return calibrated(request.param(), 64)


@pytest.fixture(scope="module")
def reference(network):
    return plain_fields(*network, TARGETS)


def test_float64_is_the_plain_loop(network, reference):
    """As far as sums in another order go: each adds 1e-16, and there are about a thousand."""
    found = erf.accumulate(*network, TARGETS, batch_size=3, dtype=torch.float64)
    assert [*found] == TARGETS
    for target in TARGETS:
        assert distance(found[target].mean, reference[target]) < 1e-13


def test_float32_is_as_near_as_a_float32_loop(network, reference):
    """Rounding flips some ReLUs: which ones is chance, how many is not."""
    found = erf.accumulate(*network, TARGETS, batch_size=4)
    loop = plain_fields(*network, TARGETS, single=True)
    ours = np.mean([distance(found[target].mean, reference[target]) for target in TARGETS])
    theirs = np.mean([distance(loop[target], reference[target]) for target in TARGETS])
    assert ours < max(2 * theirs, 0.012)


def test_the_field_ends_exactly_where_the_theoretical_one_does():
    """Rows and columns 7 to 217 for layer3 of resnet18, as in SPEC."""
    model, images = calibrated(narrow.resnet18(), 224)
    fields = erf.accumulate(model, images, ["layer1", "layer3"], batch_size=4)
    theories = receptive_field.fields(model, [*fields])
    for target, field in fields.items():
        theory = theories[target]
        centre = theory.offset[0] + 224 // int(theory.stride[0]) // 2 * theory.stride[0]
        first = max(0, round(centre - (theory.size[0] - 1) / 2))
        last = min(223, round(centre + (theory.size[0] - 1) / 2))
        rows, columns = field.mean.any(1).nonzero()[0], field.mean.any(0).nonzero()[0]
        assert rows.min() >= first and rows.max() <= last
        assert columns.min() >= first and columns.max() <= last
        if target == "layer1":  # small enough for four images to reach its corners
            assert (rows.min(), rows.max()) == (first, last)


class Small(nn.Module):
    """Everything that makes hooks go wrong: ReLU in place after the target, a module used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(4, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.unused = nn.Conv2d(3, 3, 1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(5, 3)

    def forward(self, image: Tensor) -> Tensor:
        features = self.relu(self.first(image))
        features = self.relu(self.norm(self.second(features)))
        return self.head(self.drop(features).mean((2, 3)))


@pytest.fixture
def small():
    torch.manual_seed(0)
    model = Small()
    model.norm.running_mean.uniform_(-1, 1)
    model.norm.running_var.uniform_(0.5, 2)
    nn.init.uniform_(model.norm.weight, 0.5, 2)
    images = torch.randn(5, 3, 9, 7)
    return model, images


@pytest.mark.parametrize("target", ["first", "second", "norm", "output"])
def test_any_module_is_a_target(small, target):
    """`first` is changed in place behind the hook; `second` would be folded into."""
    model, images = small
    if target in ("first", "norm"):
        truth_model = copy.deepcopy(model)
        truth_model.relu = nn.ReLU()
    else:
        truth_model = model
    truth = plain.field(truth_model, images, target)
    found = erf.accumulate(model, images, [target], batch_size=2, dtype=torch.float64)[target]
    assert distance(found.mean, truth) < 1e-12


def test_the_relu_acts_on_each_image_not_on_the_average(small):
    model, images = small
    field = erf.accumulate(model, images, ["output"], logit="mean", dtype=torch.float64)["output"]
    batch = images.double().requires_grad_()
    copy.deepcopy(model).double().eval()(batch).mean(1).sum().backward()
    after_averaging = batch.grad.mean((0, 1)).relu().numpy()
    assert distance(field.mean, after_averaging) > 0.1
    assert distance(field.mean, batch.grad.mean(1).relu().mean(0).numpy()) < 1e-12


def by_hand(definition: str, features: Tensor, image: Tensor) -> Tensor:
    """The field (H, W) of one image (1, 3, H, W) whose central features are (1, C)."""
    if definition == "replknet":  # as in the published script
        (gradient,) = torch.autograd.grad(features.relu().sum(), image)
        return gradient.relu().sum((0, 1))
    (gradient,) = torch.autograd.grad(features.mean(), image)
    mean = gradient[0].mean(0)
    return {"kim": mean.clamp(min=0), "absolute": mean.abs(), "signed": mean}[definition]


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 2, -3)])
@pytest.mark.parametrize("definition", erf.DEFINITIONS)
@pytest.mark.parametrize("target", ["second", "output"])
def test_each_definition_is_its_formula(small, definition, target, weights):
    """Of a map with features of either sign, and of a logit, which is taken as it is.

    weights: of the colours, before the first convolution, whose gradients then differ by colour.
    """
    model, images = small
    of_colours = torch.tensor(weights)[:, None, None]
    if weights != (1, 1, 1):
        model.register_forward_pre_hook(lambda _model, arguments: arguments[0] * of_colours)
    found = erf.accumulate(model, images, [target], definition=definition, dtype=torch.float64)
    kept = []
    truth_model = copy.deepcopy(model).double().eval()
    truth_model.second.register_forward_hook(lambda _m, _a, out: kept.append(out.clone()))
    fields = []
    for image in images.double().split(1):
        image.requires_grad_()
        logits = truth_model(image)
        if target == "second":
            fields.append(by_hand(definition, kept[-1][:, :, 4, 3], image))
        else:
            logit = logits.amax(1, keepdim=True)
            shift = logit.detach().clamp(max=0)  # so that the script's ReLU leaves it as it is
            fields.append(by_hand(definition, logit - 2 * shift, image))
    fields = torch.stack(fields).numpy()
    assert distance(found[target].mean, fields.mean(0)) < 1e-12
    assert distance(found[target].total_squares, (fields**2).sum(0)) < 1e-12


def test_the_default_is_the_papers_and_others_are_known_by_name(small):
    model, images = small
    default = erf.accumulate(model, images, ["second"])["second"]
    kim = erf.accumulate(model, images, ["second"], definition="kim")["second"]
    assert np.array_equal(default.total, kim.total)
    with pytest.raises(InputError, match=r"definition 'luo' is none of kim, replknet"):
        erf.accumulate(model, images, ["second"], definition="luo")


def test_the_logit_is_chosen(small):
    model, images = small
    labels = torch.tensor([0, 1, 2, 1, 0])
    true = erf.accumulate(model, images, ["output"], labels=labels, dtype=torch.float64)["output"]
    truth = plain.field(model, images, "output", labels)
    assert distance(true.mean, truth) < 1e-12
    predicted = erf.accumulate(
        model, images, ["output"], labels=labels, logit="predicted", dtype=torch.float64
    )["output"]
    assert distance(predicted.mean, true.mean) > 0.1
    batches = erf.accumulate(
        model, images.split(2), ["output"], labels=labels.split(2), dtype=torch.float64
    )["output"]
    assert distance(batches.mean, true.mean) < 1e-12


def test_the_position_is_chosen(small):
    model, images = small
    place = {"module": "first", "place": [0, 1]}
    field = erf.accumulate(model, images, {"mine": place})["mine"].mean
    assert field[:2, :3].any() and field.sum() == field[:2, :3].sum()


def test_standard_error_is_that_of_the_images_and_sums_add_up(small):
    model, images = small

    def measured(chosen):
        return erf.accumulate(model, chosen, ["output"], dtype=torch.float64)["output"]

    singles, whole = [measured(image[None]) for image in images], measured(images)
    expected = np.std([field.mean for field in singles], axis=0, ddof=1) / np.sqrt(len(images))
    for field in (whole, functools.reduce(operator.add, singles)):
        assert field.count == len(images)
        assert distance(field.mean, whole.mean) < 1e-12
        np.testing.assert_allclose(field.se, expected, rtol=1e-9, atol=1e-15)


def test_the_model_is_left_as_it_was(small):
    model, images = small
    model.train()
    before = copy.deepcopy(model.state_dict())
    erf.accumulate(model, images, ["second", "output"])
    assert model.training and model.norm.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        (["nowhere"], {}, "'nowhere'"),
        (["relu"], {}, "more than once"),
        (["unused"], {}, "never called"),
        (["head"], {}, r"'head' yields \(2, 3\) .* no map"),
        ({"mine": {"module": "first", "place": [9, 0]}}, {}, "'mine' of 9 x 7"),
        ({"output": {"module": "output", "place": [0, 1]}}, {}, "'output' of 1 x 1"),
        (["output"], {"logit": "true"}, "needs the labels"),
        (["output"], {"labels": torch.tensor([0, 1, 2, 3, 0])}, "label 3 is beyond"),
        (["output"], {"labels": torch.tensor([0, 1, 2, -1, 0])}, "label -1 is beyond"),
        (["output"], {"labels": torch.tensor([0.0, 1, 2, 1, 0])}, "no class numbers"),
        (["output"], {"labels": torch.zeros(5, 1, dtype=torch.int64)}, "no class numbers"),
        (["output"], {"labels": torch.zeros(5, dtype=torch.bool)}, "no class numbers"),
        (["output"], {"labels": [[0, 1, 2, 1, 0]]}, "no class numbers"),
        (["output"], {"labels": torch.tensor([0, 1, 2, 1])}, "5 images has 4 labels"),
        (["output"], {"labels": torch.tensor([0, 1]), "batch_size": 2}, "2 images has 0 labels"),
        (["output"], {"logit": "argmax"}, "logit 'argmax' is none of true, predicted, mean"),
        (["output"], {"dtype": torch.float16}, "use float32 or float64"),
        (["output"], {"ties": "true"}, "ties 'true' are none of shared, first"),
        ("nowhere", {}, "'nowhere'"),
        (["output"], {"labels": [0, 1]}, "5 images has 2 labels"),
        (["output"], {"labels": []}, "5 images has 0 labels"),
        (["output"], {"labels": 1}, "no class numbers"),
        (["output"], {"labels": torch.tensor(1)}, "5 images has 1 labels"),
        (["output"], {"labels": [torch.tensor(1), torch.tensor(1)]}, "no class numbers"),
        (["output"], {"labels": [0.0, 1.0, 2.0, 1.0, 0.0]}, "no class numbers"),
        (["output"], {"labels": "01210"}, "no class numbers"),
        (["output"], {"labels": [True] * 5}, "no class numbers"),
        (["output"], {"labels": [2**70] * 5}, "no class numbers"),
        (["output"], {"labels": np.array(["a"] * 5)}, "no class numbers"),
        (["output"], {"labels": np.array([0.0, 1, 2, 1, 0])}, "no class numbers"),
        (["output"], {"batch_size": 0}, "batch_size 0: give a number of images"),
        (["output"], {"batch_size": -1}, "batch_size -1: give a number of images"),
        (["output"], {"batch_size": 2.5}, "batch_size 2.5: give a number of images"),
        (["output"], {"device": "cpuu"}, "device 'cpuu' cannot be used .RuntimeError: .* use cpu"),
        (["output"], {"device": "mps"}, "device 'mps' cannot be used .NotImpl.*: use cpu, or one"),
    ],
)
def test_bad_input_is_named(small, targets, options, message):
    with pytest.raises(InputError, match=message):
        erf.accumulate(*small, targets, **options)


@pytest.mark.parametrize("of_numbers", [list, tuple, np.array, np.uint8])
def test_labels_may_be_a_list_or_an_array(small, of_numbers):
    model, images = small
    numbers = [0, 1, 2, 1, 0]
    how = {"batch_size": np.int64(2), "targets": "output"}
    truth = erf.accumulate(model, images, labels=torch.tensor(numbers), **how)
    found = erf.accumulate(model, images, labels=of_numbers(numbers), **how)
    assert np.array_equal(found["output"].total, truth["output"].total)


def test_a_device_without_a_driver_is_named(small, monkeypatch):
    def no_driver(*_sizes: int, device: torch.device) -> Tensor:
        raise RuntimeError(f"Found no NVIDIA driver for {device}")

    monkeypatch.setattr(torch, "empty", no_driver)
    with pytest.raises(InputError, match=r"device 'cuda' cannot be used \(Runt"):
        erf.accumulate(*small, ["output"], device="cuda")


def test_gradients_are_on_and_a_target_named_twice_counts_once(small):
    model, images = small
    expected = erf.accumulate(model, images, ["second", "output"])
    with torch.no_grad():
        found = erf.accumulate(model, images, ["second", "output", "second"])
    assert found["second"].count == len(images)
    for target in expected:
        assert np.array_equal(found[target].total, expected[target].total)


class Square(nn.Module):
    """Its gradient is the image: fields of any size can be asked for."""

    def forward(self, image: Tensor) -> Tensor:
        return image.square().sum((2, 3)) / 2


def test_sums_are_float64():
    """In float32 one small field after a large one would be lost."""
    images = torch.full((40, 3, 4, 4), 3e-4)
    images[0] = 3e4
    field = erf.accumulate(Square(), images, ["output"], logit="mean")["output"]
    expected = images.double().mean(1).sum(0) / 3
    np.testing.assert_allclose(field.total, expected, rtol=2**-22)
    np.testing.assert_allclose(field.total - field.total.round(), expected - 1e4, rtol=1e-3)
    single = erf.accumulate(Square(), images, ["output"], logit="mean", batch_size=1)["output"]
    np.testing.assert_allclose(field.total, single.total, rtol=1e-14)
    np.testing.assert_allclose(field.total_squares, single.total_squares, rtol=1e-14)


def test_a_head_of_other_classes_is_named(small):
    model, images = small
    erf.check_head(model, images[0], 3, "size_test.logit")
    for classes in (2, 4):
        message = rf"size_test\.logit: true, but the head has 3 .* data set {classes} classes"
        with pytest.raises(InputError, match=message):
            erf.check_head(model, images[0], classes, "size_test.logit")


def test_no_images_is_an_error(small):
    with pytest.raises(InputError, match="no images"):
        erf.accumulate(small[0], [], ["output"])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda images: images.permute(0, 2, 3, 1), r"shape \(2, 9, 7, 3\)"),
        (lambda images: images[0], r"shape \(3, 9, 7\)"),
        (lambda images: images[:0], r"shape \(0, 3, 9, 7\)"),
        (lambda images: (images * 9).to(torch.uint8), "torch.uint8"),
        (lambda images: [(images, torch.zeros(5))], "a batch of images is a tuple"),
        (lambda images: images.numpy(), "a batch of images is a ndarray: give tensors"),
        (lambda images: None, "a batch of images is a NoneType: give tensors"),
        (lambda images: [images.mean()], r"shape \(\)"),
        (lambda images: [images, images[:, :, :8]], r"of \(9, 7\) and of \(8, 7\) px"),
    ],
)
def test_images_that_are_none_are_named(small, spoil, message):
    model, images = small
    with pytest.raises(InputError, match=message):
        erf.accumulate(model, spoil(images), ["output"])
    with pytest.raises(InputError, match=f"{message}|a batch of . images has . labels"):
        erf.accumulate(model, spoil(images), ["output"], labels=[0, 1, 2, 1, 0])


class Root(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image.abs().sqrt().mean((2, 3))


def test_a_gradient_that_is_not_finite_names_the_image():
    images = torch.ones(5, 3, 4, 4)
    images[3, 0, 2, 2] = 0
    with pytest.raises(erf.NonFiniteGradientError, match="image 3") as caught:
        erf.accumulate(Root(), images, ["output"], batch_size=2)
    assert caught.value.index == 3


def test_memory_does_not_grow_with_the_number_of_images(small):
    """An iterable is read batch by batch, never kept."""
    model, images = small
    alive = []

    def batches():
        for _ in range(50):
            batch = images.clone()
            alive.append(torch.utils.weak.WeakTensorKeyDictionary({batch: None}))
            yield batch
            del batch
            assert sum(len(reference) for reference in alive) <= 2

    field = erf.accumulate(model, batches(), ["output"])["output"]
    assert field.count == 250


class Flat(nn.Module):
    """A map of zeros, whatever the image, and its gradient nevertheless."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(3, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.pool(images - images.detach())


@pytest.mark.parametrize(("ties", "winners"), [("shared", 9), ("first", 1)])
def test_ties_are_as_asked_for_in_blocks_too(evaluated, tmp_path, ties, winners):
    everything = torch.stack([evaluated[number] for number in range(7)])
    field = erf.accumulate(Flat(), everything, ["pool"], ties=ties)["pool"]
    assert np.count_nonzero(field.mean) == winners and field.mean.sum() == pytest.approx(1 / 3)
    scratch = resume.Scratch(tmp_path / "scratch", [])
    blocks, _ = erf_blocks.accumulate_blocks(
        Flat(), evaluated, ["pool"], 2, scratch, ties=ties, logit="mean", batch_size=4
    )
    assert np.count_nonzero(blocks[1]["pool"].mean) == winners


@pytest.fixture
def evaluated(small, tmp_path):
    """Seven images of a pack, the labels of three classes."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(7)]
    for name in names:
        Image.fromarray(rng.integers(0, 255, (12, 11, 3), dtype=np.uint8)).save(folder / name)
    packs.pack(listed(names, folder), folder, tmp_path / "images.arrow", {})
    labels = [0, 1, 2, 0, 1, 2, 0]
    pack = packs.Pack(tmp_path / "images.arrow")
    return EvaluationImages(pack, np.arange(7), labels, evaluation_transform(10, 9))


BLOCK_TARGETS = {"second": "second", "output": "output"}


def in_blocks(small, evaluated, scratch, *, n_blocks=3, logit="true", **others):
    return erf_blocks.accumulate_blocks(
        small[0], evaluated, BLOCK_TARGETS, n_blocks, scratch, **others, logit=logit, batch_size=2,
        dtype=torch.float64,
    )[0]  # fmt: skip


def test_blocks_add_up_to_one_pass_and_finished_ones_are_kept(small, evaluated, tmp_path):
    scratch = resume.Scratch(tmp_path / "scratch", [])
    blocks = in_blocks(small, evaluated, scratch)
    everything = torch.stack([evaluated[number] for number in range(7)])
    whole = erf.accumulate(
        small[0], everything, BLOCK_TARGETS, labels=evaluated.labels, dtype=torch.float64
    )
    for target in BLOCK_TARGETS:
        parts = [fields[target] for fields in blocks.values()]
        assert [part.count for part in parts] == [3, 2, 2]
        assert distance((parts[0] + parts[1] + parts[2]).mean, whole[target].mean) < 1e-12
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(erf, "prepared", None)  # nothing is left to compute
        again = in_blocks(small, evaluated, scratch)
    assert np.array_equal(again[2]["output"].total, blocks[2]["output"].total)


@pytest.mark.parametrize("definition", erf.DEFINITIONS)
def test_finished_blocks_of_each_definition_are_kept(small, evaluated, tmp_path, definition):
    """Also of the one whose sums may be negative."""
    scratch = resume.Scratch(tmp_path / "scratch", [])
    blocks = in_blocks(small, evaluated, scratch, definition=definition)
    everything = torch.stack([evaluated[number] for number in range(7)])
    whole = erf.accumulate(
        small[0], everything, ["second"], definition=definition, dtype=torch.float64
    )["second"]
    total = sum(fields["second"].total for fields in blocks.values())
    assert distance(total, whole.total) < 1e-12
    assert (total < 0).any() == (definition == "signed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(erf, "prepared", None)  # nothing is left to compute
        again = in_blocks(small, evaluated, scratch, definition=definition)
    assert np.array_equal(again[2]["second"].total, blocks[2]["second"].total)


def without(part):
    return lambda arrays: {name: a for name, a in arrays.items() if part not in name}


def changed(part, change):
    return lambda arrays: {n: change(a) if part in n else a for n, a in arrays.items()}


@pytest.mark.parametrize(
    "change",
    [
        without("total"),
        without("count"),
        lambda arrays: {n.replace("second", "first"): a for n, a in arrays.items()},
        changed("total", lambda sums: sums[:3]),
        changed("total", lambda sums: sums * np.nan),
        lambda arrays: {n: -1 - a if n.endswith("total") else a for n, a in arrays.items()},
        changed("total_squares", lambda sums: -1 - sums),
        changed("total", lambda sums: sums.astype(np.float32)),
        changed("count", lambda count: -count),
        changed("count", lambda count: count + 1),
    ],
    ids=[
        "no sums",
        "no count",
        "target",
        "shape",
        "NaN",
        "sums below 0",
        "squares",
        "float32",
        "-count",
        "count",
    ],
)
def test_a_saved_block_that_is_none_is_computed_again(small, evaluated, tmp_path, change, caplog):
    scratch = resume.Scratch(tmp_path / "scratch", [])
    blocks = in_blocks(small, evaluated, scratch)
    scratch.save("block-1", change(scratch.load("block-1")))
    again = in_blocks(small, evaluated, scratch)
    (line,) = [line for line in caplog.messages if "again" in line]
    assert line.startswith("block-1 is computed again: ")
    for target, field in blocks[1].items():
        assert np.array_equal(again[1][target].total, field.total)
        assert again[1][target].count == field.count


@pytest.mark.parametrize("logit", ["mean", "predicted"])
def test_blocks_are_of_the_logit_asked_for(small, evaluated, tmp_path, logit):
    """`predicted` is no default that another could fall back to."""
    blocks = in_blocks(small, evaluated, resume.Scratch(tmp_path / "scratch", []), logit=logit)
    everything = torch.stack([evaluated[number] for number in range(7)])
    whole = erf.accumulate(small[0], everything, ["output"], logit=logit, dtype=torch.float64)
    parts = [fields["output"] for fields in blocks.values()]
    assert distance((parts[0] + parts[1] + parts[2]).mean, whole["output"].mean) < 1e-12


def test_there_are_no_more_blocks_than_images(small, evaluated, tmp_path):
    scratch = resume.Scratch(tmp_path / "scratch", [])
    blocks = in_blocks(small, evaluated, scratch, n_blocks=9)
    assert [fields["output"].count for fields in blocks.values()] == [1] * 7
    assert [*in_blocks(small, evaluated, scratch, n_blocks=9, shard=6, shards=9)] == [6]
    assert in_blocks(small, evaluated, scratch, n_blocks=9, shard=7, shards=9) == {}


def test_blocks_end_once_they_are_enough_after_a_kill_too(small, evaluated, tmp_path, caplog):
    """The same that a run without one has; the log says of how many images they are."""
    caplog.set_level("INFO")

    def enough(blocks):
        assert all([*fields] == [*BLOCK_TARGETS] for fields in blocks)
        return sum(fields["output"].count for fields in blocks) >= 3

    def killed(blocks):
        raise KeyboardInterrupt

    whole = in_blocks(small, evaluated, resume.Scratch(tmp_path / "one", []), n_blocks=5)
    first = in_blocks(
        small, evaluated, resume.Scratch(tmp_path / "two", []), n_blocks=5, enough=enough
    )
    assert [*whole] == [0, 1, 2, 3, 4] and [*first] == [0, 1]
    assert "maps are as precise as asked for after 4 of 7 images" in caplog.messages
    scratch = resume.Scratch(tmp_path / "three", [])
    with pytest.raises(KeyboardInterrupt):
        in_blocks(small, evaluated, scratch, n_blocks=5, enough=killed)
    again = in_blocks(small, evaluated, scratch, n_blocks=5, enough=enough)
    assert [*again] == [0, 1]
    for number, fields in again.items():
        for target, field in fields.items():
            assert np.array_equal(field.total, whole[number][target].total)
            assert np.array_equal(field.total, first[number][target].total)
    caplog.clear()
    assert len(in_blocks(small, evaluated, scratch, n_blocks=5, enough=lambda _: False)) == 5
    assert caplog.messages == ["maps are not as precise as asked for after all 7 images"]


def test_fields_of_blocks_have_the_names_of_the_targets(small, evaluated, tmp_path):
    scratch = resume.Scratch(tmp_path / "scratch", [])
    settings = {"logit": "mean", "batch_size": 2, "dtype": torch.float64}
    names = {"mine": "second", "also mine": "second"}
    blocks, measurement = erf_blocks.accumulate_blocks(
        small[0], evaluated, names, 1, scratch, **settings
    )
    readings = measurement.targets
    assert [*blocks[0]] == [*readings] == ["mine", "also mine"]
    assert np.array_equal(blocks[0]["mine"].total, blocks[0]["also mine"].total)
    assert str(readings["mine"]) == "{module: second, layout: nchw}"


def test_a_network_is_prepared_once_for_all_blocks(small, evaluated, tmp_path, monkeypatch):
    """By the first two images of all, so that shards and runs taken up again do the same."""
    calls = []

    def prepared(model, images, *others):
        calls.append(images)
        return features.prepared(model, images, *others)

    monkeypatch.setattr(erf, "prepared", prepared)
    scratch = resume.Scratch(tmp_path / "scratch", [])
    in_blocks(small, evaluated, scratch, shard=1, shards=2)
    in_blocks(small, evaluated, scratch)
    first = torch.stack([evaluated[0], evaluated[1]])
    assert len(calls) == 2 and all(torch.equal(images, first) for images in calls)


@pytest.mark.parametrize("shards", [2, 4])
def test_shards_are_one_pass_through_files_too(small, evaluated, tmp_path, shards):
    """Four are one more than there are blocks, so one of them has none."""
    whole = in_blocks(small, evaluated, resume.Scratch(tmp_path / "scratch", []))
    paths = []
    for shard in range(shards):
        scratch = resume.Scratch(tmp_path / "scratch", [], shard=shard)
        found = in_blocks(small, evaluated, scratch, shard=shard, shards=shards)
        for number, fields in found.items():
            paths.append(tmp_path / f"block={number}/sums.parquet")
            parquet.write(maps.block_to_frame(fields), paths[-1], schemas.BLOCK, {})
    merged = maps.read_blocks(reversed(paths))["output"]
    assert len(merged) == len(whole) == 3
    for one, other in zip(merged, [whole[number]["output"] for number in range(3)], strict=True):
        assert np.array_equal(one.total, other.total)
        assert np.array_equal(one.total_squares, other.total_squares)
        assert one.count == other.count


def test_a_gradient_that_is_not_finite_names_the_file(evaluated, tmp_path):
    evaluated._transform = lambda pixels: torch.full((3, 4, 4), float(pixels[0, 0, 0] != first))
    first = evaluated._pack[4][0, 0, 0]
    scratch = resume.Scratch(tmp_path / "scratch", [])
    with pytest.raises(InputError, match=r"4\.png: .*not finite"):
        erf_blocks.accumulate_blocks(
            Root(), evaluated, {"output": "output"}, 3, scratch, logit="predicted", batch_size=2
        )


def test_a_logit_that_is_not_finite_names_the_image():
    """Its gradient can be finite all the same."""

    class Infinite(nn.Module):
        def forward(self, image):
            return torch.stack([image.mean((1, 2, 3)), image.sum((1, 2, 3)) + torch.inf], 1)

    with pytest.raises(erf.NonFiniteGradientError, match=r"image 0: target 'output' or its"):
        erf.accumulate(Infinite(), torch.rand(2, 3, 8, 8), ["output"])


class Greedy(nn.Module):
    """Fails for want of memory on more than `most` images at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.layer, self.most = nn.Conv2d(3, 2, 3), most

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.layer(images).square().mean((2, 3))


def test_a_batch_that_does_not_fit_is_halved_and_changes_nothing(caplog):
    torch.manual_seed(0)
    model, images = Greedy(2), torch.randn(13, 3, 6, 6)
    labels = torch.tensor([0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 0, 1, 1])
    fields = [
        erf.accumulate(model, images, ["output"], labels=labels, batch_size=size, dtype=DOUBLE)
        for size in (1, 7)
    ]
    assert fields[1]["output"].count == 13
    np.testing.assert_allclose(fields[1]["output"].mean, fields[0]["output"].mean, rtol=1e-12)
    said = [line for line in caplog.messages if "too small" in line]
    assert [line.split("too small for ")[1].split(",")[0] for line in said] == [
        "7 images at once: going on with 3",
        "3 images at once: going on with 1",
    ]


def test_a_cpu_computes_eight_images_together_whatever_the_batch():
    together = []

    class Counting(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            together.append(len(images))
            return images.mean((2, 3))

    images = torch.randn(21, 3, 4, 4)
    measurement = erf.Measurement(Counting(), ["output"], "mean", "kim", "shared", DOUBLE, "cpu")
    measurement.prepare(images[:2])
    together.clear()
    assert measurement.over([(images, None)])["output"].count == 21
    assert together == [8, 8, 5]


def test_one_image_that_does_not_fit_is_an_error():
    model = Greedy(2)
    measurement = erf.Measurement(model, ["output"], "mean", "kim", "shared", DOUBLE, "cpu")
    images = torch.randn(2, 3, 6, 6)
    ready = measurement.prepare(images)
    ready.most = 0
    with pytest.raises(InputError, match="out of memory"):
        measurement.over([(images, None)])


def test_the_time_of_waiting_for_images_is_noted(small):
    model, images = small
    measurement = erf.Measurement(model, ["output"], "mean", "kim", "shared", DOUBLE, "cpu")

    def late():
        for image in images.split(1):
            time.sleep(0.05)
            yield image, None

    measurement.over(late())
    assert measurement.waited >= 0.05
