"""Pixel sensitivity imbalance of every effective receptive field, and how much of it is noise."""

import pandas as pd

from deadpixel import imbalance
from deadpixel.files import maps, parquet, schemas
from deadpixel.operations import job

job.begin(snakemake)

schema = schemas.imbalance(imbalance.columns())
rows = []
for path in snakemake.input.blocks:
    means, counts = maps.read_blocks(path)
    measured = imbalance.measure(means, counts)
    rows.append({**parquet.partitions(path), "n_images": sum(counts), **measured})
table = pd.DataFrame(rows, columns=schema.names)
parquet.write(table, snakemake.output.imbalance, schema, parquet.provenance())
