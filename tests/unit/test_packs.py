"""Decoding to upright RGB, and packs: what goes in comes out, mapped rather than copied."""

import collections
import io
import json
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from deadpixel.data import packs
from deadpixel.errors import InputError
from packs import listed

RNG = np.random.default_rng(0)
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # by EXIF orientation
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}


def _noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


# ----------------------------------------------------------------------------------- decode

GREY, COLOUR, ALPHA, INKS = _noise(9, 7), _noise(9, 7, 3), _noise(9, 7, 1), _noise(9, 7, 4)
PALETTE, PLACES = _noise(256, 3), _noise(9, 7)
BITS = GREY > 127
PRINTED = (255.0 - INKS[..., :3]) * (255 - INKS[..., 3:]) / 255


def _palette() -> Image.Image:
    image = Image.fromarray(PLACES).convert("P")
    image.putdata(PLACES.ravel().tolist())
    image.putpalette(PALETTE.tobytes())
    return image


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("rgb.png", Image.fromarray(COLOUR), COLOUR),
        ("grey.png", Image.fromarray(GREY), np.dstack([GREY] * 3)),
        ("bits.png", Image.fromarray(BITS), np.dstack([255 * BITS] * 3)),
        ("grey_alpha.png", Image.fromarray(np.dstack([GREY, ALPHA])), np.dstack([GREY] * 3)),
        ("rgb_alpha.png", Image.fromarray(np.dstack([COLOUR, ALPHA])), COLOUR),
        ("palette.png", _palette(), PALETTE[PLACES]),
        ("palette.gif", _palette(), PALETTE[PLACES]),
        ("inks.tif", Image.fromarray(INKS, "CMYK"), PRINTED),
    ],
)
def test_decode_of_every_mode(
    tmp_path: Path, name: str, image: Image.Image, expected: np.ndarray
) -> None:
    """Alpha is dropped, grey repeated, and a palette's colours looked up."""
    image.save(tmp_path / name)
    decoded, _ = packs.decode(tmp_path / name)
    assert decoded.dtype == np.uint8
    assert decoded.shape == (9, 7, 3)
    assert np.abs(decoded - expected.astype(float)).max() <= (image.mode == "CMYK")


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("transparency", [3, bytes(range(256))])
def test_decode_of_a_transparent_palette(tmp_path: Path, transparency: int | bytes) -> None:
    """One transparent colour, or each of its own transparency: the colours are what they are."""
    _palette().save(tmp_path / "a.png", transparency=transparency)
    with Image.open(tmp_path / "a.png") as image:
        assert "transparency" in image.info
    np.testing.assert_array_equal(packs.decode(tmp_path / "a.png")[0], PALETTE[PLACES])


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_decode_turns_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    """As EXIF says."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored, turned = tmp_path / f"stored.{suffix}", tmp_path / f"turned.{suffix}"
    Image.fromarray(COLOUR).save(stored)
    Image.fromarray(COLOUR).save(turned, exif=exif)
    expected = UPRIGHT[orientation](packs.decode(stored)[0])
    np.testing.assert_array_equal(packs.decode(turned)[0], expected)


@pytest.mark.parametrize(
    ("name", "pixels", "mode"),
    [
        ("deep.png", np.zeros((4, 4), np.uint16), "I;16"),
        ("deep.tif", np.zeros((4, 4), np.uint16), "I;16"),
        ("whole.tif", np.zeros((4, 4), np.int32), "I"),
        ("float.tif", np.zeros((4, 4), np.float32), "F"),
    ],
)
def test_decode_refuses_more_than_8_bits(
    tmp_path: Path, name: str, pixels: np.ndarray, mode: str
) -> None:
    """It would not be the same image."""
    Image.fromarray(pixels).save(tmp_path / name)
    with pytest.raises(InputError, match=f"{re.escape(str(tmp_path / name))} has mode {mode}:"):
        packs.decode(tmp_path / name)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 12)])
def test_arrays_keep_their_bands(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.save(tmp_path / "a.npy", np.asfortranarray(pixels))
    listing = listed(["a.npy"], tmp_path)
    packs.pack(listing, tmp_path, tmp_path / "pack.arrow", {})
    found = packs.Pack(tmp_path / "pack.arrow", listing)[0]
    assert np.array_equal(found, pixels.reshape(5, 7, -1))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((4, 4, 3)),
        np.zeros(4, np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
)
def test_arrays_of_other_types_or_shapes_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=r"a\.npy is .+: make it uint8 \(height, width, bands\)"):
        packs.decode(tmp_path / "a.npy")


def test_arrays_that_would_run_programs_or_are_damaged_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "object.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY\x01")
    for name in ("object.npy", "cut.npy"):
        with pytest.raises(InputError, match=rf"{name} cannot be read .+: replace or remove it"):
            packs.decode(tmp_path / name)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "tif", "bmp", "webp"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_decode_names_a_cut_off_file(tmp_path: Path, suffix: str, share: float) -> None:
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(_noise(40, 40, 3)).save(file)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=f"{re.escape(str(file))} cannot be decoded"):
        packs.decode(file)


def test_unreadable_headers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Pillow raises of them; a size beyond its limit is one."""
    broken, large = tmp_path / "broken.png", tmp_path / "large.png"
    Image.fromarray(COLOUR).save(large)
    content = large.read_bytes()
    broken.write_bytes(content[:11] + b"\x01" + content[12:])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)
    for file in (broken, large, tmp_path / "missing.png"):
        with pytest.raises(InputError, match=re.escape(str(file))):
            packs.decode(file)


