"""Figures as files: the same for the same numbers, whole or not at all."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from deadpixel.results import style


def test_same_figure_same_file(tmp_path: Path) -> None:
    """So a figure in a repository changes when its numbers do, not whenever it is drawn."""
    for name in ("a", "b"):
        figure = Figure((2, 2))
        axes = figure.add_subplot(title="a title")
        axes.imshow(np.eye(5))
        axes.plot([0, 4], [4, 0], marker="o", label="a line")
        axes.legend()
        style.save(figure, [tmp_path / f"{name}.svg", str(tmp_path / f"{name}.png")])
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")
    first, second = (Image.open(tmp_path / f"{name}.png") for name in "ab")
    with first, second:
        assert first.format == "PNG"
        np.testing.assert_array_equal(np.asarray(first), np.asarray(second))
        assert np.asarray(first).std() > 10  # not blank
    assert len([*tmp_path.iterdir()]) == 4


def test_last_bits_of_a_layout_change_no_file(tmp_path: Path) -> None:
    width = 0.3
    for name, of in (("a", width), ("b", np.nextafter(width, 1))):
        figure = Figure((2, 2))
        for left in (0.1, 0.6):
            axes = figure.add_axes((left, 0.1, of, 0.8))
            axes.plot([0, 4], [4, 0], marker="o")
        style.save(figure, [tmp_path / f"{name}.svg"])
    one, other = ((tmp_path / f"{name}.svg").read_text() for name in "ab")
    assert one == other
    used = set(re.findall(r"#(id\d+)", one))
    defined = set(re.findall(r'id="(id\d+)"', one))
    assert used == defined and len(used) >= 3  # two clips and a marker at least


def test_save_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(_figure: Figure, file: Path, **_: object) -> None:
        file.write_bytes(b"half")
        raise OSError("no space left on device")

    (tmp_path / "a.png").write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="no space"):
        style.save(Figure(), [tmp_path / "a.png"])
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]
