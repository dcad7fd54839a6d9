"""The training loop: schedule, draws, rows, best weights, and runs that are interrupted."""

import collections
import copy
import itertools
import json
import math
import os
import signal
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

import forked
import narrow
from deadpixel import kernels, training
from deadpixel.data.draws import Purpose, initialising
from deadpixel.errors import InputError
from deadpixel.files.resume import Scratch
from deadpixel.networks.forward import full_precision

RECIPE = training.Recipe(epochs=5, learning_rate=0.05, momentum=0.9, weight_decay=5e-4, seed=3)
CPU = torch.device("cpu")


def network(seed=0):
    with initialising(seed, Purpose.NETWORK):
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(8, 2),
        )


def data(n=48, seed=1):
    """Two classes that differ in one colour."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    images = torch.randn(n, 3, 8, 8, generator=generator)
    images[labels == 1, 0] += 0.5
    return images, labels


def batches(seed=3, n=48):
    images, labels = data(n)

    def train(epoch):
        for chosen in training.shuffled(n, 16, seed, epoch):
            yield images[chosen], labels[chosen]

    return train


def evaluations():
    return {"valid": lambda: [data(20, seed=2)]}


def fit(model, scratch, recipe=RECIPE, **settings):
    train, evaluated = settings.pop("train", batches()), settings.pop("evaluated", evaluations())
    return training.fit(model, train, evaluated, recipe, scratch, device=CPU, **settings)


@pytest.fixture
def scratch(tmp_path):
    return Scratch(tmp_path / "scratch", [])


def without_time(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_the_learning_rate_is_a_cosine_of_the_epoch():
    recipe = training.Recipe(200, 0.01, 0.9, 5e-4, 0)
    assert training.learning_rate(recipe, 0) == 0.01
    assert training.learning_rate(recipe, 100) == pytest.approx(0.005, rel=1e-12)
    expected = 0.01 * (1 + math.cos(math.pi * 199 / 200)) / 2
    assert training.learning_rate(recipe, 199) == pytest.approx(expected, rel=1e-12)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200)
    for epoch in range(200):
        rate = optimizer.param_groups[0]["lr"]
        assert training.learning_rate(recipe, epoch) == pytest.approx(rate, rel=1e-9)
        optimizer.step()
        scheduler.step()


def test_every_image_comes_once_an_epoch_in_an_order_of_its_own():
    first = training.shuffled(50, 16, seed=0, epoch=0)
    assert [len(batch) for batch in first] == [16, 16, 16, 2]
    assert sorted(np.concatenate(first)) == [*range(50)]
    again = training.shuffled(50, 16, seed=0, epoch=0)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for other in (training.shuffled(50, 16, 0, 1), training.shuffled(50, 16, 1, 0)):
        assert not np.array_equal(np.concatenate(first), np.concatenate(other))
    assert [len(batch) for batch in training.shuffled(33, 16, 0, 0)] == [16, 16]


def test_rows_and_learning(scratch):
    rows = list(fit(network(), scratch))
    columns = ["epoch", "lr", "train_loss", "train_acc", "steps", "valid_acc", "valid_predicted"]
    assert [[*row] for row in rows] == [[*columns, "seconds"]] * 5
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["lr"] for row in rows] == [training.learning_rate(RECIPE, e) for e in range(5)]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert all(0 <= row["train_acc"] <= 1 for row in rows)


def test_orders_of_seeds_and_epochs_are_all_different():
    """Seed and epoch are two numbers, not their sum."""
    orders = {
        tuple(np.concatenate(training.shuffled(30, 8, seed, epoch)))
        for seed in (0, 1, 2, 2**32, 2**63 - 1)
        for epoch in range(6)
    }
    assert len(orders) == 30


def test_batches_are_those_of_their_epoch_with_their_own_labels():
    labels = torch.arange(20) * 10
    asked = []

    def images(epoch, chosen):
        asked.append(epoch)
        return torch.from_numpy(chosen).float() + 100 * epoch

    train = training.epoch_batches(images, labels, 8, seed=3)
    for epoch in (0, 1, 4):
        expected = training.shuffled(20, 8, 3, epoch)
        for (batch, of_batch), chosen in zip(train(epoch), expected, strict=True):
            assert (batch - 100 * epoch).tolist() == chosen.tolist()
            assert of_batch.tolist() == (chosen * 10).tolist()
    assert asked == [0] * 3 + [1] * 3 + [4] * 3


def test_several_steps_are_pytorchs_own(scratch):
    """Three epochs of three batches: cross-entropy, SGD with momentum and weight decay, cosine."""
    model, plain = network().double(), network().double()
    model[5].p = plain[5].p = 0.0
    parts = [(images.double(), labels) for images, labels in (data(16, seed=s) for s in range(3))]
    recipe = training.Recipe(3, 0.05, 0.9, 0.01, 0)
    list(fit(model, scratch, recipe, train=lambda epoch: parts, evaluated={}))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)
    for _ in range(3):
        for images, labels in parts:
            optimizer.zero_grad()
            nn.functional.cross_entropy(plain(images), labels).backward()
            optimizer.step()
        schedule.step()
    for name, theirs in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], theirs, rtol=1e-9, atol=1e-12)


def test_loss_and_accuracy_are_means_over_images_not_batches(scratch):
    """Batches of 16 and of 2 images, which the rate is too low to change anything for."""
    images, labels = data(18)
    labels[16:] = 0
    model, plain = network(), network().train()
    model[5].p = plain[5].p = 0.0
    parts = [(images[:16], labels[:16]), (images[16:], labels[16:])]
    recipe = training.Recipe(1, 1e-12, 0.0, 0.0, 0)
    (row,) = fit(model, scratch, recipe, train=lambda epoch: parts, evaluated={})
    with torch.no_grad():
        logits = torch.cat([plain(batch) for batch, _ in parts])
    losses = nn.functional.cross_entropy(logits, labels, reduction="none")
    assert abs(losses[:16].mean() - losses[16:].mean()) > 0.001  # what follows is finer by far
    assert row["train_loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
    right = (logits.argmax(1) == labels).double()
    assert right[:16].mean() != right[16:].mean()
    assert row["train_acc"] == pytest.approx(float(right.mean()), rel=1e-12)
    assert row["steps"] == [[16, int(right[:16].sum())], [2, int(right[16:].sum())]]


def test_the_class_of_each_image_is_kept(scratch):
    model = network()
    *_, last = fit(model, scratch, evaluated={"test": evaluations()["valid"]})
    predicted, true = training.predict(model, [data(20, seed=2)])
    assert last["test_predicted"] == predicted.tolist()
    assert last["test_acc"] == float((predicted == true).double().mean())


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_run_that_is_done_stops(tmp_path, interrupted):
    """After the third epoch, also where that one was the last before it was killed."""
    whole = [*fit(network(), Scratch(tmp_path / "whole", []))]
    scratch = Scratch(tmp_path / "done", [])
    kept = {"is_done": lambda rows: len(rows) == 3, "seconds_between_saves": 0}
    if interrupted:
        run = fit(network(), scratch, **kept)
        for _ in range(3):
            next(run)
        run.close()
    rows = [*fit(network(), scratch, **kept)]
    assert without_time(rows) == without_time(whole[:3])


class Recording(nn.Module):
    """Keeps what its dropout let through in each batch of training."""

    def __init__(self):
        super().__init__()
        self.masks, self.linear = [], nn.Linear(1, 2)

    def forward(self, image):
        if self.training:
            self.masks.append(nn.functional.dropout(torch.ones(64), 0.5) > 0)
        return self.linear(image.mean((1, 2, 3))[:, None])


def masks(tmp_path, seed, epochs=3, batches=2, name="scratch"):
    model = Recording()
    recipe = training.Recipe(epochs, 0.01, 0.9, 0.0, seed)
    scratch = Scratch(tmp_path / name, [])
    list(fit(model, scratch, recipe, train=lambda _: [data(8)] * batches, evaluated={}))
    return [tuple(mask.tolist()) for mask in model.masks]


def test_layers_draw_by_seed_and_epoch(tmp_path):
    """Other numbers in every batch, epoch and run; the same whatever was drawn before."""
    drawn = [masks(tmp_path, seed) for seed in (0, 1, 2, 2**32)]
    assert len(set(itertools.chain(*drawn))) == 4 * 6
    torch.manual_seed(77)
    assert masks(tmp_path, 0) == drawn[0]
    first_batches = masks(tmp_path, 0, batches=1)
    assert first_batches == drawn[0][::2]  # an epoch starts where no earlier one left off


def test_the_weights_of_the_best_epoch_are_kept(scratch):
    """The first of equals; here the accuracy is set from outside."""
    model, states, scores = network(), [], [0.5, 0.9, 0.7, 0.9, 0.1]

    def score():
        states.append({k: v.clone() for k, v in model.state_dict().items()})
        right = round(scores[len(states) - 1] * 10)
        with torch.no_grad():
            predicted = model.eval()(data(10)[0]).argmax(1)
        return [(data(10)[0], torch.where(torch.arange(10) < right, predicted, 1 - predicted))]

    rows = list(fit(model, scratch, evaluated={"valid": score}))
    assert [row["valid_acc"] for row in rows] == pytest.approx(scores)
    assert all(torch.equal(model.state_dict()[k], v) for k, v in states[1].items())


@pytest.mark.parametrize("done", [0, 1, 3, 5])
def test_a_run_that_was_interrupted_ends_as_if_it_had_not_been(tmp_path, done):
    whole = network()
    rows = list(fit(whole, Scratch(tmp_path / "whole", [])))
    scratch = Scratch(tmp_path / "part", [])
    run = fit(network(), scratch, seconds_between_saves=0)
    for _ in range(done):
        next(run)
    run.close()
    again = network(seed=9)  # whatever it starts from, the saved state counts
    if not done:
        again = network()
    found = list(fit(again, scratch))
    assert without_time(found) == without_time(rows)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def keep_training(sender, scratch, result, between, pause, seed):
    """Send each epoch's number, and save rows and weights at the end."""
    model = network(seed)

    def slowly(epoch):
        for batch in batches()(epoch):
            time.sleep(pause)
            yield batch

    rows = []
    for row in fit(model, Scratch(scratch, []), train=slowly, seconds_between_saves=between):
        sender.send(row["epoch"])
        rows.append(row)
    torch.save({"rows": without_time(rows), "state": model.state_dict()}, result)


