# What the maps say: Gaussian fits and pixel sensitivity imbalance, for each experiment and all together.


rule fit_gaussians:
    input:
        erf=experiment_maps(ERF),
        code=library("gaussian"),
    output:
        fits="<results>/{experiment}/fits.parquet",
    log:
        "<logs>/fit_gaussians/{experiment}.log",
    benchmark:
        "<benchmarks>/fit_gaussians/{experiment}.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    script:
        "../scripts/fit_gaussians.py"


rule measure_imbalance:
    input:
        blocks=experiment_maps(BLOCKS),
        code=library("imbalance"),
    output:
        imbalance="<results>/{experiment}/imbalance.parquet",
    log:
        "<logs>/measure_imbalance/{experiment}.log",
    benchmark:
        "<benchmarks>/measure_imbalance/{experiment}.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    script:
        "../scripts/measure_imbalance.py"


rule merge_experiments:
    input:
        fits=expand(
            "<results>/{experiment}/fits.parquet",
            experiment=EXPERIMENTS,
        ),
        imbalance=expand(
            "<results>/{experiment}/imbalance.parquet",
            experiment=EXPERIMENTS,
        ),
    output:
        fits="<results>/fits.parquet",
        imbalance="<results>/imbalance.parquet",
    log:
        "<logs>/merge_experiments.log",
    benchmark:
        "<benchmarks>/merge_experiments.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    script:
        "../scripts/merge_experiments.py"
