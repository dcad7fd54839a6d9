"""Fig. 5: test accuracy over epochs on the micro-object task."""

from deadpixel import logs, padding_plots, plots, published, store

logs.configure(snakemake.log[0])
params = snakemake.params
epochs = store.read_partitioned(snakemake.input.epochs, store.EPOCHS)
paper = published.beside(4, params.networks, published.differences(params.settings))
figure = padding_plots.microobject_curves(epochs, params.threshold, paper)
plots.save(figure, snakemake.output)
