"""Effective receptive fields of one network from their blocks, and what they say."""

import shutil

import pandas as pd

from deadpixel import convergence, extent, fields, imbalance
from deadpixel.files import maps, parquet, schemas
from deadpixel.logs import log
from deadpixel.operations import job

job.begin(snakemake)
paths, output = snakemake.input.blocks, snakemake.output
of_blocks = maps.read_blocks(paths)
facts = maps.merged_facts([parquet.read_provenance(path) for path in paths])
theories = extent.theories(parquet.read(snakemake.input.trf, schemas.TRF).to_dict("records"))

fits, indices, extents, courses, tiles = [], [], [], [], []
for path in output.erf:
    key = parquet.partitions(path)
    target = key["target"]
    parts = of_blocks.get(target)
    if parts is None:  # of `targets: auto`, where the network has no map of that stride
        maps.write_none(path, facts)
        continue
    field = maps.write(parts, path, {**facts, "reading": facts["targets"][target]})
    counted = {**key, "n_images": field.count}
    found = fields.measure(field, parts, theories[target])
    if found.fit["failure"]:
        log.warning("%s: %s", path, found.fit["failure"])
    fits.append(counted | found.fit)
    indices.append(counted | found.imbalance)
    extents.append(counted | found.extent)
    courses += [{"target": target, **row} for row in convergence.course(parts)]
    tiles.append(maps.tile_to_frame(found.tile).assign(target=target))
for rows, path, schema in (
    (fits, output.fits, schemas.FITS),
    (indices, output.imbalance, schemas.measures(imbalance.columns())),
    (extents, output.extent, schemas.measures(extent.columns())),
    (courses, output.convergence, schemas.CONVERGENCE),
):
    parquet.write(pd.DataFrame(rows, columns=schema.names), path, schema, facts)
parquet.write(pd.concat(tiles), output.tiles, schemas.TILES, facts)
shutil.rmtree(job.kept(snakemake, "erf"), ignore_errors=True)  # of all shards
