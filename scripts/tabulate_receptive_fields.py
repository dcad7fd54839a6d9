"""Every map in one table: theoretical size, fit, imbalance and extent; every target in another."""

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
*paths, targets, targets_markdown, targets_html = snakemake.output
render.save(table, fields.FIELDS, parquet.provenance(), paths, notes, shown=shown)
paths = targets, targets_markdown, targets_html
render.save(fields.targets(trf), fields.TARGETS, parquet.provenance(), paths, [])
