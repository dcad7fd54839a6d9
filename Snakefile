# The table of contents: what is configured, which stages there are, what can be asked for.
from snakemake.utils import min_version

min_version("9.14")


configfile: "config.yaml"


report: "report/workflow.rst"


# A GPU is asked for per job and per host, so that it does not limit submissions to a cluster.
resource_scopes:
    gpu="local",


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/models.smk"
include: "rules/erf.smk"
include: "rules/fit.smk"
include: "rules/report.smk"


localrules:
    all,


# Every result a user opens is asked for by name, or a lost one would not be missed.
rule all:
    default_target: True
    input:
        size_test_maps(ERF),
        expand(
            "<results>/{table}.parquet",
            table=[
                "trf",
                "fits",
                "imbalance",
                "tables/table1",
                "tables/correlations",
                "tables/receptive_fields",
            ],
        ),
        expand(
            "<results>/figures/{figure}.png",
            figure=["fig1", "size_against_accuracy"],
        ),
        expand("<results>/figures/erf_maps/{model}.png", model=SIZE_TEST["models"]),
