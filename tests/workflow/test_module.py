"""The workflow as a Snakemake module in someone else's Snakefile."""

import pandas as pd

SNAKEFILE = """
configfile: "{checkout}/config.yaml"

module deadpixel:
    snakefile: "{checkout}/Snakefile"
    config: config

use rule * from deadpixel as deadpixel_*

rule mine:
    input: "results/trf/model=resnet18/kernels=odd/trf.parquet"
    output: "mine.txt"
    shell: "touch {{output}}"
"""


def test_rules_run_in_the_folder_of_another_workflow(checkout, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "Snakefile").write_text(SNAKEFILE.format(checkout=checkout.folder))
    status, output = checkout.run(
        "snakemake",
        "--directory",
        str(folder),
        "--cores",
        "1",
        "--snakefile",
        str(folder / "Snakefile"),
        "mine",
    )
    assert status == 0, output
    trf = pd.read_parquet(folder / "results/trf/model=resnet18/kernels=odd/trf.parquet")
    assert trf.set_index("target").loc["layer4", "size_h"] == 435
    assert not (checkout.folder / "results").exists()
