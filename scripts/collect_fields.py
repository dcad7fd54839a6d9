"""Fields, fits, imbalances and extents of all networks, a table each."""

from deadpixel import extent, imbalance
from deadpixel.files import parquet, schemas
from deadpixel.operations import job

job.begin(snakemake)
facts = parquet.provenance(definition=snakemake.config["erf"]["definition"])
known = {
    "trf": schemas.TRF,
    "fits": schemas.FITS,
    "imbalance": schemas.measures(imbalance.columns()),
    "extent": schemas.measures(extent.columns()),
}
for name, output in snakemake.output.items():
    table = parquet.read_all(snakemake.input[name], known[name])
    parquet.write(table, output, known[name], facts)
