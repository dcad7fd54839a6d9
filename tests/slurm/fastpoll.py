"""Snakemake that looks after its SLURM jobs every second: python fastpoll.py ARGUMENTS.

The plugin waits 10 s longer after each look that found no job finished, and no setting changes
that. The jobs themselves run plain Snakemake.
"""

import asyncio
import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def _sleep(self):
    await asyncio.sleep(1)


RemoteExecutor.sleep = _sleep

if __name__ == "__main__":
    sys.exit(main())
