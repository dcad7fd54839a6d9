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


rule make_size_test:
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
        png=report(
            "<measured>/figures/size_against_accuracy.png",
            caption="../report/size_against_accuracy.rst",
            category="Size test",
            labels={"result": "Size against accuracy"},
        ),
        vector=multiext("<measured>/figures/size_against_accuracy", ".svg", ".pdf"),
    log:
        "<logs>/make_size_test.log",
    benchmark:
        "<benchmarks>/make_size_test.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("make_size_test"),
    params:
        code=fingerprint("make_size_test"),
        target=SIZE_TEST["target"],
        # whose maps are of the very weights that torchvision publishes accuracies of
        published_weights={
            model: model_source(model)
            for model in SIZE_TEST["models"]
            if SIZE_TEST["weights"] == "imagenet"
        },
        networks=known_networks(SIZE_TEST),
        settings=SIZE_TEST_SETTINGS,
        dataset=SIZE_TEST["dataset"],
        weights=EXPERIMENTS["size_test"]["weights"],
    message:
        "Make Table 1 and its figure: size against accuracy"
    script:
        "../scripts/make_size_test.py"


# Every result a user opens is asked for by name, or a lost one would not be missed.
rule size_test:
    input:
        fields_of(["size_test"], ERF),
        fields_of(["size_test"], IMBALANCE),
        fields_of(["size_test"], TRF),
        fields_of(["size_test"], CONVERGENCE),
        "<measured>/tables/table1.parquet",
        "<measured>/tables/correlations.parquet",
        "<measured>/figures/size_against_accuracy.png",
        "<measured>/figures/convergence/size_test.png",
        expand(
            "<measured>/figures/erf_maps/size_test/{model}.png",
            model=SIZE_TEST["models"],
        ),
    localrule: True
    message:
        "All of size_test is there"
