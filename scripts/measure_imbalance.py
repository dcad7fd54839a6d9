"""Pixel sensitivity imbalance of every effective receptive field, with its standard error."""

from dataclasses import asdict

import pandas as pd

from deadpixel import imbalance, logs, maps, store

logs.configure(snakemake.log[0])

rows = []
for erf_path, blocks_path in zip(snakemake.input.erf, snakemake.input.blocks, strict=True):
    field = maps.read(erf_path)
    errors = imbalance.standard_errors(*maps.read_blocks(blocks_path))
    indices = asdict(imbalance.indices(field.mean)) | {"l1_se": errors.l1, "l2_se": errors.l2}
    rows.append({**field.key, "n_images": field.n_images, **indices})
table = pd.DataFrame(rows, columns=store.IMBALANCE.names)
store.write(table, snakemake.output.imbalance, store.IMBALANCE, store.provenance())
