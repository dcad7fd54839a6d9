"""A procedural image data set in the layout of Caltech-101, for where there is no internet.

Each is a dead-leaves image: flat shapes that occlude each other, with radii r of density
r^-3, which gives the scale-invariant second-order statistics of natural images, a power spectrum
of about 1/f^2 (Ruderman 1997, Vision Research 37:3385-3398; Lee, Mumford & Huang 2001, IJCV
41:35-59). Above 0.1 cycles per px, where leaves run out, it falls as for bare edges, as 1/f^3.
In front lies one object whose silhouette, and nothing else, tells the class.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..errors import InputError
from ..files import atomic

LONG_SIDE = (256, 384)  # px, both ends included
ASPECT = (1.0, 4 / 3)  # long side / short side
LEAF_RADIUS = (3.0, 96.0)  # px, r_min and r_max of the power law
COVER = 4.5  # summed area of the leaves / area to cover; e^-4.5, or 1 %, stays bare
OBJECT_SIZE = (0.6, 0.9)  # longer side of the object's box / short side of the image
OBJECT_TURN = 30.0  # degrees, the largest turn to either side
CONTRAST = 80.0  # RGB distance (of 0..255) to all but a tenth of what the object covers
JPEG_QUALITY = 90
SCALE = 2  # drawn this much larger and averaged down: PIL's polygons have hard edges
VERTICES = 20  # per leaf


def _polar(radius: float | list[float], n: int) -> np.ndarray:
    """Return n points, (n, 2), at the radii given and at even angles from the top on."""
    angle = 2 * np.pi * np.arange(n) / n - np.pi / 2
    return (np.resize(radius, n) * np.array([np.cos(angle), np.sin(angle)])).T


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 80)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y], axis=1)


def _corners(text: str) -> np.ndarray:
    return np.array(text.split(), dtype=float).reshape(-1, 2)


# Points x y in any unit, y downwards. The first outline is filled, a second one cut out of it.
_SHAPES: dict[str, tuple[np.ndarray, ...]] = {
    "arrow": (_corners("0 -5  4 0  1.5 0  1.5 5  -1.5 5  -1.5 0  -4 0"),),
    "crescent": (_polar(1.0, 80), np.add(_polar(0.85, 80), [0.5, 0.0])),
    "cross": (_corners("1 1  1 3  -1 3  -1 1  -3 1  -3 -1  -1 -1  -1 -3  1 -3  1 -1  3 -1  3 1"),),
    "gear": (_polar([1.0, 1.0, 0.72, 0.72], 32), _polar(0.25, 40)),
    "heart": (_heart(),),
    "hourglass": (_corners("-3 -4  3 -4  0.4 0  3 4  -3 4  -0.4 0"),),
    "L": (_corners("-3 -4  -1 -4  -1 2  3 2  3 4  -3 4"),),
    "ring": (_polar(1.0, 80), _polar(0.6, 80)),
    "star": (_polar([1.0, 0.4], 10),),
    "triangle": (_polar(1.0, 3),),
}
CLASSES: tuple[str, ...] = tuple(_SHAPES)


def _turn(x: np.ndarray, y: np.ndarray, angle: np.ndarray | float) -> np.ndarray:
    """Return the points turned by an angle in radians, stacked to (..., 2)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)