def test_a_killed_process_goes_on(tmp_path):
    """SIGTERM saves what no save was due for; SIGKILL leaves what was saved."""
    result = tmp_path / "result.pt"

    def process(between, pause, seed):
        """What it starts from counts in the first process alone."""
        return forked.started(keep_training, tmp_path / "part", result, between, pause, seed)

    for kill, between, done, seed in [
        (signal.SIGTERM, 1000, [1, 2], 0),
        (signal.SIGKILL, 0, [1, 2, 3], 8),
    ]:
        training_process, epochs = process(between, 0.1, seed)
        assert [epochs.recv() for _ in done] == done
        time.sleep(0.15)  # in the middle of the next epoch
        os.kill(training_process.pid, kill)
        training_process.join()
        expected = training.TERMINATED if kill == signal.SIGTERM else -kill
        assert training_process.exitcode == expected
        assert not result.exists()

    last, epochs = process(0, 0, 9)
    assert [epochs.recv() for _ in range(5)] == [1, 2, 3, 4, 5]
    last.join()
    found = torch.load(result)
    whole = network()
    assert found["rows"] == without_time(fit(whole, Scratch(tmp_path / "whole", [])))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(found["state"][name], tensor), name


def test_a_second_sigterm_does_not_save_into_the_first():
    saves = []

    def save():
        saves.append("begun")
        if len(saves) < 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit), training._saved_on_sigterm(save):
        os.kill(os.getpid(), signal.SIGTERM)
    assert saves == ["begun"]


