"""In processes of their own, as other tests may have imported PyTorch's compiler."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from deadpixel import uncompiled

LIBRARY = str(Path(uncompiled.__file__).parents[1])
EVERYTHING = """
import numpy as np, torch
from pathlib import Path
from deadpixel import erf, kernels, receptive_field, training, uncompiled
from deadpixel.data import augment
from deadpixel.files.resume import Scratch
from deadpixel.networks import zoo

def compiler():
    return "torch._dynamo" in sys.modules

network = zoo.build("resnet18")
padded = kernels.apply(network, "padded")
assert zoo.imagenet_accuracy("resnet18") == (69.758, 89.078)
receptive_field.fields(padded, ["layer4"], (64, 64))
assert not compiler(), "torchvision"

with uncompiled.imports():
    @torch.compiler.disable
    def skipped():
        return torch.compiler.is_compiling()

    skip = torch.compiler.disable(recursive=False)
zoo.build("timm:test_resnet")
assert not compiler(), "timm"

image = np.zeros((80, 90, 3), np.uint8)
how = augment.Augmentation(resized_crop=72, crop=64)
assert augment.torchvision_transform(how)(image).shape == (3, 64, 64)
assert not compiler(), "transforms"

batches = [(torch.rand(2, 3, 64, 64), torch.tensor([0, 1]))]
recipe = training.Recipe(epochs=2, learning_rate=0.1, momentum=0.9, weight_decay=0, seed=0)
scratch = Scratch("{folder}", [])
cpu = torch.device("cpu")
rows = training.fit(network, lambda epoch: batches, {{}}, recipe, scratch, device=cpu)
assert len([*rows]) == 2
assert not compiler(), "training"
"""
COMPILED = """
supported = sys.modules["torchvision.ops.roi_align"].is_compile_supported
assert not compiler()
assert supported("cpu") is True
import torch._dynamo
assert supported("cpu") == torch._dynamo.utils.is_compile_supported("cpu")
assert torch._dynamo.utils is sys.modules["torch._dynamo.utils"]
assert torch._dynamo.utils.__file__.endswith("utils.py")
assert torch.compiler.disable.__name__ == "disable"
seen = []
compiled = torch.compile(lambda x: (seen.append(skipped()), x + 1)[1], backend="eager")
assert compiled(torch.ones(1)) == 2
assert seen == [False], "skipped"
assert skip(lambda: 3)() == 3
"""


def run(program: str) -> None:
    path = f"import sys\nsys.path.insert(0, {LIBRARY!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", path + program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_networks_are_built_read_and_trained_without_it_and_it_can_be_had_all_the_same(tmp_path):
    run(EVERYTHING.format(folder=tmp_path) + COMPILED)


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked",
    [
        "from torch._dynamo.utils import counters; from torch._dynamo import utils",
        "from torch._dynamo.eval_frame import is_dynamo_supported; from torch._dynamo import utils",
    ],
)
def test_who_asks_for_it_in_the_midst_of_imports_gets_it(asked):
    run(f"""
from deadpixel import uncompiled
with uncompiled.imports():
    import torchvision
    {asked}
    assert utils.counters is sys.modules["torch._dynamo.utils"].counters
import torch
assert torch._dynamo.utils is sys.modules["torch._dynamo.utils"]
assert torch._dynamo.utils.__file__.endswith("utils.py")
for module in [*sys.modules.values()]:
    for held in [*vars(module).values()]:
        assert type(held) is not uncompiled._StandIn, module
""")


def test_steps_are_those_of_pytorch_bit_by_bit():
    weights = []
    for kind in (uncompiled.SGD, torch.optim.SGD):
        torch.manual_seed(0)
        network = nn.Linear(4, 3)
        steps = kind(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        for _ in range(3):
            steps.zero_grad()
            assert network.weight.grad is None
            (network(torch.ones(2, 4)) ** 2).sum().backward()
            steps.step()
            assert torch.is_grad_enabled() and network.weight.requires_grad
        weights.append(network.weight)
    assert torch.equal(*weights)
