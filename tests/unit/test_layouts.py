"""Layouts: those that the registry may name, and the manifest of a data set in each of them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from deadpixel.data import layouts
from deadpixel.errors import InputError
from publisher import cub_files

FRACTIONS = {"train": 0.5, "valid": 0.25, "test": 0.25}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    """Two classes of four images, and a folder of clutter."""
    for number in range(12):
        file = tmp_path / ("ant", "bee", "clutter")[number // 4] / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((3, 3), number, np.uint8)).save(file)
    return tmp_path


def test_the_registry_may_name_each_layout_and_no_other() -> None:
    schema = yaml.safe_load((ROOT / "schemas/registry.schema.yaml").read_text())
    dataset = schema["properties"]["datasets"]["additionalProperties"]
    assert dataset["properties"]["layout"]["enum"] == [*layouts.LAYOUTS]


def test_folders_are_split_by_the_seed(objects: Path) -> None:
    found = layouts.manifest(objects, "folders", FRACTIONS, seed=0, exclude=["clutter"])
    assert [*found.groupby("class_name").size()] == [4, 4]
    assert found["split"].value_counts().to_dict() == {"train": 4, "valid": 2, "test": 2}
    shutil.copy(objects / "ant/0.png", objects / "bee/0.png")
    with pytest.raises(InputError, match=r"ant/0\.png has the same content as .+bee/0\.png"):
        layouts.manifest(objects, "folders", FRACTIONS, seed=0)


def test_a_published_data_set_is_whole_and_may_lie_there_without_its_clutter(
    objects: Path,
) -> None:
    """Contradicting labels are its authors' own; the user's misspelt `exclude` is a mistake."""
    settings = {"seed": 0, "exclude": ["clutter"]}
    contents = {"classes": 2, "images": 8}
    shutil.copy(objects / "ant/0.png", objects / "bee/4.png")
    for _ in range(2):
        found = layouts.manifest(objects, "folders", FRACTIONS, contents=contents, **settings)
        assert len(found) == 8
        shutil.rmtree(objects / "clutter", ignore_errors=True)
    with pytest.raises(InputError, match=r"8 images instead of 9: replace it"):
        contents = {"classes": 2, "images": 9}
        layouts.manifest(objects, "folders", FRACTIONS, contents=contents, **settings)
    with pytest.raises(InputError, match="no sub-folder 'clutter' to exclude"):
        layouts.manifest(objects, "folders", FRACTIONS, **settings)


def test_cub200_has_its_own_split(tmp_path: Path) -> None:
    for name, content in cub_files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    contents = {"classes": 3, "images": 24, "test_images": 12}
    root = tmp_path / "CUB_200_2011/images"
    found = layouts.manifest(root, "cub200", FRACTIONS, seed=0, contents=contents)
    assert found["split"].tolist() == ["train", "test"] * 12
