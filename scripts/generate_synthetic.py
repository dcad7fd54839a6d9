"""Draw a synthetic data set."""

from pathlib import Path

from deadpixel import logs, synthetic

logs.configure(snakemake.log[0])
settings = {key: value for key, value in snakemake.params.items() if key != "code"}
synthetic.generate(Path(snakemake.output[0]), **settings)
