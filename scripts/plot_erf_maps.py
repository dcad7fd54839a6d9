"""Fig. 1: the effective receptive fields of one network, a row for each kind of kernels."""

from deadpixel import logs, maps, plots, store

logs.configure(snakemake.log[0])
model = snakemake.wildcards.model

stored = [maps.read(path) for path in snakemake.input.erf]
fits = store.read(snakemake.input.fits, store.FITS).query("model == @model")
trf = store.read(snakemake.input.trf, store.TRF).query("model == @model")
fields: dict[str, dict] = {}
for field in stored:
    fields.setdefault(field.key["kernels"], {})[field.key["target"]] = field.mean
facts = store.read_provenance(snakemake.input.erf[0])
logit = {"mean": "mean of all logits"}.get(facts["logit"], f"logit of the {facts['logit']} class")
images = f"{stored[0].n_images} images of {stored[0].key['dataset']}"
figure = plots.erf_maps(
    fields,
    fits.set_index(["kernels", "target"]),
    trf.set_index(["kernels", "target"]),
    f"{model}, {snakemake.params.weights}\n{images}; output: {logit}",
)
plots.save(figure, snakemake.output)
