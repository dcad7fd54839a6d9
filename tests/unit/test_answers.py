"""What a network says: of every image, in order, and never what is no number."""

import pytest
import torch
from torch import nn

from deadpixel.errors import InputError
from deadpixel.probes.answers import answers

IMAGES = torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(0))


def test_answers_are_the_logits_of_all_batches_in_order():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).requires_grad_(False)
    found = answers(model, IMAGES.split(2))
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), model(IMAGES))


def test_answers_leave_no_graph_and_the_images_as_they_are():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4, 3))
    before = IMAGES.clone()
    assert not answers(model, [IMAGES]).requires_grad
    assert torch.equal(IMAGES, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_answers_that_are_no_numbers_are_refused(value):
    images = IMAGES.clone()
    images[3, 0, 0, 0] = value
    with pytest.raises(InputError, match="logits are not finite"):
        answers(nn.Flatten(), images.split(2))


def test_answers_are_of_full_precision():
    """And what was allowed before is allowed again."""
    seen = []

    class Watching(nn.Flatten):
        def forward(self, input):  # noqa: A002
            seen.append(torch.get_float32_matmul_precision())
            return super().forward(input)

    torch.set_float32_matmul_precision("medium")
    try:
        answers(Watching(), [IMAGES])
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == ["highest"]
