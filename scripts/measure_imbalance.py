"""Pixel sensitivity imbalance of every effective receptive field, and how much of it is noise."""

import pandas as pd

from deadpixel import imbalance, logs, maps, store

logs.configure(snakemake.log[0])

rows = []
for path in snakemake.input.blocks:
    means, counts = maps.read_blocks(path)
    measured = imbalance.measure(means, counts)
    rows.append({**store.partitions(path), "n_images": sum(counts), **measured})
table = pd.DataFrame(rows, columns=store.IMBALANCE.names)
store.write(table, snakemake.output.imbalance, store.IMBALANCE, store.provenance())
