"""Fields, fits and imbalances of all networks, a table each."""

from deadpixel import imbalance
from deadpixel.files import parquet, schemas
from deadpixel.operations import job

job.begin(snakemake)
known = {
    "trf": schemas.TRF,
    "fits": schemas.FITS,
    "imbalance": schemas.imbalance(imbalance.columns()),
}
for name, output in snakemake.output.items():
    table = parquet.read_all(snakemake.input[name], known[name])
    parquet.write(table, output, known[name], parquet.provenance())
