"""Every map in one table: theoretical size, Gaussian fit and imbalance."""

from deadpixel.files import parquet, schemas
from deadpixel.operations import job
from deadpixel.results import render, tables

job.begin(snakemake)
output = snakemake.output

table = tables.receptive_fields(
    parquet.read(snakemake.input.fits, schemas.FITS),
    parquet.read(snakemake.input.trf, schemas.TRF),
    parquet.read(snakemake.input.imbalance, schemas.IMBALANCE),
)
paths = output.table, output.markdown, output.html
render.save(
    table, tables.FIELDS, parquet.provenance(), *paths, tables.poor_fits(table["r_squared"])
)
