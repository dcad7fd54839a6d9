"""Fig. 2: how often each pixel is referenced by kernels with stride 2."""

from deadpixel.operations import job
from deadpixel.results import padding_plots, plots

job.begin(snakemake)
plots.save(padding_plots.window_references(), snakemake.output)
