"""What Snakemake gives to each script, for the type checker."""

from typing import Any

snakemake: Any
