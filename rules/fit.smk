# What the maps say: Gaussian fits and pixel sensitivity imbalance.


rule fit_gaussians:
    input:
        erf=size_test_maps(ERF),
        code=library("gaussian"),
    output:
        fits="<results>/fits.parquet",
    log:
        "<logs>/fit_gaussians.log",
    conda:
        "../envs/deadpixel.yaml"
    script:
        "../scripts/fit_gaussians.py"


rule measure_imbalance:
    input:
        erf=size_test_maps(ERF),
        blocks=size_test_maps(BLOCKS),
        code=library("imbalance"),
    output:
        imbalance="<results>/imbalance.parquet",
    log:
        "<logs>/measure_imbalance.log",
    conda:
        "../envs/deadpixel.yaml"
    script:
        "../scripts/measure_imbalance.py"
