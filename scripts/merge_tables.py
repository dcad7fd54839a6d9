"""Merge tables of one name, each row once."""

import pandas as pd

from deadpixel import logs, store

logs.configure(snakemake.log[0])

for name, output in snakemake.output.items():
    schema = getattr(store, name.upper())
    merged = pd.concat([store.read(path, schema) for path in snakemake.input[name]])
    store.write(merged.drop_duplicates(), output, schema, store.provenance())
