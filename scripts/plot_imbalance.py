"""Fig. 4: pixel sensitivity imbalance of the output, by kind of kernels."""

from deadpixel.files import parquet, schemas
from deadpixel.operations import job
from deadpixel.results import padding_plots, plots

job.begin(snakemake)
imbalance = parquet.read(snakemake.input.imbalance, schemas.IMBALANCE).query("target == 'output'")
plots.save(padding_plots.imbalance_before_and_after(imbalance, "output"), snakemake.output)
