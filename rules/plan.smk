# What this configuration will cost, and on how many GPUs; once it has run, what it did cost.


# Without a benchmark, as plans are made again when there is a new one.
rule count_flops:
    input:
        source=lambda w: model_files(w.model),
    output:
        flops=FLOPS,
    log:
        "<logs>/count_flops/{model}.log",
    priority: PRIORITY["count_flops"]
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("count_flops"),
        model=lambda w: model_source(w.model),
        kernels=lambda w: NETWORKS[w.model],
        sides=sorted({config["preprocess"]["crop"], AUGMENTATION["crop"]}),
    script:
        "../scripts/count_flops.py"


# It asks Snakemake for the jobs, so it runs beside it; and again when there are more records.
rule make_plan:
    input:
        flops=expand(FLOPS, model=NETWORKS),
        splits=[*splits_of_folders().values()],
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
        code=fingerprint("make_plan"),
        devices="GPUs" if GPU else "CPU cores",
        device=DEVICE,
        downloads=DOWNLOADS,
        known_splits=known_splits(),
        splits=splits_of_folders(),
        records=BENCHMARKS,
        finished=lambda w: finished_jobs(),
        solver_seconds=3,
    script:
        "../scripts/make_plan.py"


rule plot_plan:
    input:
        plan="<results>/plan.parquet",
        makespans="<results>/plan_makespans.parquet",
    output:
        png="<results>/figures/plan.png",
        svg="<results>/figures/plan.svg",
    log:
        "<logs>/plot_plan.log",
    localrule: True
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("plot_plan"),
    script:
        "../scripts/plot_plan.py"
