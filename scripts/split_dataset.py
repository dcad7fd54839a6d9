"""List a data set's images and split them."""

import json
from pathlib import Path

from deadpixel import datasets, logs, store

logs.configure(snakemake.log[0])
params = snakemake.params
folder = Path(params.folder)

if params.source == "cub200":
    manifest = datasets.scan_cub200(folder)
else:
    images = datasets.scan(folder, exclude=params.exclude)
    manifest = datasets.split(images, params.fractions, seed=params.seed)
if params.contents:
    datasets.check_contents(manifest, folder, **params.contents)
facts = store.provenance(folder=str(folder), fractions=params.fractions, seed=params.seed)
store.write(manifest, snakemake.output.manifest, store.MANIFEST, facts)
counts = manifest["split"].value_counts()
with store.atomic(snakemake.output.splits) as partial:
    partial.write_text(json.dumps({s: int(counts.get(s, 0)) for s in ("train", "valid", "test")}))
