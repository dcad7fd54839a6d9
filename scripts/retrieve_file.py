"""Bring one published file: a data set's archive or a network's weights."""

from dataclasses import fields
from pathlib import Path

from deadpixel.data import retrieval
from deadpixel.operations import job

job.begin(snakemake)
known = {field.name for field in fields(retrieval.Published)}
params = snakemake.params
entry = {key: value for key, value in params.published.items() if key in known}
root, downloads, link = Path(params.root), Path(params.downloads), Path(snakemake.output[0])
retrieval.retrieve(retrieval.Published(**entry), root, downloads, link)
