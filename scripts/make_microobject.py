"""Table 4 and Fig. 5: epochs until the micro-object is seen, before and after kernels change."""

from deadpixel.files import parquet, schemas
from deadpixel.operations import job
from deadpixel.results import arms, microobject, pairs, published, render, style

job.begin(snakemake)
params, output = snakemake.params, snakemake.output

epochs = parquet.read_partitioned(snakemake.input.epochs, schemas.EPOCHS)
trf = parquet.read_all(snakemake.input.trf, schemas.TRF)
steps = parquet.read_partitioned(snakemake.input.steps, schemas.STEPS)
firsts = microobject.first_epochs(epochs, steps, params.threshold, params.epochs)
facts = parquet.provenance(
    threshold=params.threshold, epochs=params.epochs, settings=params.settings
)
paths = output.first_epochs, output.first_epochs_markdown, output.first_epochs_html
shown = arms.labelled(firsts, trf)
render.save(firsts, microobject.FIRST_EPOCHS, facts, paths, shown=shown)

differ = published.differences(params.settings)
paper = published.beside(4, params.networks, differ)
table4 = microobject.table4(firsts, paper)
notes = [*pairs.few(table4), *published.note(4, differ)]
paths = output.table4, output.table4_markdown, output.table4_html
render.save(table4, microobject.TABLE4, facts, paths, notes, shown=arms.labelled(table4, trf))

titles = arms.titles(trf)
figure = microobject.accuracy_over_epochs(
    epochs.replace({"model": titles}), params.threshold, paper.rename(index=titles)
)
style.save(figure, [output.png, *output.vector])
