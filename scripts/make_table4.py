"""Table 4: epochs until the micro-object is seen, before and after the change of kernels."""

from deadpixel import logs, published, render, store, tables

logs.configure(snakemake.log[0])
params, output = snakemake.params, snakemake.output

epochs = store.read_partitioned(snakemake.input.epochs, store.EPOCHS)
firsts = tables.first_epochs(epochs, params.threshold)
facts = store.provenance(threshold=params.threshold, settings=params.settings)
paths = output.first_epochs, output.first_epochs_markdown, output.first_epochs_html
render.save(firsts, tables.FIRST_EPOCHS, facts, *paths)
differ = published.differences(params.settings)
table4 = tables.table4(firsts, published.beside(4, params.networks, differ))
notes = [*tables.few_pairs(table4["logrank_smallest_p"]), *published.note(4, differ)]
paths = output.table4, output.table4_markdown, output.table4_html
render.save(table4, tables.TABLE4, facts, *paths, notes)
