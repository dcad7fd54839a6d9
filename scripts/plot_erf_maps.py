"""Fig. 1: the effective receptive fields of one network."""

from deadpixel import logs, maps, plots, store

logs.configure(snakemake.log[0])
model = snakemake.wildcards.model

stored = [maps.read(path) for path in snakemake.input.erf]
fits = store.read(snakemake.input.fits, store.FITS).query("model == @model")
trf = store.read(snakemake.input.trf, store.TRF).query("model == @model")
figure = plots.erf_maps(
    {field.key["target"]: field.mean for field in stored},
    fits.set_index("target"),
    trf.set_index("target"),
    f"{model}, {stored[0].key['weights']} weights, {stored[0].n_images} images of "
    f"{stored[0].key['dataset']}",
)
plots.save(figure, snakemake.output)
