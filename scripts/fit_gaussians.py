"""Fit a Gaussian to every effective receptive field."""

import pandas as pd

from deadpixel import gaussian, logs
from deadpixel.files import maps, parquet, schemas
from deadpixel.operations import job

job.begin(snakemake)

rows = []
for path in snakemake.input.erf:
    field = maps.read(path)
    row = {**field.key, "n_images": field.n_images, **gaussian.fit_or_failure(field.mean)}
    if row["failure"]:
        logs.log.warning("%s: %s", path, row["failure"])
    rows.append(row)
fits = pd.DataFrame(rows, columns=schemas.FITS.names)
parquet.write(fits, snakemake.output.fits, schemas.FITS, parquet.provenance())
