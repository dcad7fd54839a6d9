"""Effective receptive fields of one network from their blocks, and what they say."""

import shutil

import pandas as pd

from deadpixel import blocks, extent, gaussian, imbalance
from deadpixel.files import maps, parquet, schemas
from deadpixel.logs import log
from deadpixel.operations import job

job.begin(snakemake)
paths, output = snakemake.input.blocks, snakemake.output
of_blocks = maps.read_blocks(paths)
facts = maps.merged_facts([parquet.read_provenance(path) for path in paths])
theories = extent.theories(parquet.read(snakemake.input.trf, schemas.TRF).to_dict("records"))

fits, indices, extents, tiles = [], [], [], []
for path in output.erf:
    key = parquet.partitions(path)
    target = key["target"]
    parts = of_blocks.get(target)
    if parts is None:  # of `targets: auto`, where the network has no map of that stride
        maps.write_none(path, facts)
        continue
    field = maps.write(parts, path, {**facts, "reading": facts["targets"][target]})
    counted = {**key, "n_images": field.count}
    means, images = [part.mean for part in parts], [part.count for part in parts]
    without_each = blocks.maps_without_each(means, images)
    fit = gaussian.fit_or_failure(field.mean, without_each)
    if fit["failure"]:
        log.warning("%s: %s", path, fit["failure"])
    fits.append(counted | fit)
    uneven = imbalance.measure(means, images)
    if (field.mean < 0).any():  # signed: what cancels is no level that differences are relative to
        uneven = {name: uneven[name] for name in ("l1_raw", "l2_raw")}
    indices.append(counted | uneven)
    extents.append(counted | extent.measure(field.mean, without_each, theories[target]))
    tile = imbalance.mean_tile(field.mean, imbalance.tile_period(field.mean.shape))
    tiles.append(maps.tile_to_frame(tile).assign(target=target))
for rows, path, schema in (
    (fits, output.fits, schemas.FITS),
    (indices, output.imbalance, schemas.measures(imbalance.columns())),
    (extents, output.extent, schemas.measures(extent.columns())),
):
    parquet.write(pd.DataFrame(rows, columns=schema.names), path, schema, facts)
parquet.write(pd.concat(tiles), output.tiles, schemas.TILES, facts)
shutil.rmtree(job.kept(snakemake, "erf"), ignore_errors=True)  # of all shards
