# Shape test: fine-tuning with odd and with even kernels, everything else the same, and the maps of both.
FINETUNE = config["finetune"]
FINETUNE_ARMS = arms(FINETUNE, config["preprocess"]["crop"])
RUN = "dataset={dataset}/model={model}/weights={weights}/kernels={kernels}/seed={seed}"
EPOCHS = f"<results>/finetune/epochs/{RUN}/epochs.parquet"
PREDICTIONS = f"<results>/finetune/predictions/{RUN}/predictions.parquet"
FINETUNED = f"<results>/finetune/checkpoints/{RUN}/checkpoint.safetensors"
EXPERIMENTS["shape_test"] = {
    "settings": FINETUNE,
    "kernels": FINETUNE_ARMS,
    "fields": [
        {
            "dataset": FINETUNE["dataset"],
            "model": model,
            "weights": "finetuned",
            "kernels": kernels,
        }
        for model in FINETUNE["models"]
        for kernels in FINETUNE_ARMS
    ],
    "weights": (
        f"fine-tuned on {FINETUNE['dataset']} (seed {FINETUNE['seeds'][0]}), "
        f"before that {WEIGHTS[FINETUNE['weights']]}"
    ),
}
TRAINED["finetuned"] = {
    "checkpoint": lambda w: FINETUNED.format(
        **{**w, "weights": FINETUNE["weights"]}, seed=FINETUNE["seeds"][0]
    ),
    "start": FINETUNE["weights"],
    "logit": FINETUNE["logit"],
}
FINETUNE_SETTINGS = {
    "fine-tuning": {**training_settings(FINETUNE), "weights": FINETUNE["weights"]},
    "fields after fine-tuning": FIELD_SETTINGS,
}
# The network whose maps are Fig. 1, and the run whose kernels are Fig. 3.
DRAWN = {
    "dataset": FINETUNE["dataset"],
    "model": config["shape_test"]["model"],
    "weights": FINETUNE["weights"],
    "seed": FINETUNE["seeds"][0],
}
REPEATED = FINETUNE["repeated"]
FINETUNE_RUNS = [
    {
        "dataset": FINETUNE["dataset"],
        "model": model,
        "weights": FINETUNE["weights"],
        "kernels": FINETUNE_ARMS,
        "seed": list(
            dict.fromkeys(
                FINETUNE["seeds"]
                + (REPEATED["seeds"] if model in REPEATED["models"] else [])
            )
        ),
    }
    for model in FINETUNE["models"]
]


rule finetune_model:
    input:
        checkpoint=starting_weights,
        manifest=MANIFEST,
        pack=PACK,
        source=model_files,
        flops=ancient(FLOPS),
        splits=ancient(SPLITS),
    output:
        epochs=EPOCHS,
        predictions=PREDICTIONS,
        checkpoint=FINETUNED,
    log:
        "<logs>/finetune_model/{dataset}+{model}+{weights}+{kernels}+{seed}.log",
    benchmark:
        "<benchmarks>/finetune_model/{dataset}+{model}+{weights}+{kernels}+{seed}.jsonl"
    wildcard_constraints:
        weights="imagenet|calibrated|file",
    priority: PRIORITY["train"]
    conda:
        "../envs/deadpixel.yaml"
    threads: THREADS
    resources:
        **training_cost(
            "finetune_model",
            FINETUNE,
            # the way back is twice as long as there
            passes=lambda net: 3 * net.images["train"] + net.images["valid"],
            held=lambda net: net.images["valid"]
            + net.images["test"]
            + held_to_augment(net.images["train"]),
        ),
        gpu=GPU,
    params:
        code=fingerprint("finetune_model"),
        recipe=recipe(FINETUNE),
        batch_size=FINETUNE["batch_size"],
        augmentation=augmentation,
        normalisation=lambda w: {name: preprocess(w)[name] for name in ("mean", "std")},
        method=config["training"]["augmentation"]["method"],
        init=FINETUNE["init"],
        model=lambda w: model_source(w.model),
        surgeries=surgeries,
    message:
        "Fine-tune {wildcards.model}, {wildcards.kernels} kernels, seed {wildcards.seed}"
    script:
        "../scripts/finetune_model.py"