@pytest.mark.parametrize("in_training", [True, False])
def test_sigterm_in_a_forward_pass_is_no_failure_of_the_network(scratch, in_training):
    model = network()

    def ask_to_end(module, _):
        if module.training == in_training:
            os.kill(os.getpid(), signal.SIGTERM)

    model.register_forward_pre_hook(ask_to_end)
    with pytest.raises(SystemExit) as stopped:
        list(fit(model, scratch))
    assert stopped.value.code == training.TERMINATED


def test_a_loss_that_is_not_finite_stops_the_run(scratch):
    def train(epoch):
        images, labels = data(16)
        yield (images * float("inf") if epoch == 2 else images), labels

    run = fit(network(), scratch, train=train, evaluated={})
    assert next(run)["epoch"] == 1
    assert next(run)["epoch"] == 2
    rate = training.learning_rate(RECIPE, 2)
    with pytest.raises(InputError, match=rf"the loss is nan in epoch 3 at learning rate {rate:g}"):
        next(run)


class WithAuxiliary(nn.Module):
    """torchvision's GoogLeNet and Inception put out a tuple with names while they are trained."""

    def __init__(self, output):
        super().__init__()
        self.net, self.output = network(), output

    def forward(self, image):
        return self.output(self.net(image), None) if self.training else self.net(image)


