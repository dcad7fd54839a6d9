"""The one place of random streams: a stream of its own for each purpose of each seed.

Streams are keyed by a seed, a purpose and further keys as text, of which every bit counts, so that
no two of them share numbers whatever is drawn from others. Draws for images are a pure function of
(seed, purpose, epoch, image): no generator has a state to save.
"""

import contextlib
import hashlib
import math
from collections.abc import Iterator
from enum import StrEnum

import numpy as np

_WORD = 2**32


class Purpose(StrEnum):
    """What is drawn. Synthetic images have streams of their own."""

    SPLIT = "split"  # one stream for each class
    NETWORK = "network"
    HEAD = "head"
    KERNELS = "kernels"  # one stream for each module
    ORDER = "order"  # of the images, one stream for each epoch; so for
    LAYERS = "layers"  # that draw while they train, as dropout does
    AUGMENTATION = "augmentation"
    TRAINING_SQUARES = "training squares"
    TEST_SQUARES = "test squares"
    PLACES = "places"  # to probe, one stream for each image
    SMOOTHGRAD = "smoothgrad"  # noise, one stream for each image and copy of it
    ATTACK = "one-pixel attack"  # one stream for each image


def stream(seed: int, purpose: Purpose, *keys: str | int) -> np.random.SeedSequence:
    """Entropy of one stream, for `seed` of 0 to 2**63 - 1."""
    name = "/".join(map(str, (purpose, *keys)))
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), "<u4")
    return np.random.SeedSequence(seed, spawn_key=words.tolist())


def generator(seed: int, purpose: Purpose, *keys: str | int) -> np.random.Generator:
    """NumPy's generator at the start of a stream."""
    return np.random.default_rng(stream(seed, purpose, *keys))


def torch_seed(seed: int, purpose: Purpose, *keys: str | int) -> int:
    """A seed of 64 bits for PyTorch's generators; that of the CPU uses the lower half of them."""
    return int(stream(seed, purpose, *keys).generate_state(1, np.uint64)[0])


@contextlib.contextmanager
def initialising(seed: int, purpose: Purpose, *keys: str | int) -> Iterator[None]:
    """In this block PyTorch's CPU generator yields a stream; afterwards it is as it was."""
    import torch  # here, because what draws no weights needs no PyTorch

    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would reseed a GPU's generator too, which is not forked
        torch.default_generator.manual_seed(torch_seed(seed, purpose, *keys))
        yield


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Random 32-bit words, uint64 (..., 4), of counters of that shape: Philox4x32-10.

    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    c0, c1, c2, c3 = np.moveaxis(counter, -1, 0)
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1 = (p1 >> 32) ^ c1 ^ k0, p1 % _WORD
        c2, c3 = (p0 >> 32) ^ c3 ^ k1, p0 % _WORD
        k0, k1 = (k0 + 0x9E3779B9) % _WORD, (k1 + 0xBB67AE85) % _WORD
    return np.stack([c0, c1, c2, c3], axis=-1)


def words(seed: int, purpose: Purpose, epoch: int, indices: np.ndarray, count: int) -> np.ndarray:
    """`count` random 32-bit words of each image, uint64 (N, count)."""
    blocks = math.ceil(count / 4)
    counter = np.zeros((len(indices), blocks, 4), np.uint64)
    counter[..., 0] = np.arange(blocks)
    counter[..., 1] = indices[:, None]
    counter[..., 2] = epoch
    key = stream(seed, purpose).generate_state(2).tolist()
    return philox(counter, tuple(key)).reshape(len(indices), -1)[:, :count]


def uniforms(
    seed: int, purpose: Purpose, epoch: int, indices: np.ndarray, count: int
) -> np.ndarray:
    """`count` numbers in [0, 1) of each image, float64 (N, count)."""
    return words(seed, purpose, epoch, indices, count) / _WORD
