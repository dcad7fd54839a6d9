"""Where the micro-object is seen, and what explains it, of the runs of one network."""

import pandas as pd

from deadpixel.files import maps, parquet, schemas
from deadpixel.operations import job
from deadpixel.results import arms, explained, render, seen, squares, style
from deadpixel.surgery import kinds

job.begin(snakemake)
params, inputs, output = snakemake.params, snakemake.input, snakemake.output
trf = parquet.read_all(inputs.trf, schemas.TRF)
fields = maps.read_starts(inputs.starts)
every = squares.learning(parquet.read_partitioned(inputs.seen, schemas.SEEN), params.threshold)
crops = every["kernels"].map(lambda kernels: kinds.kind_and_crop(kernels)[1] or 0)
of_crops = [rows for _, rows in every.groupby(crops, sort=False)]
shares = pd.concat([seen.shares(rows, fields, params.size) for rows in of_crops])
by_run = pd.concat([explained.explained_runs(rows, fields, params.size) for rows in of_crops])
over_runs = explained.explained(by_run)

facts = parquet.provenance(threshold=params.threshold, size=params.size)
for name, frame, table, notes in (
    ("shares", shares, seen.SHARES, []),
    ("explained", over_runs, explained.EXPLAINED, explained.notes(over_runs, params.size)),
    ("runs", by_run, explained.EXPLAINED_RUNS, []),
):
    paths = [path for key, path in output.items() if key.partition("_")[0] == name]
    render.save(frame, table, facts, paths, notes, shown=arms.labelled(frame, trf))

figure = seen.where_seen(arms.labelled(shares, trf), snakemake.wildcards.model)
style.save(figure, [output.png, *output.vector])
