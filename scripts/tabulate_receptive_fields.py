"""Every map in one table: theoretical size, Gaussian fit, imbalance and extent."""

from deadpixel import extent, imbalance
from deadpixel.files import parquet, schemas
from deadpixel.operations import job
from deadpixel.results import arms, fields, render

job.begin(snakemake)

trf = parquet.read_all(snakemake.input.trf, schemas.TRF)
table = fields.receptive_fields(
    parquet.read_all(snakemake.input.fits, schemas.FITS),
    trf,
    parquet.read_all(snakemake.input.imbalance, schemas.measures(imbalance.columns())),
    parquet.read_all(snakemake.input.extent, schemas.measures(extent.columns())),
)
notes = fields.poor_fits(table)
shown = arms.labelled(table, trf)
render.save(table, fields.FIELDS, parquet.provenance(), snakemake.output, notes, shown=shown)
