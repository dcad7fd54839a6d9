"""Fig. 4: pixel sensitivity imbalance of the output, by kind of kernels."""

from deadpixel import logs, padding_plots, plots, store

logs.configure(snakemake.log[0])
imbalance = store.read(snakemake.input.imbalance, store.IMBALANCE).query("target == 'output'")
plots.save(padding_plots.imbalance_before_and_after(imbalance, "output"), snakemake.output)
