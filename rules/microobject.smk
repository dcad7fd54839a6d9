# Micro-object task: how many epochs until a network sees a small square, with odd and with even kernels.
MICROOBJECT = config["microobject"]
MICROOBJECT_ARMS = arms(MICROOBJECT, AUGMENTATION["crop"])
MICROOBJECT_RUN = "dataset={dataset}/model={model}/kernels={kernels}/seed={seed}"
MICROOBJECT_EPOCHS, MICROOBJECT_STEPS, MICROOBJECT_SEEN = (
    f"<results>/microobject/{name}/{MICROOBJECT_RUN}/{name}.parquet"
    for name in ("epochs", "steps", "seen")
)
STARTS = "<results>/microobject/starts/dataset={dataset}/model={model}/kernels={kernels}/starts.parquet"
MICROOBJECT_RUNS = [
    {
        "dataset": MICROOBJECT["dataset"],
        "model": MICROOBJECT["models"],
        "kernels": MICROOBJECT_ARMS,
        "seed": MICROOBJECT["seeds"],
    }
]
EXPERIMENTS["microobject"] = {
    "settings": MICROOBJECT,
    "kernels": MICROOBJECT_ARMS,
    "runs": MICROOBJECT_RUNS,
}
MICROOBJECT_SETTINGS = {
    "micro-object": {
        **training_settings(MICROOBJECT),
        "square": MICROOBJECT["size"],
        "threshold": MICROOBJECT["threshold"],
        "images": MICROOBJECT["images"] or "all",
    }
}
# They say how many operations each kind of kernels changed.
MICROOBJECT_TRF = runs_of(TRF, MICROOBJECT_RUNS)
# A run may be done before its last epoch.
MICROOBJECT_STOP = (
    {
        "epochs": MICROOBJECT["epochs_after"],
        "threshold": MICROOBJECT["threshold"],
    }
    if MICROOBJECT["epochs_after"] is not None
    else None
)


rule train_microobject:
    input:
        manifest=MANIFEST,
        pack=PACK,
        source=model_files,
        flops=ancient(FLOPS),
        splits=ancient(SPLITS),
    output:
        epochs=MICROOBJECT_EPOCHS,
        steps=MICROOBJECT_STEPS,
        seen=MICROOBJECT_SEEN,
    log:
        "<logs>/train_microobject/{dataset}+{model}+{kernels}+{seed}.log",
    benchmark:
        "<benchmarks>/train_microobject/{dataset}+{model}+{kernels}+{seed}.jsonl"
    priority: PRIORITY["train"]
    conda:
        "../envs/deadpixel.yaml"
    threads: THREADS
    resources:
        **training_cost(
            "train_microobject",
            MICROOBJECT,
            # each image in both classes; the way back is twice as long as there
            passes=lambda net: 2
            * (3 * net.at_most(MICROOBJECT["images"], "train") + net.images["test"]),
            held=lambda net: 3 * net.images["test"]
            + held_to_augment(net.at_most(MICROOBJECT["images"], "train")),
        ),
        gpu=GPU,
    params:
        code=fingerprint("train_microobject"),
        recipe=recipe(MICROOBJECT),
        batch_size=MICROOBJECT["batch_size"],
        augmentation=augmentation,
        method=config["training"]["augmentation"]["method"],
        images=MICROOBJECT["images"],
        size=MICROOBJECT["size"],
        init=MICROOBJECT["init"],
        stop=MICROOBJECT_STOP,
        model=lambda w: model_source(w.model),
        surgeries=surgeries,
    message:
        "Train {wildcards.model} to see a small square, {wildcards.kernels} kernels, seed {wildcards.seed}"
    script:
        "../scripts/train_microobject.py"


# Of all seeds of an arm in one job: their fields take less time than to start one.
rule measure_starts:
    input:
        manifest=MANIFEST,
        pack=PACK,
        source=model_files,
        flops=ancient(FLOPS),
        splits=ancient(SPLITS),
    output:
        starts=STARTS,
    log:
        "<logs>/measure_starts/{dataset}+{model}+{kernels}.log",
    benchmark:
        "<benchmarks>/measure_starts/{dataset}+{model}+{kernels}.jsonl"
    priority: PRIORITY["follow"]
    conda:
        "../envs/deadpixel.yaml"
    threads: THREADS
    resources:
        **network_cost(
            "measure_starts",
            Rate(5, 0.006, 2e-4),
            size=lambda w: height_and_width(training_crop(w.kernels)),
            # statistics; there, and back
            work=lambda net: 3 * 256 * len(MICROOBJECT["seeds"]) * net.work,
            memory_mb=lambda net: net.memory_mb(
                DEVICE, batch=MICROOBJECT["batch_size"]
            ),
            disk_mb=lambda net: net.pixels * 24 / costs.MB,
        ),
        gpu=GPU,
    params:
        code=fingerprint("measure_starts"),
        seeds=lambda w: seeds_of(w.model, w.kernels),
        batch_size=MICROOBJECT["batch_size"],
        augmentation=augmentation,
        init=MICROOBJECT["init"],
        model=lambda w: model_source(w.model),
        surgeries=surgeries,
    message:
        "Measure the fields that runs of {wildcards.model}, {wildcards.kernels} kernels, start with"
    script:
        "../scripts/measure_starts.py"


rule make_microobject:
    input:
        epochs=runs_of(MICROOBJECT_EPOCHS, MICROOBJECT_RUNS),
        steps=runs_of(MICROOBJECT_STEPS, MICROOBJECT_RUNS),
        trf=MICROOBJECT_TRF,
        paper=beside("scripts/deadpixel/results/paper/table4.csv"),
    output:
        first_epochs="<results>/tables/first_epochs.parquet",
        first_epochs_markdown="<results>/tables/first_epochs.md",
        first_epochs_html=report(
            "<results>/tables/first_epochs.html",
            caption="../report/first_epochs.rst",
            category="Micro-object",
            labels={"result": "Every run"},
        ),
        table4="<results>/tables/table4.parquet",
        table4_markdown="<results>/tables/table4.md",
        table4_html=report(
            "<results>/tables/table4.html",
            caption="../report/table4.rst",
            category="Micro-object",
            labels={"result": "Table 4: epochs until the square is seen"},
        ),
        png=report(
            "<results>/figures/fig5.png",
            caption="../report/fig5.rst",
            category="Micro-object",
            labels={"result": "Fig. 5: test accuracy over epochs"},
        ),
        vector=multiext("<results>/figures/fig5", ".svg", ".pdf"),
    log:
        "<logs>/make_microobject.log",
    benchmark:
        "<benchmarks>/make_microobject.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("make_microobject"),
    params:
        code=fingerprint("make_microobject"),
        threshold=MICROOBJECT["threshold"],
        epochs=MICROOBJECT["epochs"],
        networks=known_networks(MICROOBJECT),
        settings=MICROOBJECT_SETTINGS,
    message:
        "Make Table 4 and Fig. 5: epochs until the square is seen"
    script:
        "../scripts/make_microobject.py"


rule microobject:
    input:
        runs_of(
            [MICROOBJECT_EPOCHS, MICROOBJECT_STEPS, MICROOBJECT_SEEN, STARTS],
            MICROOBJECT_RUNS,
        ),
        seen_results("microobject"),
        multiext("<results>/tables/", "first_epochs.parquet", "table4.parquet"),
        "<results>/figures/fig5.png",
    localrule: True
    message:
        "All of microobject is there"
