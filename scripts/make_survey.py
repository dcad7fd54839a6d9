"""The networks of the survey by their contrast: a table and a figure."""

from pathlib import Path

from deadpixel.files import parquet, schemas
from deadpixel.operations import job
from deadpixel.results import render, style, survey

job.begin(snakemake)
inputs, output = snakemake.input, snakemake.output
rows = parquet.read_all(inputs.rows, schemas.SURVEY)
table = survey.ranked(rows)
facts = parquet.provenance(input_size=snakemake.params.size)
render.save(table, survey.SURVEY, facts, [output.table, output.markdown, output.html])
tiles = parquet.read_all(inputs.tiles, schemas.SURVEY_TILES)
style.save(survey.figure(table, tiles), [output.png, *output.vector])
Path(output.tiles).mkdir(parents=True, exist_ok=True)
for name, picture in survey.pictures(tiles):
    style.save(picture, [Path(output.tiles, f"{name}.svg")])
