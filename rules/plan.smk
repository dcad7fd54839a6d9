# What this configuration will cost, and on how many GPUs; once it has run, what it did cost.


# Without a benchmark, as plans are made again when there is a new one.
rule count_flops:
    input:
        source=[model_files(model) for model in NETWORKS],
        code=library("flops", "kernels", "models"),
    output:
        flops=FLOPS,
    log:
        "<logs>/count_flops.log",
    priority: PRIORITY["count_flops"]
    conda:
        "../envs/deadpixel.yaml"
    params:
        models={model: model_source(model) for model in NETWORKS},
        kernels=NETWORKS,
        sides=[config["preprocess"]["crop"], AUGMENTATION["crop"]],
    script:
        "../scripts/count_flops.py"


# It asks Snakemake for the jobs, so it runs beside it; and again when there are more records.
rule make_plan:
    input:
        flops=FLOPS,
        manifests=[*manifests_of_folders().values()],
        code=library("costs", "schedule", "plan"),
    output:
        plan="<results>/plan.parquet",
        makespans="<results>/plan_makespans.parquet",
        markdown="<results>/plan.md",
    log:
        "<logs>/make_plan.log",
    localrule: True
    conda:
        "../envs/plan.yaml"
    params:
        devices="GPUs" if GPU else "CPU cores",
        downloads=DOWNLOADS,
        known_splits=known_splits(),
        manifests=manifests_of_folders(),
        records=BENCHMARKS,
        finished=lambda w: finished_jobs(),
        solver_seconds=3,
    script:
        "../scripts/make_plan.py"


rule plot_plan:
    input:
        plan="<results>/plan.parquet",
        makespans="<results>/plan_makespans.parquet",
        code=library("plan_plots"),
    output:
        png="<results>/figures/plan.png",
        svg="<results>/figures/plan.svg",
    log:
        "<logs>/plot_plan.log",
    localrule: True
    conda:
        "../envs/deadpixel.yaml"
    script:
        "../scripts/plot_plan.py"
