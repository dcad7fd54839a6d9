"""Figures as files: the same for the same numbers, whole or not at all."""

import base64
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from deadpixel.results import style

SCRIPTS = Path(style.__file__).resolve().parents[2]


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


def test_text_stays_text_in_vector_files(tmp_path: Path) -> None:
    figure = Figure((2, 2))
    figure.add_subplot(title="σ of a field")
    style.save(figure, [tmp_path / "a.svg", tmp_path / "a.pdf"])
    assert ">σ of a field</text>" in (tmp_path / "a.svg").read_text()
    assert b"/Type /Font /Subtype /Type0" in (tmp_path / "a.pdf").read_bytes()
    assert b"/Type3" not in (tmp_path / "a.pdf").read_bytes()


def test_maps_keep_their_pixels_in_vector_files(tmp_path: Path) -> None:
    figure = Figure((2, 2))
    image = figure.add_subplot().imshow(np.random.default_rng(0).random((30, 20)))
    files = [tmp_path / f"a.{suffix}" for suffix in ("png", "svg", "pdf")]
    style.save(figure, files)
    (embedded,) = re.findall('data:image/png;base64,([^"]+)', files[1].read_text())
    with Image.open(io.BytesIO(base64.b64decode(embedded))) as inside:
        assert inside.size == (20, 30)
    assert b"/Width 20" in files[2].read_bytes() and b"/Height 30" in files[2].read_bytes()
    style.save(figure, files[:1])
    assert image.get_interpolation() == "auto"  # no moiré where pixels are smaller than the map's


@pytest.mark.slow
def test_same_figure_same_file_in_another_process(tmp_path: Path) -> None:
    """Whatever the order of sets is there."""
    program = (
        "import sys; from deadpixel.results import padding, style;"
        "style.save(padding.window_references(), sys.argv[1:])"
    )
    found = set()
    for seed in "12":
        files = [str(tmp_path / f"{seed}.{suffix}") for suffix in ("svg", "pdf")]
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(SCRIPTS)}
        subprocess.run([sys.executable, "-c", program, *files], check=True, env=environment)
        found.add(tuple(Path(file).read_bytes() for file in files))
    assert len(found) == 1


def _oklab(colours: np.ndarray) -> np.ndarray:
    """Lightness, a and b of sRGB colours (n, 3); Ottosson 2020."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    mixed = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.cbrt(linear @ np.transpose(cones)) @ np.transpose(mixed)


def test_equal_steps_of_a_scale_about_a_middle_look_equal() -> None:
    lab = _oklab(style.DIVERGING(np.linspace(0, 1, 33))[:, :3])
    steps = np.linalg.norm(np.diff(lab, axis=0), axis=1)
    assert steps.max() < 1.35 * steps.min()  # of 256 colours
    np.testing.assert_allclose(lab[:, 0], lab[::-1, 0], atol=0.02)  # both sides as dark
    assert lab[:, 0].argmax() == 16 and abs(lab[16, 1:]).max() < 0.01


def test_what_is_dead_is_not_the_middle_of_a_scale() -> None:
    for scale in (style.SEQUENTIAL, style.DIVERGING):
        dead = scale(np.ma.masked_invalid([np.nan]))[0]
        assert np.abs(scale(np.linspace(0, 1, 101)) - dead).max(1).min() > 0.1


def test_kinds_of_kernels_have_colours_of_their_own() -> None:
    kinds = ["odd", "padded", "sliced", *(f"kind{number}" for number in range(8))]
    found = style.colours(kinds)
    assert len({found[kind] for kind in kinds}) == len(kinds)
    lab = _oklab(np.array([to_rgb(found[kind]) for kind in kinds]))
    apart = np.linalg.norm(lab[:, None] - lab, axis=2) + 9 * np.eye(len(kinds))
    assert apart.min() > 0.08


def test_text_on_a_map_can_be_read() -> None:
    for value in np.linspace(0, 1, 21):
        ink, ground = (
            _oklab(np.array([to_rgb(colour)]))[0, 0]
            for colour in (style.ink_on(value), style.SEQUENTIAL(value))
        )
        assert abs(ink - ground) > 0.25


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (4, 1, 4), (9, 3, 4)])
def test_panels_stay_within_a_page_and_do_not_touch(count: int, rows: int, columns: int) -> None:
    figure, panels = style.panels(count, 1.4, 1.5, each=2)
    assert panels.shape == (count, 2) and len(figure.axes) == 2 * count
    assert figure.get_figwidth() <= style.WIDTH
    for number, column in enumerate(panels):
        for part, panel in enumerate(column):
            panel.set_title("resnext101_32x8d")
            if number == 0:
                panel.set_ylim(0, 1 + part)
            place = panel.get_subplotspec()
            assert place.get_gridspec().get_geometry() == (2 * rows, columns)
            assert place.rowspan.start == 2 * (number // columns) + part
            assert place.colspan.start == number % columns
    assert all(
        (loss.get_ylim(), accuracy.get_ylim()) == ((0, 1), (0, 2)) for loss, accuracy in panels
    )
    figure.draw_without_rendering()
    boxes = [panel.get_tightbbox() for panel in panels.flat]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
