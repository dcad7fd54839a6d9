"""Table 1: does the size of the receptive field predict accuracy?"""

from deadpixel.files import parquet, schemas
from deadpixel.networks import zoo
from deadpixel.operations import job
from deadpixel.results import published, render, tables

job.begin(snakemake)
params, output = snakemake.params, snakemake.output

fits = parquet.read(snakemake.input.fits, schemas.FITS).query("target == @params.target")
trf = parquet.read(snakemake.input.trf, schemas.TRF).query("target == @params.target")
accuracies = {m: zoo.imagenet_accuracy(s) for m, s in params.published_weights.items()}
differ = published.differences(params.settings)
facts = parquet.provenance(target=params.target, settings=params.settings)

table = tables.table1(fits, trf, accuracies, published.beside(1, params.networks, differ))
notes = [
    *tables.no_accuracy(table),
    *published.note(1, differ),
    *tables.poor_fits(table["r_squared"]),
]
paths = output.table, output.markdown, output.html
render.save(table, tables.TABLE1, facts, *paths, notes)
paths = output.correlations, output.correlations_markdown, output.correlations_html
correlations = tables.size_correlations(table)
render.save(correlations, tables.CORRELATIONS, facts, *paths, notes)
