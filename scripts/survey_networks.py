"""How unevenly some networks see, by their structure alone, with each kind of kernels."""

import pandas as pd
import torch

from deadpixel import errors
from deadpixel.files import maps, parquet, schemas
from deadpixel.operations import job
from deadpixel.survey import survey

job.begin(snakemake)
torch.set_num_threads(snakemake.threads)
params, output = snakemake.params, snakemake.output
rows, tiles = [], [pd.DataFrame(columns=schemas.SURVEY_TILES.names)]
for source in params.networks:
    with errors.naming(f"survey.networks: {source}"):
        for row, tile in survey(source, params.kernels, params.size):
            rows.append(row)
            key = {"network": source, "kernels": row["kernels"]}
            if len(tile):
                tiles.append(maps.tile_to_frame(tile).drop(columns="period").assign(**key))
facts = parquet.provenance(input_size=params.size)
of_tiles = pd.concat(tiles).reindex(columns=schemas.SURVEY_TILES.names)
of_all = pd.DataFrame(rows, columns=schemas.SURVEY.names)
parquet.write(of_all, output.rows, schemas.SURVEY, facts)
parquet.write(of_tiles, output.tiles, schemas.SURVEY_TILES, facts)
