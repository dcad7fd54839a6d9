# Causes: what of kernel padding makes a difference? Arms that each change one thing, compared by seed.
CAUSES = config["causes"]
CAUSES_RUNS = {
    task: [
        {
            **common,
            "model": block["models"],
            "kernels": arms(block, AUGMENTATION["crop"]),
            "seed": block["seeds"],
        }
        for block in CAUSES[task]
    ]
    for task, common in {
        "microobject": {"dataset": MICROOBJECT["dataset"]},
        "finetune": {"dataset": FINETUNE["dataset"], "weights": FINETUNE["weights"]},
    }.items()
}
CAUSES_ARMS = [run for runs in CAUSES_RUNS.values() for run in runs]
EXPERIMENTS["causes"] = {
    "settings": {
        "dataset": MICROOBJECT["dataset"],
        "models": list(dict.fromkeys(m for run in CAUSES_ARMS for m in run["model"])),
        "epochs": MICROOBJECT["epochs"],
    },
    "kernels": list(dict.fromkeys(k for run in CAUSES_ARMS for k in run["kernels"])),
    "runs": CAUSES_RUNS["microobject"],
}
CAUSES_INPUT = {
    "epochs": runs_of(MICROOBJECT_EPOCHS, CAUSES_RUNS["microobject"]),
    "steps": runs_of(MICROOBJECT_STEPS, CAUSES_RUNS["microobject"]),
    "starts": runs_of(STARTS, CAUSES_RUNS["microobject"]),
    "finetuned": runs_of(EPOCHS, CAUSES_RUNS["finetune"]),
    "predictions": runs_of(PREDICTIONS, CAUSES_RUNS["finetune"]),
    "trf": runs_of(TRF, CAUSES_ARMS),
}


rule make_causes:
    input:
        **CAUSES_INPUT,
    output:
        runs="<results>/tables/causes_runs.parquet",
        runs_markdown="<results>/tables/causes_runs.md",
        runs_html=report(
            "<results>/tables/causes_runs.html",
            caption="../report/causes_runs.rst",
            category="Causes",
            labels={"result": "Every run"},
        ),
        arms="<results>/tables/causes_arms.parquet",
        arms_markdown="<results>/tables/causes_arms.md",
        arms_html=report(
            "<results>/tables/causes_arms.html",
            caption="../report/causes_arms.rst",
            category="Causes",
            labels={"result": "Arms: what each changes and has"},
        ),
        contrasts="<results>/tables/causes.parquet",
        contrasts_markdown="<results>/tables/causes.md",
        contrasts_html=report(
            "<results>/tables/causes.html",
            caption="../report/causes.rst",
            category="Causes",
            labels={"result": "Contrasts: what makes a difference"},
        ),
        png=report(
            "<results>/figures/causes.png",
            caption="../report/causes_figure.rst",
            category="Causes",
            labels={"result": "Runs by arm, and contrasts"},
        ),
        vector=multiext("<results>/figures/causes", ".svg", ".pdf"),
    log:
        "<logs>/make_causes.log",
    benchmark:
        "<benchmarks>/make_causes.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("make_causes"),
    params:
        code=fingerprint("make_causes"),
        contrasts=CAUSES["contrasts"],
        threshold=MICROOBJECT["threshold"],
        epochs=MICROOBJECT["epochs"],
        settings=MICROOBJECT_SETTINGS,
    message:
        "Tabulate and draw the causes"
    script:
        "../scripts/make_causes.py"


rule causes:
    input:
        list(CAUSES_INPUT.values()),
        seen_results("causes"),
        [
            "<results>/tables/causes_runs.parquet",
            "<results>/tables/causes_arms.parquet",
            "<results>/tables/causes.parquet",
            "<results>/figures/causes.png",
        ]
        if CAUSES_ARMS
        else [],
    localrule: True
    message:
        "All of causes is there"
