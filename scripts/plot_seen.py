"""Share of the squares that are seen by place, edge and phase, of the runs of one network."""

from deadpixel.files import parquet, schemas
from deadpixel.operations import job
from deadpixel.results import arms, seen, style

job.begin(snakemake)
shares = parquet.read(snakemake.input.shares, seen.SHARES.schema)
trf = parquet.read_all(snakemake.input.trf, schemas.TRF)
figure = seen.where_seen(arms.labelled(shares, trf), snakemake.wildcards.model)
style.save(figure, snakemake.output)
