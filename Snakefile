# The table of contents: what is configured, which stages there are, what can be asked for.
from snakemake.utils import min_version

min_version("9.14")


configfile: "config.yaml"


report: "report/workflow.rst"


# A GPU is asked for per job and per host, so that it does not limit submissions to a cluster.
resource_scopes:
    gpu="local",


include: "rules/lock.smk"
include: "rules/library.smk"
include: "rules/config.smk"
include: "rules/common.smk"
include: "rules/retrieve.smk"
include: "rules/costs.smk"
include: "rules/listing.smk"
include: "rules/data.smk"
include: "rules/models.smk"
include: "rules/erf.smk"
include: "rules/finetune.smk"
include: "rules/microobject.smk"
include: "rules/fit.smk"
include: "rules/comparable.smk"
include: "rules/report.smk"
include: "rules/plan.smk"


FINGERPRINTS.save()


localrules:
    all,
    retrieve_all,
    size_test,
    shape_test,
    microobject,
    plan,


# Every result a user opens is asked for by name, or a lost one would not be missed.
rule retrieve_all:
    input:
        published_packs(),
        published_weights(),


rule size_test:
    input:
        size_test_maps(ERF),
        size_test_maps(BLOCKS),
        "<results>/size_test/imbalance.parquet",
        "<results>/size_test/trf.parquet",
        "<results>/tables/table1.parquet",
        "<results>/tables/correlations.parquet",
        "<results>/figures/size_against_accuracy.png",
        expand(
            "<results>/figures/erf_maps/size_test/{model}.png",
            model=SIZE_TEST["models"],
        ),


rule shape_test:
    input:
        shape_test_maps(ERF),
        shape_test_maps(BLOCKS),
        finetune_runs(EPOCHS),
        finetune_runs(PREDICTIONS),
        finetune_runs(FINETUNED),
        multiext(
            "<results>/tables/",
            "finetune_runs.parquet",
            "table2.parquet",
            "table3.parquet",
        ),
        multiext("<results>/figures/", "fig1.png", "fig2.png", "fig4.png"),
        multiext("<results>/figures/", "accuracies.png", "training_curves.png"),
        "<results>/figures/fig3.png" if "padded" in FINETUNE["kernels"] else [],
        expand(
            "<results>/figures/erf_maps/shape_test/{model}.png",
            model=FINETUNE["models"],
        ),


rule microobject:
    input:
        microobject_runs(),
        multiext("<results>/tables/", "first_epochs.parquet", "table4.parquet"),
        "<results>/figures/fig5.png",


rule plan:
    input:
        "<results>/plan.parquet",
        "<results>/figures/plan.png",


rule all:
    default_target: True
    input:
        rules.size_test.input,
        rules.shape_test.input,
        rules.microobject.input,
        "<results>/trf.parquet",
        "<results>/fits.parquet",
        "<results>/imbalance.parquet",
        "<results>/tables/receptive_fields.parquet",
