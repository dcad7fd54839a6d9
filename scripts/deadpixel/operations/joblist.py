"""A program that prints the jobs of a workflow, all of them, from Snakemake's own events.

    python -P joblist.py SNAKEFILE < CONFIG

CONFIG, in JSON, is laid over the workflow's own. The last line printed is a list in JSON. It is a
process of its own because Snakemake is made for one workflow per process.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any


class _Jobs(logging.Handler):
    """Collects what a `plan.Step` holds of each job."""

    def __init__(self, event: Any) -> None:
        super().__init__()
        self._event = event
        self.found: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        event = vars(record)
        if event.get("event") == self._event:
            resources = event["resources"].items()
            self.found.append(
                {
                    "rule": event["rule_name"],
                    "record": event["benchmark"],
                    "inputs": event["input"],
                    "outputs": event["output"],
                    "wildcards": event["wildcards"],
                    "priority": event["priority"],
                    "resources": {name: n for name, n in resources if isinstance(n, int)},
                }
            )


def main(snakefile: str) -> None:
    """Print them; what Snakemake says of an error goes to stderr, and the exit status is 1."""
    # here, because importing it starts programs
    from snakemake.api import SnakemakeApi
    from snakemake.logging import logger
    from snakemake.settings.types import (
        ConfigSettings,
        DAGSettings,
        OutputSettings,
        ResourceSettings,
    )
    from snakemake_interface_logger_plugins.common import LogEvent

    jobs = _Jobs(LogEvent.JOB_INFO)
    with SnakemakeApi(OutputSettings(dryrun=True)) as api:
        try:
            config = ConfigSettings(json.load(sys.stdin))
            workflow = api.workflow(ResourceSettings(cores=1), config, snakefile=Path(snakefile))
            dag = workflow.dag(DAGSettings(targets={"all"}, forceall=True))
            logger.addHandler(jobs)
            dag.execute_workflow(executor="dryrun")
        except Exception as error:
            api.print_exception(error)
            sys.exit(1)
    print(json.dumps(jobs.found))


if __name__ == "__main__":
    main(sys.argv[1])
