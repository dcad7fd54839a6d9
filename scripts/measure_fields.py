"""Effective receptive fields of one network from their blocks, and what they say."""

import shutil

import pandas as pd

from deadpixel import gaussian, imbalance
from deadpixel.files import maps, parquet, schemas
from deadpixel.logs import log
from deadpixel.operations import job

job.begin(snakemake)
paths, output = snakemake.input.blocks, snakemake.output
blocks = maps.read_blocks(paths)
facts = maps.merged_facts([parquet.read_provenance(path) for path in paths])

fits, indices, tiles = [], [], []
for path in output.erf:
    key = parquet.partitions(path)
    target = key["target"]
    field = maps.write(blocks[target], path, {**facts, "reading": facts["targets"][target]})
    counted = {**key, "n_images": field.count}
    fit = gaussian.fit_or_failure(field.mean)
    if fit["failure"]:
        log.warning("%s: %s", path, fit["failure"])
    fits.append(counted | fit)
    means, images = [block.mean for block in blocks[target]], [b.count for b in blocks[target]]
    indices.append(counted | imbalance.measure(means, images))
    tile = imbalance.mean_tile(field.mean, imbalance.tile_period(field.mean.shape))
    tiles.append(maps.tile_to_frame(tile).assign(target=target))
measured = schemas.imbalance(imbalance.columns())
for rows, path, schema in (
    (fits, output.fits, schemas.FITS),
    (indices, output.imbalance, measured),
):
    parquet.write(pd.DataFrame(rows, columns=schema.names), path, schema, facts)
parquet.write(pd.concat(tiles), output.tiles, schemas.TILES, facts)
shutil.rmtree(job.kept(snakemake, "erf"), ignore_errors=True)  # of all shards
