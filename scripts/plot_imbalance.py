"""Fig. 4: pixel sensitivity imbalance of the output, by kind of kernels."""

from deadpixel import imbalance
from deadpixel.files import parquet, schemas
from deadpixel.operations import job
from deadpixel.results import shape_test, style

job.begin(snakemake)
measured = parquet.read_all(snakemake.input.imbalance, schemas.measures(imbalance.columns()))
of_output = measured.query("target == 'output'")
style.save(shape_test.imbalance_before_and_after(of_output, "output"), snakemake.output)
