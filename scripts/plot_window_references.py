"""Fig. 2: how often each pixel is referenced by kernels with stride 2."""

from deadpixel.operations import job
from deadpixel.results import padding, style

job.begin(snakemake)
style.save(padding.window_references(), snakemake.output)
