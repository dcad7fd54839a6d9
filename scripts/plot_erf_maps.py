"""Fig. 1: the effective receptive fields of one network, a row for each kind of kernels."""

from deadpixel.files import maps, parquet, schemas
from deadpixel.operations import job
from deadpixel.results import plots

job.begin(snakemake)
model = snakemake.wildcards.model

stored = [maps.read(path) for path in snakemake.input.erf]
fits = parquet.read(snakemake.input.fits, schemas.FITS).query("model == @model")
trf = parquet.read(snakemake.input.trf, schemas.TRF).query("model == @model")
fields: dict[str, dict] = {}
for field in stored:
    fields.setdefault(field.key["kernels"], {})[field.key["target"]] = field.mean
facts = parquet.read_provenance(snakemake.input.erf[0])
logit = {"mean": "mean of all logits"}.get(facts["logit"], f"logit of the {facts['logit']} class")
images = f"{stored[0].n_images} images of {stored[0].key['dataset']}"
figure = plots.erf_maps(
    fields,
    fits.set_index(["kernels", "target"]),
    trf.set_index(["kernels", "target"]),
    f"{model}, {snakemake.params.weights}\n{images}; output: {logit}",
)
plots.save(figure, snakemake.output)
