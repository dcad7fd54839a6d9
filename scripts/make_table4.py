"""Table 4: epochs until the micro-object is seen, before and after the change of kernels."""

from deadpixel.files import parquet, schemas
from deadpixel.operations import job
from deadpixel.results import arms, microobject, pairs, published, render

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
table4 = microobject.table4(firsts, published.beside(4, params.networks, differ))
notes = [*pairs.few(table4), *published.note(4, differ)]
paths = output.table4, output.table4_markdown, output.table4_html
render.save(table4, microobject.TABLE4, facts, paths, notes, shown=arms.labelled(table4, trf))
