"""The paper's kinds of kernels: what becomes of which odd kernels with stride 2, by name.

A kind on images of another crop than others of its experiment has that in its name: ``odd_225px``.
"""

import re

ODD = "odd"  # the kernels of a network as it is
ALL = "all"
KINDS = {ODD: {}, "padded": {"pad": ALL}, "sliced": {"slice": ALL}}
_AT_CROP = re.compile(r"(?P<kind>.+)_(?P<crop>[1-9][0-9]*)px")


def at_crop(kind: str, crop: int) -> str:
    """The name of a kind of kernels on images of `crop` px."""
    return f"{kind}_{crop}px"


def kind_and_crop(kernels: str) -> tuple[str, int | None]:
    """What `at_crop` made a name of; no crop if it did not."""
    found = _AT_CROP.fullmatch(kernels)
    return (found["kind"], int(found["crop"])) if found else (kernels, None)
