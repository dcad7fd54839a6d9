"""Every map in one table: theoretical size, Gaussian fit and imbalance."""

from deadpixel import logs, render, store, tables

logs.configure(snakemake.log[0])
output = snakemake.output

table = tables.receptive_fields(
    store.read(snakemake.input.fits, store.FITS),
    store.read(snakemake.input.trf, store.TRF),
    store.read(snakemake.input.imbalance, store.IMBALANCE),
)
paths = output.table, output.markdown, output.html
render.save(table, tables.FIELDS, store.provenance(), *paths, tables.poor_fits(table["r_squared"]))
