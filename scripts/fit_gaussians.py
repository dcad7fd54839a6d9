"""Fit a Gaussian to every effective receptive field."""

import pandas as pd

from deadpixel import gaussian, logs, maps, store

logs.configure(snakemake.log[0])

rows = []
for path in snakemake.input.erf:
    field = maps.read(path)
    row = {**field.key, "n_images": field.n_images, **gaussian.fit_or_failure(field.mean)}
    if row["failure"]:
        logs.log.warning("%s: %s", path, row["failure"])
    rows.append(row)
fits = pd.DataFrame(rows, columns=store.FITS.names)
store.write(fits, snakemake.output.fits, store.FITS, store.provenance())
