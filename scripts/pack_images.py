"""Decode each image of a data set once."""

from pathlib import Path

from deadpixel import images, logs, store

logs.configure(snakemake.log[0])
folder = Path(snakemake.params.folder)

manifest = store.read(snakemake.input.manifest, store.MANIFEST)
facts = store.provenance(folder=str(folder))
images.pack(manifest, folder, Path(snakemake.output.pack), facts)
