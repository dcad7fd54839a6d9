"""One table of all fits and one of all imbalances."""

import pandas as pd

from deadpixel import logs, store

logs.configure(snakemake.log[0])

for paths, output, schema in (
    (snakemake.input.fits, snakemake.output.fits, store.FITS),
    (snakemake.input.imbalance, snakemake.output.imbalance, store.IMBALANCE),
):
    merged = pd.concat([store.read(path, schema) for path in paths], ignore_index=True)
    store.write(merged, output, schema, store.provenance())
