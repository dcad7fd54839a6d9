# The table of contents: what is configured, which stages there are, what can be asked for.
from snakemake.utils import min_version

min_version("9.14")


configfile: "config.yaml"


report: "report/workflow.rst"


# A GPU is asked for per job and per host, so that it does not limit submissions to a cluster.
resource_scopes:
    gpu="local",


include: "rules/config.smk"
include: "rules/common.smk"
include: "rules/retrieve.smk"
include: "rules/data.smk"
include: "rules/models.smk"
include: "rules/erf.smk"
include: "rules/fit.smk"
include: "rules/report.smk"


localrules:
    all,
    retrieve_all,
    size_test,
    shape_test,


# Every result a user opens is asked for by name, or a lost one would not be missed.
rule retrieve_all:
    input:
        published_packs(),
        published_weights(),


rule size_test:
    input:
        size_test_maps(ERF),
        "<results>/trf.parquet",
        "<results>/fits.parquet",
        "<results>/tables/table1.parquet",
        "<results>/tables/correlations.parquet",
        "<results>/figures/size_against_accuracy.png",


rule shape_test:
    input:
        size_test_maps(BLOCKS),
        "<results>/imbalance.parquet",
        "<results>/tables/receptive_fields.parquet",
        "<results>/figures/fig1.png",
        expand("<results>/figures/erf_maps/{model}.png", model=SIZE_TEST["models"]),


rule all:
    default_target: True
    input:
        rules.size_test.input,
        rules.shape_test.input,
