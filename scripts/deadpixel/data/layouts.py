"""How a data set lies on the disk, and its manifest: its images, their classes and their split."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from . import cub200, folders, splits

# Each takes the folder of images; what it returns has a column split if the data set's authors say.
LAYOUTS: dict[str, Callable[..., pd.DataFrame]] = {"folders": folders.scan, "cub200": cub200.scan}


def manifest(
    root: Path,
    layout: str,
    fractions: Mapping[str, float],
    *,
    seed: int,
    exclude: Sequence[str] = (),
    contents: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """The images below `root`: path from there, label, class_name, split and sha256 of each.

    Where the layout says no splits, `seed` draws them by `fractions`. `exclude` names sub-folders
    that are no classes. `contents` says what a published data set holds, as `splits.check_contents`
    takes it; it may lie there without those. Raises `InputError` as the layout and `splits` do.
    """
    excluded = [name for name in exclude if contents is None or (root / name).is_dir()]
    found = LAYOUTS[layout](root, **({"exclude": excluded} if excluded else {}))
    if "split" not in found:
        found = splits.split(found, fractions, seed=seed)
    if contents is None:
        splits.check_labels(found, root)
    else:
        splits.check_contents(found, root, **contents)
    return found
