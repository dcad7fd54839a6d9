"""Table 1: does the size of the receptive field tell the accuracy?"""

from deadpixel import logs, models, store, tables

logs.configure(snakemake.log[0])
chosen, output = snakemake.params.size_test, snakemake.output

fits = store.read(snakemake.input.fits, store.FITS).query("target == @chosen['target']")
trf = store.read(snakemake.input.trf, store.TRF).query("target == @chosen['target']")
accuracies = {m: models.imagenet_accuracy(s) for m, s in snakemake.params.sources.items()}
facts = store.provenance(**chosen)

table = tables.table1(fits, trf, accuracies)
tables.save(table, tables.TABLE1, facts, output.table, output.markdown, output.html)
correlations = tables.size_correlations(table)
tables.save(
    correlations,
    tables.CORRELATIONS,
    facts,
    output.correlations,
    output.correlations_markdown,
    output.correlations_html,
)
