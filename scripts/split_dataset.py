"""List a data set's images and split them."""

import json
from pathlib import Path

from deadpixel.data import layouts, splits
from deadpixel.files import atomic, parquet, schemas
from deadpixel.operations import job

job.begin(snakemake)
params = snakemake.params
manifest = layouts.manifest(
    Path(params.folder),
    params.layout,
    params.fractions,
    seed=params.seed,
    exclude=params.exclude,
    contents=params.contents,
)
# No more than the manifest is a function of: equal images give an equal file, whose results stand.
facts = {"fractions": dict(params.fractions), "seed": params.seed}
parquet.write(manifest, snakemake.output.manifest, schemas.MANIFEST, facts)
counts = {name: list(manifest["split"]).count(name) for name in splits.SPLITS}
with atomic.writing(snakemake.output.splits) as partial:
    partial.write_text(json.dumps(counts))
