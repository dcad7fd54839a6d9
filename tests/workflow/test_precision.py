"""`erf.precision` through the workflow: maps end before all images, and all numbers say so."""

import pandas as pd
import yaml

from deadpixel.files import parquet, schemas
from small import NETWORK, OVERLAY, small_checkout

MAPS = "dataset=drawn/model=mine/weights=calibrated/kernels=odd"
LOG = "logs/accumulate_erf/drawn+mine+calibrated+odd.log"
# Its logits look at the middle, so that a Gaussian fits their map, too.
CENTRAL = NETWORK.replace("self.deep(self.stem(image))", "self.near(self.deep(self.stem(image)))")
CENTRAL = CENTRAL.replace(
    "    def forward",
    """    def near(self, maps):
        bell = torch.exp(-(torch.linspace(-3, 3, 16) ** 2)).to(maps)
        return maps * bell * bell[:, None]

    def forward""",
).replace("from torch import nn", "import torch\nfrom torch import nn")


def test_images_end_once_maps_are_precise(tmp_path):
    """At the fifth of six blocks, the earliest; the share is so large that any map will do."""
    checkout = small_checkout(tmp_path / "checkout", CENTRAL)
    erf = {**OVERLAY["erf"], "blocks": 6, "precision": 0.99}
    (checkout.folder / "mine.yaml").write_text(yaml.safe_dump({**OVERLAY, "erf": erf}))
    wanted = f"results/fields/{MAPS}/fits.parquet"
    command = (wanted, "--cores", "2", "--configfile", "mine.yaml")
    status, output = checkout.snakemake(*command)
    assert status == 0, output
    results = checkout.folder / "results"
    counts = [
        parquet.read(results / f"erf_blocks/{MAPS}/block={n}/sums.parquet", schemas.BLOCK)
        .groupby("target")["count"]
        .first()
        for n in range(6)
    ]
    of_target = pd.DataFrame(counts).sum()
    manifest = parquet.read(results / "data/dataset=drawn/manifest.parquet", schemas.MANIFEST)
    images = (manifest["split"] == "test").sum()
    assert [len(count) for count in counts] == [3] * 5 + [0]
    assert (of_target == images - 1).all(), "the last of six blocks of eight images has one"
    assert f"after {images - 1} of {images} images" in (checkout.folder / LOG).read_text()
    for name in ("fits", "imbalance"):
        rows = pd.read_parquet(results / f"fields/{MAPS}/{name}.parquet", partitioning=None)
        assert rows["n_images"].tolist() == [images - 1] * 3
    facts = parquet.read_provenance(results / f"erf/{MAPS}/target=output/erf.parquet")
    assert (facts["n_images"], facts["precision"]) == (images - 1, 0.99)
    course = parquet.read(results / f"convergence/{MAPS}/convergence.parquet", schemas.CONVERGENCE)
    assert course.groupby("target")["n_images"].max().tolist() == [images - 1] * 3
