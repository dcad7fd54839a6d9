"""Fig. 5: test accuracy over epochs on the micro-object task."""

from deadpixel import logs, padding_plots, plots, store, tables

logs.configure(snakemake.log[0])
epochs = store.read_partitioned(snakemake.input.epochs, store.EPOCHS)
figure = padding_plots.microobject_curves(epochs, snakemake.params.threshold, tables.paper_table(4))
plots.save(figure, snakemake.output)
