# Size test: does the size of a receptive field, theoretical or effective, predict accuracy?
SIZE_TEST = config["size_test"]
SIZE_TEST_ARMS = arms(SIZE_TEST, config["preprocess"]["crop"])
EXPERIMENTS["size_test"] = {
    "settings": SIZE_TEST,
    "kernels": SIZE_TEST_ARMS,
    "fields": [
        {
            "dataset": SIZE_TEST["dataset"],
            "model": model,
            "weights": SIZE_TEST["weights"],
            "kernels": kernels,
        }
        for model in SIZE_TEST["models"]
        for kernels in SIZE_TEST_ARMS
    ],
    "weights": WEIGHTS[SIZE_TEST["weights"]],
}
SIZE_TEST_SETTINGS = {
    "size test": {
        "data set": source_of_data(SIZE_TEST),
        "weights": SIZE_TEST["weights"],
        **FIELD_SETTINGS,
    }
}


rule make_table1:
    input:
        fits=fields_of(["size_test"], FITS),
        trf=fields_of(["size_test"], TRF),
        paper=beside("scripts/deadpixel/results/paper/table1.csv"),
    output:
        table="<measured>/tables/table1.parquet",
        markdown="<measured>/tables/table1.md",
        html=report(
            "<measured>/tables/table1.html",
            caption="../report/table1.rst",
            category="Size test",
            labels={"result": "Table 1: size against accuracy"},
        ),
        correlations="<measured>/tables/correlations.parquet",
        correlations_markdown="<measured>/tables/correlations.md",
        correlations_html=report(
            "<measured>/tables/correlations.html",
            caption="../report/correlations.rst",
            category="Size test",
            labels={"result": "Rank correlations"},
        ),
    log:
        "<logs>/make_table1.log",
    benchmark:
        "<benchmarks>/make_table1.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("make_table1"),
    params:
        code=fingerprint("make_table1"),
        target=SIZE_TEST["target"],
        # whose maps are of the very weights that torchvision publishes accuracies of
        published_weights={
            model: model_source(model)
            for model in SIZE_TEST["models"]
            if SIZE_TEST["weights"] == "imagenet"
        },
        networks=known_networks(SIZE_TEST),
        settings=SIZE_TEST_SETTINGS,
    message:
        "Make Table 1: size against accuracy"
    script:
        "../scripts/make_table1.py"


rule plot_size_against_accuracy:
    input:
        table="<measured>/tables/table1.parquet",
        correlations="<measured>/tables/correlations.parquet",
        paper=beside("scripts/deadpixel/results/paper/table1.csv"),
    output:
        png=report(
            "<measured>/figures/size_against_accuracy.png",
            caption="../report/size_against_accuracy.rst",
            category="Size test",
            labels={"result": "Size against accuracy"},
        ),
        vector=multiext("<measured>/figures/size_against_accuracy", ".svg", ".pdf"),
    log:
        "<logs>/plot_size_against_accuracy.log",
    benchmark:
        "<benchmarks>/plot_size_against_accuracy.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("plot_size_against_accuracy"),
    params:
        code=fingerprint("plot_size_against_accuracy"),
        dataset=SIZE_TEST["dataset"],
        weights=EXPERIMENTS["size_test"]["weights"],
    message:
        "Draw size against accuracy"
    script:
        "../scripts/plot_size_against_accuracy.py"


# Every result a user opens is asked for by name, or a lost one would not be missed.
rule size_test:
    input:
        fields_of(["size_test"], ERF),
        fields_of(["size_test"], IMBALANCE),
        fields_of(["size_test"], TRF),
        "<measured>/tables/table1.parquet",
        "<measured>/tables/correlations.parquet",
        "<measured>/figures/size_against_accuracy.png",
        expand(
            "<measured>/figures/erf_maps/size_test/{model}.png",
            model=SIZE_TEST["models"],
        ),
    localrule: True
    message:
        "All of size_test is there"
