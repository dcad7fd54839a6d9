"""Fig. 1: the effective receptive fields of one network, a row for each kind of kernels."""

from deadpixel.files import maps, parquet, schemas
from deadpixel.operations import job
from deadpixel.results import erf_maps, fields, style

job.begin(snakemake)
stored = maps.read_each(snakemake.input.erf)
model = stored[0].key["model"]
tiles = parquet.read_partitioned(snakemake.input.tiles, schemas.TILES)
fits = parquet.read_all(snakemake.input.fits, schemas.FITS)
trf = parquet.read_all(snakemake.input.trf, schemas.TRF)
means: dict[str, dict] = {}
for field in stored:
    means.setdefault(field.key["kernels"], {})[field.key["target"]] = field.mean
facts = parquet.read_provenance(snakemake.input.erf[0])
logit = {"mean": "mean of all logits"}.get(facts["logit"], f"logit of the {facts['logit']} class")
images = f"{stored[0].n_images:,} images of {stored[0].key['dataset']}"
definition = "" if facts["definition"] == "kim" else f"; {facts['definition']} gradients"
figure = erf_maps.figure(
    means,
    fields.tiles_of(tiles),
    fits.set_index(["kernels", "target"]),
    trf.set_index(["kernels", "target"]),
    f"{model}, {snakemake.params.weights}\n{images}; output: {logit}{definition}",
)
style.save(figure, snakemake.output)
