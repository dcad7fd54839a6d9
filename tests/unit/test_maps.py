"""Effective receptive fields as sums over images, and their way through files and back."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deadpixel.errors import InputError
from deadpixel.files import maps, parquet, schemas


def _stack(*shape: int) -> np.ndarray:
    """Gradients (images, H, W) after the ReLU, of different scale from pixel to pixel."""
    rng = np.random.default_rng(0)
    return rng.normal(size=shape).clip(0) * rng.uniform(0.1, 10, size=shape[1:])


def _erf(stack: np.ndarray) -> maps.Erf:
    return maps.Erf(stack.sum(0), (stack**2).sum(0), len(stack))


def _files(root: Path, blocks: list[maps.Erf], **facts: object) -> tuple[Path, Path]:
    """Write the merged field and its blocks as the workflow does."""
    folder = root / "dataset=cub" / "model=resnet18"
    erf, parts = folder / "erf.parquet", folder / "blocks.parquet"
    parquet.write(maps.to_frame(sum(blocks[1:], start=blocks[0])), erf, schemas.ERF, facts)
    parquet.write(maps.blocks_to_frame(blocks), parts, schemas.ERF_BLOCKS, facts)
    return erf, parts


@pytest.mark.parametrize("cuts", [[], [1], [3, 4, 15]])
def test_merged_is_as_of_all_images(cuts: list[int]) -> None:
    """Mean and standard error are those over the stacked images, however they were divided."""
    stack = _stack(20, 5, 7)
    first, *rest = (_erf(part) for part in np.split(stack, cuts))
    field = sum(rest, start=first)
    assert field.count == 20
    np.testing.assert_allclose(field.mean, stack.mean(0), rtol=1e-12)
    np.testing.assert_allclose(field.se, stack.std(0, ddof=1) / np.sqrt(20), rtol=1e-9)


def test_standard_error_of_the_same_and_of_one() -> None:
    """Zero where all images agree, in spite of rounding; unknown of a single image."""
    same = np.repeat(_stack(1, 9, 9), 7, axis=0)
    np.testing.assert_allclose(_erf(same).se, 0, atol=1e-6)
    with np.errstate(all="raise"):
        assert np.isnan(_erf(same[:1]).se).all()
    assert _erf(same[:1]).mean.tolist() == same[0].tolist()


def test_files_hold_the_field(tmp_path: Path) -> None:
    """Row and column are where they belong, and the folders say what the field is of."""
    blocks = [_erf(part) for part in np.split(_stack(9, 3, 5), [4, 6])]
    erf, parts = _files(tmp_path, blocks, n_images=9)
    merged = blocks[0] + blocks[1] + blocks[2]
    pixel = parquet.read(erf, schemas.ERF).set_index(["row", "col"]).loc[(1, 4)]
    assert pixel.tolist() == [merged.mean[1, 4], merged.se[1, 4]]

    stored = maps.read(erf)
    assert stored.key == {"dataset": "cub", "model": "resnet18"}
    assert stored.n_images == 9
    np.testing.assert_array_equal(stored.mean, merged.mean)

    means, counts = maps.read_blocks(parts)
    assert counts == [4, 2, 3]
    for mean, block in zip(means, blocks, strict=True):
        np.testing.assert_array_equal(mean, block.mean)


def test_what_shards_computed_together() -> None:
    """The device of every shard is named once, and seconds are those of all."""
    shards = [{"device": name, "seconds": 2.0, "seed": 0} for name in ("a", "b", "a")]
    facts = maps.merged_facts(shards)
    assert facts == {"device": "a, b", "seconds": 6.0, "seed": 0}


def test_rows_in_any_order() -> None:
    field = _erf(_stack(3, 4, 6))
    shuffled = maps.to_frame(field).sample(frac=1, random_state=0)
    np.testing.assert_array_equal(maps.to_field(shuffled), field.mean)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda frame: frame.drop(7),
        lambda frame: frame.drop([0, 1, 2, 3, 4]),
        lambda frame: pd.concat([frame, frame.iloc[[7]]]),
        lambda frame: pd.concat([frame.drop(7), frame.iloc[[8]]]),
        lambda frame: frame.assign(mean=np.nan),
        lambda frame: frame.assign(mean=frame["mean"].where(frame.index != 4, np.inf)),
        lambda frame: frame.assign(row=frame["row"] - 1),
        lambda frame: frame.assign(row=frame["row"].where(frame.index != 14, 30_000)),
        lambda frame: frame.iloc[:0],
    ],
    ids=[
        *("missing", "row missing", "double", "one for another", "no numbers", "infinite"),
        *("negative place", "place beyond", "empty"),
    ],
)
def test_missing_and_double_pixels(tmp_path: Path, spoil) -> None:
    """No hole is filled with zeros."""
    frame = spoil(maps.to_frame(_erf(_stack(3, 3, 5))))
    with pytest.raises(InputError, match="not one finite number for each pixel of a map: delete"):
        maps.to_field(frame)
    parquet.write(frame, tmp_path / "erf.parquet", schemas.ERF, {"n_images": 3})
    with pytest.raises(InputError):
        maps.read(tmp_path / "erf.parquet")


@pytest.mark.parametrize("facts", [{}, {"n_images": "many"}])
def test_a_map_of_an_unknown_number_of_images(tmp_path: Path, facts: dict) -> None:
    """No traceback: the file may be of another program."""
    parquet.write(
        maps.to_frame(_erf(_stack(3, 3, 5))), tmp_path / "erf.parquet", schemas.ERF, facts
    )
    with pytest.raises(
        InputError, match=r"erf.parquet: does not say how many images it is of: delete"
    ):
        maps.read(tmp_path / "erf.parquet")


def test_blocks_of_all_shards_make_one_field(tmp_path: Path) -> None:
    """Uneven, wider than high, and of blocks of several sizes: every number is where it belongs."""
    blocks = [_erf(part) for part in np.split(_stack(9, 3, 5), [4, 6])]
    shards = [tmp_path / "shard=0.parquet", tmp_path / "shard=1.parquet"]
    for path, numbers in zip(shards, ([0, 2], [1]), strict=True):
        chosen = {number: blocks[number] for number in numbers}
        parquet.write(maps.sums_to_frame(chosen), path, schemas.ERF_SUMS, {})
    read = maps.read_sums(shards)
    for found, block in zip(read, blocks, strict=True):
        assert found.count == block.count
        np.testing.assert_array_equal(found.total, block.total)
        np.testing.assert_array_equal(found.total_squares, block.total_squares)

    erf, parts = tmp_path / "dataset=cub/erf.parquet", tmp_path / "dataset=cub/blocks.parquet"
    maps.write(read, erf, parts, {"seed": 7})
    assert parquet.read_provenance(erf) == {"seed": 7, "n_images": 9}
    np.testing.assert_allclose(maps.read(erf).mean, _stack(9, 3, 5).mean(0), rtol=1e-12)
    assert parquet.read(parts, schemas.ERF_BLOCKS)["block"].unique().tolist() == [0, 1, 2]
    means, counts = maps.read_blocks(parts)
    assert counts == [4, 2, 3]
    for mean, block in zip(means, blocks, strict=True):
        np.testing.assert_array_equal(mean, block.mean)
    pixels = parquet.read(erf, schemas.ERF).set_index(["row", "col"])["mean"]
    assert pixels.loc[(2, 4)] == pytest.approx(_stack(9, 3, 5)[:, 2, 4].mean(), rel=1e-12)


def test_a_shard_without_blocks_has_no_rows() -> None:
    assert maps.sums_to_frame({}).empty
