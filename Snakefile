# The table of contents: what is configured, which rooms and experiments there are, what can be asked for.
from snakemake.utils import min_version

min_version("9.14")


include: "rules/library.smk"


# Before Snakemake reads the configuration: it says no file or line, and takes the last of double keys.
check_yaml(beside("config.yaml"))


configfile: beside("config.yaml")


report: "report/workflow.rst"


# A GPU is asked for per job and per host, so that it does not limit submissions to a cluster.
resource_scopes:
    gpu="local",


include: "rules/lock.smk"
include: "rules/config.smk"
include: "rules/paths.smk"
include: "rules/costs.smk"
include: "rules/sources.smk"
include: "rules/data.smk"
include: "rules/networks.smk"
include: "rules/fields.smk"
include: "rules/training.smk"
include: "rules/seen.smk"
# One file an experiment; each asks for all its results under its name.
include: "rules/size_test.smk"
include: "rules/shape_test.smk"
include: "rules/microobject.smk"
include: "rules/causes.smk"
include: "rules/probes.smk"
include: "rules/survey.smk"
include: "rules/report.smk"
include: "rules/plan.smk"


FINGERPRINTS.save()


rule all:
    default_target: True
    input:
        [getattr(rules, name).input for name in EXPERIMENTS],
        "<results>/trf.parquet",
        multiext("<measured>/", "fits.parquet", "imbalance.parquet", "extent.parquet"),
        "<measured>/tables/receptive_fields.parquet",
        "<measured>/report.html",
    localrule: True
    message:
        "Everything is there"
