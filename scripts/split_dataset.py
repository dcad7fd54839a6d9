"""List a data set's images and split them."""

import json
from pathlib import Path

from deadpixel.data import cub200, folders, splits
from deadpixel.files import atomic, parquet, schemas
from deadpixel.operations import job

job.begin(snakemake)
params = snakemake.params
folder = Path(params.folder)

if params.source == "cub200":
    manifest = cub200.scan(folder)
else:
    # A published data set may have been put there without the folder that is no class.
    exclude = [name for name in params.exclude if not params.contents or (folder / name).is_dir()]
    images = folders.scan(folder, exclude=exclude)
    manifest = splits.split(images, params.fractions, seed=params.seed)
if params.contents:
    splits.check_contents(manifest, folder, **params.contents)
else:
    splits.check_labels(manifest, folder)
# No more than the manifest is a function of: equal images give an equal file, whose results stand.
facts = {"fractions": dict(params.fractions), "seed": params.seed}
parquet.write(manifest, snakemake.output.manifest, schemas.MANIFEST, facts)
counts = manifest["split"].value_counts()
with atomic.writing(snakemake.output.splits) as partial:
    partial.write_text(json.dumps({s: int(counts.get(s, 0)) for s in splits.SPLITS}))
