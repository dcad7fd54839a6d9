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


def _written(root: Path, blocks: list[maps.Erf]) -> list[Path]:
    """Files of the blocks of two fields, one of them twice the other; a last one has no images."""
    paths = []
    for number, block in enumerate([*blocks, None]):
        fields = {"wide": block, "double": block + block} if block else {}
        paths.append(root / f"dataset=cub/block={number}/sums.parquet")
        parquet.write(maps.block_to_frame(fields), paths[-1], schemas.BLOCK, {})
    return paths


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


def test_what_shards_computed_together() -> None:
    """The device of every shard is named once, and seconds are those of all."""
    shards = [{"device": name, "seconds": 2.0, "seed": 0} for name in ("a", "b", "a")]
    facts = maps.merged_facts(shards)
    assert facts == {"device": "a, b", "seconds": 6.0, "seed": 0}
    waited = [{**shard, "seconds_waited_for_images": 0.5} for shard in shards]
    assert maps.merged_facts(waited) == {**facts, "seconds_waited_for_images": 1.5}


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


def test_blocks_make_one_field_through_files(tmp_path: Path) -> None:
    """Uneven, wider than high, and of blocks of several sizes: every number is where it belongs."""
    stack = _stack(11, 3, 5)
    blocks = [_erf(part) for part in np.split(stack, [4, 6, *range(7, 11)])]
    blocks = [block for block in blocks if block.count] + [_erf(stack[:1])] * 5  # block=10 after 9
    paths = _written(tmp_path, blocks)
    read = maps.read_blocks(paths[::-1])
    assert [*read] == ["wide", "double"]
    for name, factor in (("wide", 1), ("double", 2)):
        for found, block in zip(read[name], blocks, strict=True):
            assert found.count == factor * block.count
            np.testing.assert_array_equal(found.total, factor * block.total)
            np.testing.assert_array_equal(found.total_squares, factor * block.total_squares)

    erf = tmp_path / "dataset=cub/model=resnet18/erf.parquet"
    written = maps.write(read["wide"], erf, {"seed": 7})
    count = sum(block.count for block in blocks)
    merged = sum(block.total for block in blocks) / count
    np.testing.assert_allclose(written.mean, merged, rtol=1e-12)
    assert parquet.read_provenance(erf) == {"seed": 7, "n_images": count}
    stored = maps.read(erf)
    assert (stored.key, stored.n_images) == ({"dataset": "cub", "model": "resnet18"}, count)
    np.testing.assert_array_equal(stored.mean, written.mean)
    pixel = parquet.read(erf, schemas.ERF).set_index(["row", "col"]).loc[(1, 4)]
    assert pixel.tolist() == [written.mean[1, 4], written.se[1, 4]]


def test_a_tile_is_where_it_belongs() -> None:
    frame = maps.tile_to_frame(np.arange(9.0).reshape(3, 3))
    assert frame.set_index(["row", "col"])["sensitivity"].loc[(1, 2)] == 5
    assert frame["period"].unique().tolist() == [3]


def test_fields_at_the_start_are_read_by_run(tmp_path):
    fields = {
        seed: maps.Erf(np.full((2, 3), seed + 1.0), np.ones((2, 3)), 2) for seed in (7, 2**40)
    }
    frames = [maps.to_frame(field).assign(seed=seed) for seed, field in fields.items()]
    paths = [tmp_path / f"model=a/kernels={k}/starts.parquet" for k in ("odd", "odd_65px")]
    for path in paths:
        parquet.write(pd.concat(frames), path, schemas.STARTS, {})
    found = maps.read_starts(paths)
    assert [*found] == [("a", k, seed) for k in ("odd", "odd_65px") for seed in (7, 2**40)]
    for (_, _, seed), field in found.items():
        assert np.array_equal(field, fields[seed].mean)
