"""Draw a synthetic data set."""

from pathlib import Path

from deadpixel import logs, synthetic

logs.configure(snakemake.log[0])
synthetic.generate(Path(snakemake.output[0]), **dict(snakemake.params.items()))
