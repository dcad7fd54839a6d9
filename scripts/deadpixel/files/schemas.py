"""The columns of each Parquet file that jobs hand on."""

from collections.abc import Iterable

import pyarrow as pa


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


_MAP = {
    "dataset": pa.string(),
    "model": pa.string(),
    "weights": pa.string(),
    "kernels": pa.string(),
}

MANIFEST = _schema(
    path=pa.string(),
    label=pa.int16(),
    class_name=pa.string(),
    split=pa.string(),
    sha256=pa.string(),
)

ERF = _schema(row=pa.int16(), col=pa.int16(), mean=pa.float64(), se=pa.float64())

STARTS = _schema(seed=pa.int64(), **dict(zip(ERF.names, ERF.types, strict=True)))

BLOCK = _schema(
    target=pa.string(),
    count=pa.int32(),
    row=pa.int16(),
    col=pa.int16(),
    total=pa.float64(),
    total_squares=pa.float64(),
)

TILES = _schema(
    target=pa.string(),
    period=pa.int16(),
    row=pa.int16(),
    col=pa.int16(),
    sensitivity=pa.float64(),
)

SURVEY = _schema(
    network=pa.string(),
    kernels=pa.string(),
    **dict.fromkeys(
        ["contrast", "weakest_share", "ratio", "asymmetry_y", "asymmetry_x"], pa.float64()
    ),
    operation=pa.string(),
    contrast_without=pa.float64(),
    **dict.fromkeys(["own_side", "own_asymmetry", "even_side", "even_step"], pa.float64()),
    reason=pa.string(),
)

SURVEY_TILES = _schema(
    network=pa.string(),
    kernels=pa.string(),
    row=pa.int16(),
    col=pa.int16(),
    sensitivity=pa.float64(),
)

TRF = _schema(
    model=pa.string(),
    kernels=pa.string(),
    target=pa.string(),
    **{
        f"{name}_{axis}": pa.float64()
        for name in ("size", "stride", "offset", "center", "gateless_size")
        for axis in "hw"
    },
    kind=pa.string(),
    reason=pa.string(),
    changed=pa.int32(),
    left_odd=pa.int32(),
    added=pa.int64(),
    reading=pa.string(),
)

PLAN = _schema(
    job=pa.string(),
    rule=pa.string(),
    **{name: pa.string() for name in (*_MAP, "seed")},
    after=pa.list_(pa.string()),
    priority=pa.int32(),
    needs_device=pa.bool_(),
    work=pa.float64(),
    predicted_seconds=pa.float64(),
    measured_seconds=pa.float64(),
    records=pa.int32(),
    memory_mb=pa.float64(),
    measured_memory_mb=pa.float64(),
    disk_mb=pa.float64(),
)

MAKESPANS = _schema(
    devices=pa.int32(),
    **dict.fromkeys(["list_seconds", "optimum_seconds", "bound_seconds"], pa.float64()),
)

FITS = _schema(
    **_MAP,
    target=pa.string(),
    n_images=pa.int32(),
    **dict.fromkeys(
        ["amplitude", "center_x", "center_y", "sigma_x", "sigma_y", "sigma_x_se", "sigma_y_se"],
        pa.float64(),
    ),
    r_squared=pa.float64(),
    **dict.fromkeys(["amplitude_se", "center_x_se", "center_y_se"], pa.float64()),
    failure=pa.string(),
    **{
        f"{name}_jackknife_se": pa.float64()
        for name in ("amplitude", "center_x", "center_y", "sigma_x", "sigma_y", "r_squared")
    },
)

# What is measured of each map after some blocks of images, of `deadpixel.convergence`.
CONVERGENCE = _schema(
    target=pa.string(),
    n_blocks=pa.int32(),
    n_images=pa.int32(),
    **dict.fromkeys(
        ["sigma_x", "sigma_y", "center_x", "center_y", "r_squared", "l1", "l2"], pa.float64()
    ),
    **{
        f"{name}_jackknife_se": pa.float64()
        for name in ("sigma_x", "sigma_y", "center_x", "center_y", "r_squared")
    },
    **dict.fromkeys(["l1_se", "l2_se"], pa.float64()),
)


def measures(columns: Iterable[str]) -> pa.Schema:
    """Of every map, what is measured: `columns` of `deadpixel.imbalance` or `deadpixel.extent`."""
    measured = dict.fromkeys(columns, pa.float64())
    return _schema(**_MAP, target=pa.string(), n_images=pa.int32(), **measured)


EPOCHS = _schema(
    epoch=pa.int32(),
    **dict.fromkeys(
        ["lr", "train_loss", "train_acc", "valid_acc", "test_acc", "seconds"], pa.float64()
    ),
)

STEPS = _schema(epoch=pa.int32(), step=pa.int32(), images=pa.int32(), right=pa.int32())

SEEN = _schema(
    epoch=pa.int32(),
    path=pa.string(),
    square=pa.int16(),
    row=pa.int16(),
    col=pa.int16(),
    predicted=pa.int16(),
)

PREDICTIONS = _schema(path=pa.string(), label=pa.int16(), predicted=pa.int16())

_NUMBERS = pa.float64()
PROBES = {
    "logits": _schema(
        image=pa.int32(),
        reference=pa.bool_(),
        **dict.fromkeys(["logit", "by_gradient", "by_field", "by_signed"], _NUMBERS),
    ),
    "places": _schema(
        image=pa.int32(),
        **dict.fromkeys(["row", "col", "group"], pa.int16()),
        **dict.fromkeys(["sensitivity", "field", "own_sensitivity"], _NUMBERS),
        kind=pa.string(),
        size=_NUMBERS,
        side=pa.int16(),
        colour=pa.int16(),
        change=_NUMBERS,
        flipped=pa.bool_(),
    ),
    "shifts": _schema(
        image=pa.int32(),
        axis=pa.string(),
        **dict.fromkeys(["offset", "logit", "probability"], _NUMBERS),
        predicted=pa.int32(),
        same=pa.bool_(),
    ),
    "attacks": _schema(
        image=pa.int32(),
        places=pa.string(),
        succeeded=pa.bool_(),
        queries=pa.int32(),
        **dict.fromkeys(["row", "col"], pa.int16()),
        **dict.fromkeys(["before", "after"], _NUMBERS),
    ),
    "saliency": _schema(
        image=pa.int32(),
        saliency=pa.string(),
        correction=pa.string(),
        **dict.fromkeys(["agreement", "insertion", "deletion"], _NUMBERS),
    ),
    "contrasts": _schema(
        saliency=pa.string(),
        correction=pa.string(),
        **{f"contrast{of}": _NUMBERS for of in ("", "_se", "_floor", "_unbiased", "_unbiased_se")},
    ),
    "picture": _schema(
        **dict.fromkeys(["row", "col"], pa.int16()),
        **dict.fromkeys(["brightness", "none", "tile", "low_pass", "smooth_strides"], _NUMBERS),
    ),
}
