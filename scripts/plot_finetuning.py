"""Table 3 as a picture, and the course of every run."""

from deadpixel import logs, padding_plots, plots, store, tables

logs.configure(snakemake.log[0])
output = snakemake.output

runs = store.read(snakemake.input.runs, tables.RUNS)
figure = padding_plots.accuracies(runs, tables.paper_table(3))
plots.save(figure, [output.accuracies_png, output.accuracies_svg])
epochs = store.read_partitioned(snakemake.input.epochs, store.EPOCHS)
plots.save(padding_plots.training_curves(epochs), [output.curves_png, output.curves_svg])
