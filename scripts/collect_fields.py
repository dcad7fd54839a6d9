"""Fields, fits, imbalances and extents of all networks; every map and every target in a table."""

from deadpixel import extent, imbalance
from deadpixel.files import parquet, schemas
from deadpixel.operations import job
from deadpixel.results import arms, fields, render

job.begin(snakemake)
output = snakemake.output
facts = parquet.provenance(definition=snakemake.config["erf"]["definition"])
known = {
    "trf": schemas.TRF,
    "fits": schemas.FITS,
    "imbalance": schemas.measures(imbalance.columns()),
    "extent": schemas.measures(extent.columns()),
}
collected = {
    name: parquet.read_all(snakemake.input[name], schema) for name, schema in known.items()
}
for name, table in collected.items():
    parquet.write(table, output[name], known[name], facts)

of_maps = fields.receptive_fields(
    fits=collected["fits"],
    trf=collected["trf"],
    imbalances=collected["imbalance"],
    extents=collected["extent"],
)
notes = fields.poor_fits(of_maps)
paths = output.table, output.markdown, output.html
shown = arms.labelled(of_maps, collected["trf"])
render.save(of_maps, fields.FIELDS, parquet.provenance(), paths, notes, shown=shown)
paths = output.targets, output.targets_markdown, output.targets_html
render.save(fields.targets(collected["trf"]), fields.TARGETS, parquet.provenance(), paths, [])
