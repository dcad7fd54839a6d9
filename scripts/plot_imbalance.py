"""Fig. 4: pixel sensitivity imbalance of the output, by kind of kernels."""

from deadpixel import imbalance
from deadpixel.files import parquet, schemas
from deadpixel.operations import job
from deadpixel.results import arms, shape_test, style

job.begin(snakemake)
measured = parquet.read_all(snakemake.input.imbalance, schemas.measures(imbalance.columns()))
of_output = measured.query("target == 'output'")
titles = arms.titles(parquet.read_all(snakemake.input.trf, schemas.TRF))
figure = shape_test.imbalance_before_and_after(of_output.replace({"model": titles}), "output")
style.save(figure, snakemake.output)
