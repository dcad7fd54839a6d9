"""Fields, fits and imbalances of all networks, a table each."""

from deadpixel.files import parquet, schemas
from deadpixel.operations import job

job.begin(snakemake)
for name, output in snakemake.output.items():
    schema = getattr(schemas, name.upper())
    parquet.write(
        parquet.read_all(snakemake.input[name], schema), output, schema, parquet.provenance()
    )
