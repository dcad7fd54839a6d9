"""Figures as files: the same for the same numbers, whole or not at all."""

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


def test_save_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(_figure: Figure, file: Path, **_: object) -> None:
        file.write_bytes(b"half")
        raise OSError("no space left on device")

    (tmp_path / "a.png").write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="no space"):
        style.save(Figure(), [tmp_path / "a.png"])
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]
