"""List a data set's images and split them."""

from pathlib import Path

from deadpixel import datasets, logs, store

logs.configure(snakemake.log[0])
params = snakemake.params
folder = Path(params.folder or snakemake.input.images)

images = datasets.scan(folder, exclude=params.exclude)
manifest = datasets.split(images, params.fractions, seed=params.seed)
facts = store.provenance(folder=str(folder), fractions=params.fractions, seed=params.seed)
store.write(manifest, snakemake.output.manifest, store.MANIFEST, facts)
