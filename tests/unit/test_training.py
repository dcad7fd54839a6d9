"""The training loop: schedule, draws, rows, best weights, and runs that are interrupted."""

import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

from deadpixel import training
from deadpixel.errors import InputError
from deadpixel.store import Scratch

RECIPE = training.Recipe(epochs=5, learning_rate=0.05, momentum=0.9, weight_decay=5e-4, seed=3)
CPU = torch.device("cpu")


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
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
    columns = ["epoch", "lr", "train_loss", "train_acc", "valid_acc", "seconds"]
    assert [[*row] for row in rows] == [columns] * 5
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["lr"] for row in rows] == [training.learning_rate(RECIPE, e) for e in range(5)]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert all(0 <= row["train_acc"] <= 1 for row in rows)


def test_one_step_is_pytorchs_own(scratch):
    """One batch, one epoch: cross-entropy, SGD with momentum and weight decay."""
    images, labels = data(16)
    model, plain = network(), network()
    model[5].p = plain[5].p = 0.0
    recipe = training.Recipe(1, 0.05, 0.9, 5e-4, 0)
    list(fit(model, scratch, recipe, train=lambda epoch: [(images, labels)], evaluated={}))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    nn.functional.cross_entropy(plain(images), labels).backward()
    optimizer.step()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-7)


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


SCRIPT = """
import sys, time
sys.path[:0] = ["scripts", "tests/unit"]
import torch
from deadpixel import store
from test_training import *
scratch = Scratch(sys.argv[1], [])
model = network()
def slowly(epoch):
    for batch in batches()(epoch):
        time.sleep(0.1)
        yield batch
rows = []
for row in fit(model, scratch, train=slowly, seconds_between_saves=float(sys.argv[2])):
    print(row["epoch"], flush=True)
    rows.append(row)
torch.save({"rows": without_time(rows), "state": model.state_dict()}, sys.argv[3])
"""


@pytest.mark.parametrize(("kill", "between"), [(signal.SIGTERM, 1000), (signal.SIGKILL, 0)])
def test_a_killed_process_goes_on(tmp_path, kill, between):
    """SIGTERM saves what no save was due for; SIGKILL leaves what was saved."""
    result = tmp_path / "result.pt"
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "part"), str(between), str(result)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "1\n"
    assert process.stdout.readline() == "2\n"
    time.sleep(0.15)  # in the middle of the third epoch
    os.kill(process.pid, kill)
    assert process.wait() == (training.TERMINATED if kill == signal.SIGTERM else -kill)
    assert not result.exists()

    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["1", "2", "3", "4", "5"]
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


def test_networks_with_an_auxiliary_head(scratch):
    class WithAuxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, image):
            return (self.net(image), None) if self.training else self.net(image)

    assert len(list(fit(WithAuxiliary(), scratch))) == 5


def test_predictions(scratch):
    images, labels = data(10)
    model = network()
    predicted, true = training.predict(model, [(images[:6], labels[:6]), (images[6:], labels[6:])])
    assert torch.equal(true, labels)
    assert torch.equal(predicted, model.eval()(images).argmax(1))
    expected = float((predicted == labels).double().mean())
    assert training.accuracy(model, [(images, labels)]) == expected