def test_networks_with_an_auxiliary_head(tmp_path):
    outputs = collections.namedtuple("Outputs", ["logits", "aux_logits"])
    alone, both = network(), WithAuxiliary(outputs)
    expected = [*fit(alone, Scratch(tmp_path / "alone", []))]
    assert without_time(fit(both, Scratch(tmp_path / "both", []))) == without_time(expected)


def test_a_tuple_without_names_does_not_say_which_the_logits_are(scratch):
    with pytest.raises(InputError, match="a tuple of 2, no tensor of logits"):
        next(fit(WithAuxiliary(lambda *outputs: outputs), scratch))


def two_sided(model, images):
    """`model` with the bias at which half of the images are of either class."""
    with torch.no_grad():
        logits = model.eval()(images)
        model[-1].bias[1] -= (logits[:, 1] - logits[:, 0]).median()
    return model


def test_predictions_are_those_of_evaluation():
    """Both classes occur, and dropout and batch statistics would give others."""
    images, labels = data(60)
    model = two_sided(network(), images)
    model[5].p = 0.5
    expected = model.eval()(images).argmax(1)
    assert 20 < expected.sum() < 40
    assert (copy.deepcopy(model).train()(images).argmax(1) != expected).any()
    parts = [(images[:7], labels[:7]), (images[7:], labels[7:])]
    predicted, true = training.predict(model.train(), parts)
    assert torch.equal(predicted, expected) and torch.equal(true, labels)
    share = int((expected == labels).sum()) / 60
    assert 0 < share < 1
    assert training.accuracy(predicted, true) == pytest.approx(share, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: "cat", "puts out a str"),
        (lambda y: (), "puts out a tuple of 0"),
        (lambda y: y.detach().numpy(), "puts out a ndarray"),
        (lambda y: y.sum(1), "no logits"),
        (lambda y: y.to_sparse(), "dense floating-point"),
        (lambda y: (y * 100).long(), "dense floating-point"),
        (lambda y: torch.complex(y, y), "dense floating-point"),
        (lambda y: y[:, :0], "one for each class"),
        (lambda y: y / 0, "not finite"),
        (lambda y: torch.cat([y, y]), "maps of 2 images"),
        (lambda y: y - y.mean(0), "not mix the images"),
        (lambda y: y + torch.randn_like(y), "between two passes"),
    ],
)
def test_predictions_of_what_are_no_logits_are_refused(change, message):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, image):
            return change(self.net(image))

    with pytest.raises(InputError, match=message):
        training.predict(Odd(), [data(6)])


# ---------------------------------------------------------------------------------- precision


class Listening(nn.Module):
    """Keeps the type of its logits, as they were computed, and the switches of float32 products."""

    def __init__(self):
        super().__init__()
        self.linear, self.heard = nn.Linear(3, 2), {True: [], False: []}

    def forward(self, image):
        logits = self.linear(image.mean((2, 3)))
        switches = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        self.heard[self.training].append((logits.dtype, *switches))
        return logits