# ------------------------------------------------------------------------------------ packs

SHAPES = [(9, 7), (4, 30), (1, 1), (12, 12)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of several shapes and formats, one of them turned."""
    root = tmp_path / "images"
    root.mkdir()
    for (height, width), suffix in zip(SHAPES, ["png", "jpg", "tif", "gif"], strict=True):
        exif = Image.Exif()
        exif[0x0112] = 6 if suffix == "jpg" else 1
        Image.fromarray(_noise(height, width, 3)).save(root / f"{height}.{suffix}", exif=exif)
    return root


@pytest.fixture
def paths(folder: Path) -> list[str]:
    """Their names, in an order of our own."""
    return sorted((file.name for file in folder.iterdir()), reverse=True)


def test_pack_holds_the_decoded_images(tmp_path: Path, folder: Path, paths: list[str]) -> None:
    """In the given order and each of its own size, with what they are of."""
    manifest = listed(paths, folder)
    packs.pack(manifest, folder, tmp_path / "new" / "a.arrow", {"folder": "caltech"})
    pack = packs.Pack(tmp_path / "new" / "a.arrow", manifest)
    assert len(pack) == len(paths)
    assert [pack.path(i) for i in range(len(pack))] == paths
    for path, pixels in zip(paths, pack, strict=True):
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, packs.decode(folder / path)[0])
    assert {pixels.shape[:2] for pixels in pack} == {*SHAPES} - {(4, 30)} | {(30, 4)}
    with pa.ipc.open_file(pa.memory_map(str(tmp_path / "new" / "a.arrow"))) as reader:
        assert json.loads(reader.schema.metadata[b"deadpixel"])["folder"] == "caltech"


@pytest.mark.parametrize("index", [-1, len(SHAPES)])
def test_pack_index_beyond_the_last(
    tmp_path: Path, folder: Path, paths: list[str], index: int
) -> None:
    packs.pack(listed(paths, folder), folder, tmp_path / "a.arrow", {})
    with pytest.raises(IndexError):
        packs.Pack(tmp_path / "a.arrow")[index]


def _square(folder: Path, side: int, count: int) -> pd.DataFrame:
    """Write one square image and list it as often as asked for."""
    Image.fromarray(_noise(side, side, 3)).save(folder / "square.bmp")
    return listed(["square.bmp"] * count, folder)


def test_pack_is_mapped_not_copied(tmp_path: Path, folder: Path) -> None:
    """An image taken twice is the same memory, read-only, and Arrow has allocated none of it."""
    packs.pack(_square(folder, 200, 3), folder, tmp_path / "a.arrow", {})
    before = pa.total_allocated_bytes()
    pack = packs.Pack(tmp_path / "a.arrow")
    first, again, second = pack[0], pack[0], pack[1]
    assert pa.total_allocated_bytes() - before < first.size
    assert first.ctypes.data == again.ctypes.data
    assert not first.flags.writeable
    del pack, again
    np.testing.assert_array_equal(first, second)  # though the pack itself is gone


def test_pack_takes_the_memory_of_one_image(tmp_path: Path, folder: Path) -> None:
    """However many there are."""
    side = 200

    def peak(count: int) -> int:
        names = _square(folder, side, count)
        before = pa.default_memory_pool()
        pool = pa.proxy_memory_pool(before)
        pa.set_memory_pool(pool)
        tracemalloc.start()
        try:
            packs.pack(names, folder, tmp_path / "a.arrow", {})
            return tracemalloc.get_traced_memory()[1] + pool.max_memory()
        finally:
            tracemalloc.stop()
            pa.set_memory_pool(before)

    few, many = peak(2), peak(20)
    assert few > 3 * side**2  # an image at the least
    assert many < few + 3 * side**2


@pytest.mark.parametrize("old", [None, b"an older pack"])
def test_half_a_pack_is_none(
    tmp_path: Path, folder: Path, paths: list[str], old: bytes | None
) -> None:
    """If an image is damaged the pack stays what it was: not there, or as before."""
    output = tmp_path / "packs" / "a.arrow"
    output.parent.mkdir()
    if old:
        output.write_bytes(old)
    (folder / paths[2]).write_bytes(b"damaged")
    with pytest.raises(InputError, match=re.escape(paths[2])):
        packs.pack(listed(paths, folder), folder, output, {})
    assert [file.read_bytes() for file in output.parent.iterdir()] == ([old] if old else [])


def _text(file: Path) -> None:
    file.write_text("no pack")


def _empty(file: Path) -> None:
    file.touch()


def _missing(_file: Path) -> None:
    pass


def _parquet(file: Path) -> None:
    pq.write_table(pa.table({"path": ["a"]}), file)


def _other_columns(file: Path) -> None:
    table = pa.table({"path": ["a"], "pixels": [b"abc"]})
    with pa.ipc.new_file(str(file), table.schema) as writer:
        writer.write(table)


def _stream(file: Path) -> None:
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, packs._PACK):
        pass
    file.write_bytes(buffer.getvalue())


def _cut_off(file: Path) -> None:
    Image.fromarray(COLOUR).save(file.with_suffix(".png"))
    packs.pack(listed([f"{file.stem}.png"] * 3, file.parent), file.parent, file, {})
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    "write", [_text, _empty, _missing, _parquet, _other_columns, _stream, _cut_off]
)
def test_no_pack(tmp_path: Path, write: Callable[[Path], None]) -> None:
    """The message names the file and says what to do."""
    write(tmp_path / "a.arrow")
    where = re.escape(str(tmp_path / "a.arrow"))
    with pytest.raises(InputError, match=f"^{where}: .*run again$"):
        packs.Pack(tmp_path / "a.arrow")


def test_a_pack_is_that_of_its_manifest(tmp_path: Path, folder: Path, paths: list[str]) -> None:
    """Not of other images, of fewer, in another order, or of what the files were before."""
    manifest = listed(paths, folder)
    packs.pack(manifest, folder, tmp_path / "a.arrow", {})
    others = [
        manifest[::-1],
        manifest[:-1],
        pd.concat([manifest, manifest[-1:]]),
        manifest.replace({"path": {paths[1]: "other.png"}}),
        manifest.assign(sha256=["0" * 64, *manifest["sha256"][1:]]),
    ]
    for other in others:
        with pytest.raises(InputError, match=r"a\.arrow: its images are not .+ delete it"):
            packs.Pack(tmp_path / "a.arrow", other)


def test_a_file_that_changed_after_it_was_listed(
    tmp_path: Path, folder: Path, paths: list[str]
) -> None:
    """A sound image of the same size is no excuse."""
    manifest = listed(paths, folder)
    Image.fromarray(_noise(12, 12, 3)).save(folder / "12.gif")
    with pytest.raises(InputError, match=r"12\.gif has changed since .+ run again"):
        packs.pack(manifest, folder, tmp_path / "a.arrow", {})


def _outcome(file: Path, manifest: pd.DataFrame, expected: list[np.ndarray]) -> str:
    try:
        pack = packs.Pack(file, manifest)
        right = all(np.array_equal(pack[i], pixels) for i, pixels in enumerate(expected))
    except InputError as error:
        assert str(error).startswith(str(file))
        assert "delete it and run again" in str(error)
        return "refused"
    return "right" if right else "wrong"


@pytest.mark.slow
def test_a_damaged_pack_is_refused_by_its_name(tmp_path: Path) -> None:
    """Any byte of it: read rightly all the same, or refused; never other pixels, nor a crash."""
    for number, side in enumerate((2, 3)):
        Image.fromarray(_noise(side, side + 1, 3)).save(tmp_path / f"{number}.png")
    manifest = listed(["0.png", "1.png"], tmp_path)
    packs.pack(manifest, tmp_path, tmp_path / "a.arrow", {})
    whole = (tmp_path / "a.arrow").read_bytes()
    expected = [*packs.Pack(tmp_path / "a.arrow")]
    outcomes = collections.Counter()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        file = tmp_path / f"{place % 64}.arrow"  # a file that is mapped must not change
        file.unlink(missing_ok=True)
        file.write_bytes(damaged)
        outcomes[_outcome(file, manifest, expected)] += 1
    assert outcomes["wrong"] == 0
    assert outcomes["refused"] > 300
    pixels = whole.index(expected[1].tobytes())
    for place in (pixels, pixels + expected[1].size - 1):
        file = tmp_path / f"pixel{place}.arrow"
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert _outcome(file, manifest, expected) == "refused"


def test_what_a_pack_leaves_out_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Further frames, and transparency that there is; an opaque alpha channel is no loss."""
    frames = [Image.fromarray(_noise(5, 5, 3)) for _ in range(3)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    glass, opaque = np.dstack([_noise(5, 5, 3), np.full((5, 5), 9, np.uint8)]), _noise(5, 5, 4)
    opaque[..., 3] = 255
    Image.fromarray(glass).save(tmp_path / "glass.png")
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    names = ["glass.png", "moving.gif", "opaque.png"]
    packs.pack(listed(names, tmp_path), tmp_path, tmp_path / "a.arrow", {})
    assert [record.getMessage() for record in caplog.records] == [
        "1 images: transparency is dropped, the colours under it show; "
        f"the first is {tmp_path / 'glass.png'}",
        f"1 images: only the first frame is used; the first is {tmp_path / 'moving.gif'}",
    ]


def test_every_message_says_what_to_do(tmp_path: Path) -> None:
    """And the reason without the path again, on one line."""
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(InputError) as error:
        packs.decode(tmp_path / "a.jpg")
    reason = "it is no BMP, GIF, JPEG, PNG, TIFF, WEBP"
    expected = f"image {tmp_path / 'a.jpg'} cannot be decoded ({reason}): replace or remove it"
    assert str(error.value) == expected
    with pytest.raises(InputError, match=r"none\.png cannot be read .+: replace or remove it"):
        packs.checksum(tmp_path / "none.png")


def test_formats_that_run_programs_are_not_tried(tmp_path: Path) -> None:
    """Pillow hands PostScript to Ghostscript, whatever the file is called."""
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(InputError, match="it is no BMP"):
        packs.decode(tmp_path / "a.png")
