# What the maps say: Gaussian fits and pixel sensitivity imbalance, and theoretical fields, for each experiment
# and all together.


rule fit_gaussians:
    input:
        erf=experiment_maps(ERF),
    output:
        fits="<results>/{experiment}/fits.parquet",
    log:
        "<logs>/fit_gaussians/{experiment}.log",
    benchmark:
        "<benchmarks>/fit_gaussians/{experiment}.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("fit_gaussians"),
    script:
        "../scripts/fit_gaussians.py"


rule measure_imbalance:
    input:
        blocks=experiment_maps(BLOCKS),
    output:
        imbalance="<results>/{experiment}/imbalance.parquet",
    log:
        "<logs>/measure_imbalance/{experiment}.log",
    benchmark:
        "<benchmarks>/measure_imbalance/{experiment}.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("measure_imbalance"),
    script:
        "../scripts/measure_imbalance.py"


rule merge_trf:
    input:
        trf=experiment_fields,
    output:
        trf="<results>/{experiment}/trf.parquet",
    log:
        "<logs>/merge_trf/{experiment}.log",
    benchmark:
        "<benchmarks>/merge_trf/{experiment}.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("merge_tables"),
    script:
        "../scripts/merge_tables.py"


rule merge_experiments:
    input:
        trf=expand(
            "<results>/{experiment}/trf.parquet",
            experiment=EXPERIMENTS,
        ),
        fits=expand(
            "<results>/{experiment}/fits.parquet",
            experiment=EXPERIMENTS,
        ),
        imbalance=expand(
            "<results>/{experiment}/imbalance.parquet",
            experiment=EXPERIMENTS,
        ),
    output:
        trf="<results>/trf.parquet",
        fits="<results>/fits.parquet",
        imbalance="<results>/imbalance.parquet",
    log:
        "<logs>/merge_experiments.log",
    benchmark:
        "<benchmarks>/merge_experiments.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("merge_tables"),
    script:
        "../scripts/merge_tables.py"
