"""Fig. 2: how often each pixel is referenced by kernels with stride 2."""

from deadpixel import logs, padding_plots, plots

logs.configure(snakemake.log[0])
plots.save(padding_plots.window_references(), snakemake.output)