@pytest.fixture
def switches():
    """Others than PyTorch's own, so that it shows whether they are put back."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    yield
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == (
        "medium",
        True,
    )
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


FLOAT32 = (torch.float32, "highest", False)


@pytest.mark.usefixtures("switches")
@pytest.mark.parametrize(
    ("precision", "training_in"),
    [("float32", FLOAT32), ("tf32", FLOAT32), ("bfloat16", (torch.bfloat16, "highest", False))],
)
def test_precision_is_of_training_and_never_of_evaluation(scratch, precision, training_in):
    model = Listening()
    recipe = training.Recipe(1, 0.05, 0.9, 0.0, 0, precision=precision)
    list(fit(model, scratch, recipe))
    assert set(model.heard[True]) == {training_in}
    assert set(model.heard[False]) == {FLOAT32}
    with torch.autocast("cpu", torch.bfloat16):
        training.predict(model, [data(4)])
    assert set(model.heard[False]) == {FLOAT32}


@pytest.mark.usefixtures("switches")
def test_tf32_is_switched_on_where_a_gpu_has_it(monkeypatch):
    gpu = torch.device("cuda", 0)
    for capability, found in {(7, 5): "float32", (8, 0): "tf32", (9, 0): "tf32"}.items():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert training.computed_in("tf32", gpu) == found
        assert training.computed_in("float32", gpu) == "float32"
        assert training.computed_in("bfloat16", gpu) == "bfloat16"
        assert training.computed_in("tf32", CPU) == "float32"
        with training._multiplying_in("tf32", gpu):
            assert torch.backends.cudnn.allow_tf32 == (found == "tf32")
            assert torch.backends.cuda.matmul.allow_tf32 == (found == "tf32")
        with training._multiplying_in("float32", gpu):
            assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.usefixtures("switches")
def test_full_precision_is_for_as_long_as_it_is_asked_for():
    torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("medium")
    with full_precision():
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cudnn.benchmark
        assert torch.backends.cudnn.deterministic
    assert torch.get_float32_matmul_precision() == "medium"
    assert torch.backends.cudnn.allow_tf32 and torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.deterministic


def test_bfloat16_trains_to_other_weights_and_evaluates_them_as_float32_does(tmp_path):
    states = {}
    for precision in ("float32", "tf32", "bfloat16"):
        recipe = training.Recipe(2, 0.05, 0.9, 5e-4, 3, precision=precision)
        model = network()
        rows = [*fit(model, Scratch(tmp_path / precision, []), recipe)]
        states[precision] = model.state_dict(), rows[-1]["valid_acc"]
        plain = network()
        plain.load_state_dict(model.state_dict())
        images, labels = data(20, seed=2)
        with torch.no_grad():
            logits = plain.eval()(images)
        predicted, _ = training.predict(model, [(images, labels)])
        assert logits.dtype == torch.float32 and torch.equal(predicted, logits.argmax(1))
    weights = {precision: state["0.weight"] for precision, (state, _) in states.items()}
    assert torch.equal(weights["float32"], weights["tf32"])
    assert not torch.equal(weights["float32"], weights["bfloat16"])
    assert torch.allclose(weights["float32"], weights["bfloat16"], atol=0.02)


# --------------------------------------------------------------------------- where a run starts


@pytest.fixture(scope="module")
def arms():
    """resnet18 of one seed as both tasks start it, by kind of kernels and how they are made."""
    return {
        (kind, init): training.starting_network(
            narrow.resnet18(seed=4), 10, kind, init=init, seed=4
        )
        for kind in ("odd", "padded", "sliced")
        for init in ("zero", "random")
    }


CHANGED = [
    "conv1",
    *(f"layer{n}.0.{name}" for n in (2, 3, 4) for name in ("conv1", "downsample.0")),
]


@pytest.mark.parametrize("init", ["zero", "random"])
@pytest.mark.parametrize("kind", ["padded", "sliced"])
def test_arms_of_a_seed_differ_in_their_changed_kernels_alone(arms, kind, init):
    """To the bit: every other layer, and the head."""
    odd, other = arms["odd", init].state_dict(), arms[kind, init].state_dict()
    assert odd.keys() == other.keys()
    changed = {f"{name}.weight" for name in CHANGED}
    for name, tensor in odd.items():
        assert (name in changed) != torch.equal(tensor, other[name]), name
    assert odd["fc.weight"].shape == (10, 64)


def test_heads_and_redrawn_kernels_are_those_of_the_seed(arms):
    states = {
        seed: training.starting_network(
            narrow.resnet18(seed=4), 10, "padded", init="random", seed=seed
        ).state_dict()
        for seed in (4, 5)
    }
    for name in ("fc.weight", "conv1.weight"):
        assert torch.equal(states[4][name], arms["padded", "random"].state_dict()[name])
        assert not torch.equal(states[4][name], states[5][name])


def test_what_starts_a_run_is_uncorrelated(arms):
    """Head, redrawn kernels and the ones that they replace, number by number from the first."""
    padded, odd = (arms[kind, "random"].state_dict() for kind in ("padded", "odd"))
    weights = {name: padded[f"{name}.weight"] for name in ("fc", *CHANGED)}
    weights |= {f"odd {name}": odd[f"{name}.weight"] for name in ("layer1.0.conv1", *CHANGED)}
    weights |= {"fc bias": padded["fc.bias"].repeat(1)}
    for (first, a), (second, b) in itertools.combinations(weights.items(), 2):
        n = min(a.numel(), b.numel())
        if n > 100:
            found = np.corrcoef(a.flatten()[:n], b.flatten()[:n])[0, 1]
            assert abs(found) < 4.5 / math.sqrt(n), (first, second)


def test_kernels_are_drawn_for_a_module_whatever_else_is_changed(arms):
    """As in a network of which nothing else is even."""
    model = narrow.resnet18(seed=4)
    for name in CHANGED[1:]:
        model.get_submodule(name).stride = (1, 1)
    alone, names = kernels.pad(model, "random", seed=4)
    assert names == ["conv1", "maxpool"]
    assert torch.equal(alone.conv1.weight, arms["padded", "random"].conv1.weight)


# ------------------------------------------------------------------- what was saved is not of it


def stopped(tmp_path, recipe=RECIPE, epochs=2):
    """Scratch of a run that was stopped after some epochs, and its arrays."""
    scratch = Scratch(tmp_path / "damaged", [])
    run = fit(network(), scratch, recipe, seconds_between_saves=0)
    for _ in range(epochs):
        next(run)
    run.close()
    return scratch, scratch.load("training")


def without(prefix):
    return lambda arrays: {k: v for k, v in arrays.items() if not k.startswith(prefix)}


def with_run(change):
    def changed(arrays):
        run = json.loads(str(arrays["run"]))
        change(run)
        return {**arrays, "run": np.array(json.dumps(run))}

    return changed


def with_array(name, array):
    return lambda arrays: {**arrays, name: array}


def forget_momentum(arrays):
    return with_run(lambda run: run["momentum"].clear())(without("momentum/")(arrays))


def test_a_network_with_an_open_mask_goes_on_where_it_was(tmp_path):
    """Attention hides places by minus infinity, which was so before training."""
    masked = network()
    masked.register_buffer("mask", torch.full((2, 2), -math.inf).triu(1))
    scratch = Scratch(tmp_path / "masked", [])
    run = fit(copy.deepcopy(masked), scratch, seconds_between_saves=0)
    for _ in range(3):
        next(run)
    run.close()
    kept = fit(masked, scratch, train=lambda _: pytest.fail("an epoch is trained twice"))
    assert [next(kept)["epoch"] for _ in range(3)] == [1, 2, 3]


NAN = np.full((8,), np.nan, np.float32)
DAMAGES = {
    "no momentum": without("momentum/"),
    "momentum of one parameter": without("momentum/6.bias"),
    "momentum forgotten": forget_momentum,
    "momentum of another shape": with_array("momentum/1.bias", np.zeros(9, np.float32)),
    "no weights": without("model/"),
    "a weight missing": without("model/1.running_var"),
    "no best weights": without("best/"),
    "another key": with_array("model/9.weight", np.zeros(3, np.float32)),
    "a key of no part": with_array("other", np.zeros(3)),
    "another type": with_array("model/1.bias", np.zeros(8)),
    "text": with_array("model/1.bias", np.array(["x"] * 8)),
    "not finite": with_array("model/1.bias", NAN),
    "best not finite": with_array("best/1.bias", NAN),
    "no rows": without("run"),
    "no text": with_array("run", np.zeros(3)),
    "no object": with_array("run", np.array("[1, 2]")),
    "rows that are numbers": with_run(lambda run: run.update(rows=[1, 2])),
    "rows without a column": with_run(lambda run: run["rows"][1].pop("train_acc")),
    "columns of another run": with_run(lambda run: run["rows"][0].update(test_acc=0.5)),
    "an epoch lost": with_run(lambda run: run["rows"].pop(0)),
    "epochs after the last": with_run(lambda run: run["rows"].extend(run["rows"] * 2)),
    "another rate": with_run(lambda run: run["rows"][1].update(lr=0.7)),
    "steps that are not whole": with_run(lambda run: run["rows"][1].update(steps=[[16, 0.5]])),
    "steps of unlike lengths": with_run(lambda run: run["rows"][1].update(steps=[[16, 5], [16]])),
    "no predictions": with_run(lambda run: run["rows"][1].update(valid_predicted=[])),
    "a loss of text": with_run(lambda run: run["rows"][1].update(train_loss="low")),
    "a loss that is not finite": with_run(lambda run: run["rows"][1].update(train_loss=math.nan)),
}


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    model = network()
    rows = list(fit(model, Scratch(tmp_path_factory.mktemp("whole"), [])))
    return without_time(rows), model.state_dict()


@pytest.fixture(scope="module")
def stopped_arrays(tmp_path_factory):
    return stopped(tmp_path_factory.mktemp("stopped"))[1]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_saved_damaged_is_left_and_said_in_a_line(
    scratch, caplog, stopped_arrays, whole_run, damage
):
    scratch.save("training", DAMAGES[damage](stopped_arrays))
    model = network()
    rows = without_time(fit(model, scratch))
    warned = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 1 and "\n" not in warned[0].getMessage()
    assert warned[0].getMessage().startswith("starting from the first epoch: ")
    assert "going on" not in caplog.text
    assert (rows, [*model.state_dict()]) == (whole_run[0], [*whole_run[1]])
    assert all(torch.equal(model.state_dict()[name], t) for name, t in whole_run[1].items())


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_parameters_that_have_no_momentum_are_not_missed(tmp_path, caplog, momentum):
    """Without momentum nothing has any; frozen and unused ones never have."""
    caplog.set_level("INFO")
    recipe = training.Recipe(3, 0.05, momentum, 5e-4, 3)

    def partly_frozen():
        model = network()
        model[0].requires_grad_(False)
        model.unused = nn.Linear(2, 2)
        model.forward = lambda image: nn.Sequential(*model[:7])(image)
        return model

    scratch = Scratch(tmp_path, [])
    run = fit(partly_frozen(), scratch, recipe, seconds_between_saves=0)
    next(run)
    run.close()
    list(fit(partly_frozen(), scratch, recipe))
    assert "going on after epoch 1" in caplog.text


def test_a_run_outside_the_main_thread(tmp_path):
    """Where Python lets nobody handle signals."""
    rows = []
    thread = threading.Thread(target=lambda: rows.extend(fit(network(), Scratch(tmp_path, []))))
    thread.start()
    thread.join()
    assert len(rows) == 5


def test_sigterm_waits_for_a_save_beside_other_threads(tmp_path, monkeypatch):
    events, save = [], Scratch.save

    def noted(scratch, name, arrays):
        events.append("begun")
        if len(events) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        save(scratch, name, arrays)
        events.append("ended")

    monkeypatch.setattr(Scratch, "save", noted)
    over = threading.Event()
    threading.Thread(target=over.wait).start()
    try:
        with pytest.raises(SystemExit):
            list(fit(network(), Scratch(tmp_path, []), seconds_between_saves=0))
    finally:
        over.set()
    assert events == ["begun", "ended"] * 2


def test_saving_leaves_the_signals_of_the_caller_as_they_were(tmp_path):
    handler = signal.getsignal(signal.SIGTERM)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        list(fit(network(), Scratch(tmp_path, []), seconds_between_saves=0))
        assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert signal.getsignal(signal.SIGTERM) is handler


@pytest.mark.parametrize("n", [0, 1])
def test_an_epoch_without_a_batch_is_refused(scratch, n):
    images, labels = data(n)
    train = training.epoch_batches(lambda _, chosen: images[chosen], labels, 16, seed=3)
    with pytest.raises(InputError, match="no two images to train with"):
        next(fit(network(), scratch, train=train, evaluated={}))