rule make_shape_test:
    input:
        epochs=runs_of(EPOCHS, FINETUNE_RUNS),
        predictions=runs_of(PREDICTIONS, FINETUNE_RUNS),
        fits=fields_of(["shape_test"], FITS),
        imbalance=fields_of(["shape_test"], IMBALANCE),
        trf=fields_of(["shape_test"], TRF),
        paper=[
            beside("scripts/deadpixel/results/paper/table2.csv"),
            beside("scripts/deadpixel/results/paper/table3.csv"),
        ],
    output:
        finetune_runs="<results>/tables/finetune_runs.parquet",
        finetune_runs_markdown="<results>/tables/finetune_runs.md",
        finetune_runs_html=report(
            "<results>/tables/finetune_runs.html",
            caption="../report/finetune_runs.rst",
            category="Fine-tuning",
            labels={"result": "Every run"},
        ),
        table2="<measured>/tables/table2.parquet",
        table2_markdown="<measured>/tables/table2.md",
        table2_html=report(
            "<measured>/tables/table2.html",
            caption="../report/table2.rst",
            category="Size test",
            labels={"result": "Table 2: after fine-tuning"},
        ),
        table3="<results>/tables/table3.parquet",
        table3_markdown="<results>/tables/table3.md",
        table3_html=report(
            "<results>/tables/table3.html",
            caption="../report/table3.rst",
            category="Fine-tuning",
            labels={"result": "Table 3: before and after kernel padding"},
        ),
        accuracies_png=report(
            "<results>/figures/accuracies.png",
            caption="../report/accuracies.rst",
            category="Fine-tuning",
            labels={"result": "Test accuracy of every run"},
        ),
        accuracies_vector=multiext("<results>/figures/accuracies", ".svg", ".pdf"),
        curves_png=report(
            "<results>/figures/training_curves.png",
            caption="../report/training_curves.rst",
            category="Fine-tuning",
            labels={"result": "Course of every run"},
        ),
        curves_vector=multiext("<results>/figures/training_curves", ".svg", ".pdf"),
        imbalance_png=report(
            "<measured>/figures/fig4.png",
            caption="../report/fig4.rst",
            category="Fine-tuning",
            labels={"result": "Fig. 4: imbalance before and after"},
        ),
        imbalance_vector=multiext("<measured>/figures/fig4", ".svg", ".pdf"),
    log:
        "<logs>/make_shape_test.log",
    benchmark:
        "<benchmarks>/make_shape_test.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("make_shape_test"),
    params:
        code=fingerprint("make_shape_test"),
        target=config["size_test"]["target"],
        seed=FINETUNE["seeds"][0],
        networks=known_networks(FINETUNE),
        settings=FINETUNE_SETTINGS,
    message:
        "Make Tables 2 and 3, Fig. 4 and the course of fine-tuning"
    script:
        "../scripts/make_shape_test.py"


use rule plot_erf_maps as plot_fig1 with:
    input:
        **{
            name: fields_of(["shape_test"], pattern, model=DRAWN["model"])
            for name, pattern in {
                "erf": ERF,
                "tiles": TILES,
                "fits": FITS,
                "trf": TRF,
            }.items()
        },
    output:
        png="<measured>/figures/fig1.png",
        vector=multiext("<measured>/figures/fig1", ".svg", ".pdf"),
    log:
        "<logs>/plot_fig1.log",
    benchmark:
        "<benchmarks>/plot_fig1.jsonl"
    resources:
        **cost("plot_fig1"),
    params:
        code=fingerprint("plot_erf_maps"),
        weights=EXPERIMENTS["shape_test"]["weights"],
    message:
        "Draw Fig. 1: fields before and after"


rule plot_window_references:
    output:
        png=report(
            "<results>/figures/fig2.png",
            caption="../report/fig2.rst",
            category="Shape test",
            labels={"result": "Fig. 2: windows that contain a pixel"},
        ),
        vector=multiext("<results>/figures/fig2", ".svg", ".pdf"),
    log:
        "<logs>/plot_window_references.log",
    benchmark:
        "<benchmarks>/plot_window_references.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("plot_window_references"),
    params:
        code=fingerprint("plot_window_references"),
    message:
        "Draw Fig. 2: how often windows refer to each pixel"
    script:
        "../scripts/plot_window_references.py"


rule plot_padded_kernel:
    input:
        before=starting_weights(DRAWN),
        after=FINETUNED.format(**DRAWN, kernels="padded"),
        source=own_file(config["models"][DRAWN["model"]]) or [],
    output:
        png=report(
            "<results>/figures/fig3.png",
            caption="../report/fig3.rst",
            category="Fine-tuning",
            labels={"result": "Fig. 3: a padded kernel"},
        ),
        vector=multiext("<results>/figures/fig3", ".svg", ".pdf"),
    log:
        "<logs>/plot_padded_kernel.log",
    benchmark:
        "<benchmarks>/plot_padded_kernel.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("plot_padded_kernel"),
    params:
        code=fingerprint("plot_padded_kernel"),
        model=model_source(DRAWN["model"]),
        name=DRAWN["model"],
        init=FINETUNE["init"],
        seed=DRAWN["seed"],
    message:
        "Draw Fig. 3: a padded kernel"
    script:
        "../scripts/plot_padded_kernel.py"


rule shape_test:
    input:
        fields_of(["shape_test"], ERF),
        runs_of(EPOCHS, FINETUNE_RUNS),
        runs_of(PREDICTIONS, FINETUNE_RUNS),
        runs_of(FINETUNED, FINETUNE_RUNS),
        multiext("<results>/tables/", "finetune_runs.parquet", "table3.parquet"),
        "<measured>/tables/table2.parquet",
        multiext("<measured>/figures/", "fig1.png", "fig4.png"),
        "<results>/figures/fig2.png",
        multiext("<results>/figures/", "accuracies.png", "training_curves.png"),
        "<results>/figures/fig3.png" if "padded" in FINETUNE_ARMS else [],
        expand(
            "<measured>/figures/erf_maps/shape_test/{model}.png",
            model=FINETUNE["models"],
        ),
        "<measured>/figures/convergence/shape_test.png",
    localrule: True
    message:
        "All of shape_test is there"
