"""Images of any number of bands. RGB images are grey ones too; bands are resized one by one."""

import numpy as np
from PIL import Image

from ..errors import InputError

RGB = 3


def layers(pixels: np.ndarray, bands: int) -> list[Image.Image]:
    """Images that together have `bands` bands, of pixels uint8 (height, width, bands held).

    One image of RGB, one grey image (ITU-R 601-2 luma of RGB), or one image of each band. Raises
    `InputError` if the pixels have other bands.
    """
    held = pixels.shape[2]
    if bands == RGB == held:
        return [Image.fromarray(pixels)]
    if bands == 1 and held == RGB:
        return [Image.fromarray(pixels).convert("L")]
    if bands == held:
        return [Image.fromarray(band) for band in np.moveaxis(pixels, 2, 0)]
    raise InputError(
        f"the image has {held} band{'s' * (held > 1)} and `preprocess` a mean of {bands}: write a "
        "mean and a std for each band"
    )


def merged(images: list[Image.Image]) -> np.ndarray:
    """Pixels uint8 (height, width, bands) of `layers`."""
    return np.dstack([np.asarray(image) for image in images])
