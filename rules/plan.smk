# What this configuration will cost, and on how many GPUs; once it has run, what it did cost.
# Where the images of the users' own folders are counted: nobody has before.
COUNTED = [
    name
    for name in dict.fromkeys(
        e["settings"]["dataset"]
        for e in EXPERIMENTS.values()
        if "dataset" in e["settings"]
    )
    if config["datasets"][name]["source"] == "folder"
]


# It asks Snakemake for the jobs, so it runs beside it; and again when there are more records.
rule make_plan:
    input:
        flops=expand(FLOPS, model=networks_in_use()),
        splits=expand(SPLITS, dataset=COUNTED),
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
        snakefile=beside("Snakefile"),
        devices="GPUs" if GPU else "CPU cores",
        device=DEVICE,
        records=BENCHMARKS,
        finished=lambda w: finished_jobs(),
        solver_seconds=3,
    message:
        "Plan"
    script:
        "../scripts/make_plan.py"


rule plot_plan:
    input:
        plan="<results>/plan.parquet",
        makespans="<results>/plan_makespans.parquet",
    output:
        png="<results>/figures/plan.png",
        vector=multiext("<results>/figures/plan", ".svg", ".pdf"),
    log:
        "<logs>/plot_plan.log",
    localrule: True
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("plot_plan"),
    message:
        "Draw the plan"
    script:
        "../scripts/plot_plan.py"


rule plan:
    input:
        "<results>/plan.parquet",
        "<results>/figures/plan.png",
    localrule: True
    message:
        "All of plan is there"
