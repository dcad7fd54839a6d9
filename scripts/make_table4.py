"""Table 4: epochs until the micro-object is seen, before and after the change of kernels."""

from deadpixel import logs, store, tables

logs.configure(snakemake.log[0])
output = snakemake.output

epochs = store.read_partitioned(snakemake.input.epochs, store.EPOCHS)
firsts = tables.first_epochs(epochs, snakemake.params.threshold)
facts = store.provenance(threshold=snakemake.params.threshold)
paths = output.first_epochs, output.first_epochs_markdown, output.first_epochs_html
tables.save(firsts, tables.FIRST_EPOCHS, facts, *paths)
paths = output.table4, output.table4_markdown, output.table4_html
tables.save(tables.table4(firsts), tables.TABLE4, facts, *paths)
