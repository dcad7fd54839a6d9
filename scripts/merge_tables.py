"""Merge tables of one name, each row once."""

import pandas as pd

from deadpixel import imbalance
from deadpixel.files import parquet, schemas
from deadpixel.operations import job

job.begin(snakemake)

known = {
    "trf": schemas.TRF,
    "fits": schemas.FITS,
    "imbalance": schemas.imbalance(imbalance.columns()),
}
for name, output in snakemake.output.items():
    schema = known[name]
    merged = pd.concat([parquet.read(path, schema) for path in snakemake.input[name]])
    parquet.write(merged.drop_duplicates(), output, schema, parquet.provenance())