def _leaves(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Return the leaves' outlines, (n, VERTICES, 2) in px: ellipses, rectangles, polygons."""
    small, large = LEAF_RADIUS
    mean_area = 0.6 * 2 * np.pi * small**2 * np.log(large / small)  # 0.6: oblong, cornered
    n = int(COVER * (width + 2 * large) * (height + 2 * large) / mean_area)
    # The inverse of the distribution function of the density r^-3 between its two ends.
    radius = (small**-2 - rng.random((n, 1)) * (small**-2 - large**-2)) ** -0.5
    # Centres fall outside too, or the border would be covered less; most of those never show.
    centre = rng.uniform(-large, np.add([width, height], large), (n, 2))
    seen = np.all((centre > -radius) & (centre < np.add([width, height], radius)), axis=1)
    radius, centre, n = radius[seen], centre[seen], int(seen.sum())

    corners = rng.choice([4, 5, 6, 7, VERTICES, VERTICES], (n, 1))
    # A leaf of few corners has each vertex several times over, so that one array holds them all.
    angle = 2 * np.pi * (np.arange(VERTICES) * corners // VERTICES + 0.5) / corners
    bend = np.where((corners == 4) | (corners == VERTICES), 0.0, 0.4)  # uneven polygons
    angle = angle + bend * np.sin(2 * angle + rng.uniform(0, 2 * np.pi, (n, 1)))
    oblong = rng.uniform(0.4, 1.0, (n, 1))
    outline = _turn(np.cos(angle), oblong * np.sin(angle), rng.uniform(0, np.pi, (n, 1)))
    return radius[:, :, None] * outline + centre[:, None, :]


def _background(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Return dead leaves in colours around a random one, SCALE times as large as asked."""
    leaves = _leaves(rng, width, height) * SCALE
    # Natural images vary in light more than in hue, from each other and within themselves.
    tone = rng.uniform(70, 185) + rng.normal(0, 28, 3)
    light = rng.normal(0, 50, (len(leaves), 1))
    colours = np.clip(tone + light + rng.normal(0, 24, (len(leaves), 3)), 0, 255).astype(int)
    packed = (colours @ [1, 256, 65536]).tolist()  # PIL takes 0xBBGGRR; a tuple costs more
    image = Image.new("RGB", (width * SCALE, height * SCALE), packed[0])
    draw = ImageDraw.Draw(image)
    for outline, colour in zip(leaves.reshape(-1, 2 * VERTICES).tolist(), packed, strict=True):
        draw.polygon(outline, fill=colour)
    return image


def _colour(rng: np.random.Generator, under: np.ndarray) -> tuple[int, ...]:
    """Return the first of some random colours that stands out from the pixels (n, 3) under it."""
    candidates = rng.integers(0, 256, (16, 3))
    distance = np.linalg.norm(candidates[:, None] - under.astype(float), axis=2)
    stands_out = np.quantile(distance, 0.1, axis=1)
    return tuple(candidates[np.argmax(np.minimum(stands_out, CONTRAST))].tolist())


def _put_object(image: Image.Image, class_name: str, rng: np.random.Generator) -> None:
    """Draw the object in place. Its box, a square, and its colour do not depend on the class."""
    side = rng.uniform(*OBJECT_SIZE) * min(image.size)
    corner = rng.uniform(0, np.subtract(image.size, side))
    angle = np.deg2rad(rng.uniform(-OBJECT_TURN, OBJECT_TURN))
    box = (*corner.astype(int), *np.ceil(corner + side).astype(int))
    colour = _colour(rng, np.asarray(image.crop(box))[::6, ::6].reshape(-1, 3))

    outlines = [_turn(outline[:, 0], outline[:, 1], angle) for outline in _SHAPES[class_name]]
    low, high = outlines[0].min(axis=0), outlines[0].max(axis=0)
    mask = Image.new("1", image.size)
    draw = ImageDraw.Draw(mask)
    for outline, inside in zip(outlines, (1, 0), strict=False):
        points = (outline - (low + high) / 2) * side / (high - low).max() + corner + side / 2
        draw.polygon(points.ravel().tolist(), fill=inside)
    image.paste(colour, mask=mask)


def render(class_name: str, rng: np.random.Generator) -> Image.Image:
    """Return one RGB image, long side 256-384 px, drawn with `rng` alone.

    From equal states of `rng`, images of two classes differ in the silhouette only. Raises
    InputError if `class_name` is not in CLASSES.
    """
    if class_name not in _SHAPES:
        raise InputError(f"no synthetic class {class_name!r}; there are {', '.join(CLASSES)}")
    long = int(rng.integers(*LONG_SIDE, endpoint=True))
    size = [long, round(long / rng.uniform(*ASPECT))]
    width, height = size if rng.random() < 0.5 else size[::-1]
    image = _background(rng, width, height)
    _put_object(image, class_name, rng)
    return image.reduce(SCALE)


def _is_complete(path: Path) -> bool:
    """Return whether the file is there and ends as a JPEG ends."""
    return path.is_file() and path.read_bytes().endswith(b"\xff\xd9")


def generate(root: Path, *, classes: int, images_per_class: int, seed: int) -> None:
    """Write `<root>/<class name>/image_0001.jpg` and on, for the first `classes` of CLASSES.

    Image i (from 0) of class c is a function of default_rng([seed, c, i]) alone: the same files,
    byte for byte, however many are asked for and in how many calls. A complete file is left as
    it is, whatever seed it came from: give each seed a root of its own. Raises InputError if
    there are fewer classes than asked for, or a number is out of range.
    """
    if not 1 <= classes <= len(CLASSES):
        raise InputError(
            f"{classes} synthetic classes asked for: at least 1, at most {len(CLASSES)}"
        )
    if images_per_class < 1 or seed < 0:
        raise InputError(f"{images_per_class=} must be at least 1, {seed=} at least 0")
    for c, class_name in enumerate(CLASSES[:classes]):
        folder = root / class_name
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(images_per_class):
            path = folder / f"image_{i + 1:04d}.jpg"
            if not _is_complete(path):
                image = render(class_name, np.random.default_rng([seed, c, i]))
                with atomic.writing(path) as partial:
                    image.save(partial, format="JPEG", quality=JPEG_QUALITY)
