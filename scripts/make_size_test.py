"""Table 1 and its figure: does the size of the receptive field predict accuracy?"""

from deadpixel.files import parquet, schemas
from deadpixel.operations import job
from deadpixel.results import fields, published, render, size_test, style

job.begin(snakemake)
params, output = snakemake.params, snakemake.output

fits = parquet.read_all(snakemake.input.fits, schemas.FITS).query("target == @params.target")
trf = parquet.read_all(snakemake.input.trf, schemas.TRF).query("target == @params.target")
accuracies = {}
if params.published_weights:
    from deadpixel.networks import zoo  # with PyTorch, which takes longer than all else here

    accuracies = {m: zoo.imagenet_accuracy(s) for m, s in params.published_weights.items()}
differ = published.differences(params.settings)
facts = parquet.provenance(target=params.target, settings=params.settings)

table1 = size_test.table1(fits, trf, accuracies, published.beside(1, params.networks, differ))
correlations = size_test.correlations(table1)
notes = [
    *size_test.no_accuracy(table1),
    *published.note(1, differ),
    *fields.poor_fits(table1),
    *fields.lacking(params.networks, params.target, table1),
]
paths = output.table, output.markdown, output.html
render.save(table1, size_test.TABLE1, facts, paths, notes)
paths = output.correlations, output.correlations_markdown, output.correlations_html
render.save(correlations, size_test.CORRELATIONS, facts, paths, notes)

ours = f"{params.dataset}, {params.weights}"
figure = size_test.size_against_accuracy(table1, published.table(1), correlations, ours)
style.save(figure, [output.png, *output.vector])
