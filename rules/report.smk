# Tables and figures, with the paper's numbers beside ours, and their captions in the report.


rule make_table1:
    input:
        fits="<results>/fits.parquet",
        trf="<results>/trf.parquet",
        paper="scripts/deadpixel/paper/table1.csv",
        code=library("tables", "stats", "models"),
    output:
        table="<results>/tables/table1.parquet",
        markdown="<results>/tables/table1.md",
        html=report(
            "<results>/tables/table1.html",
            caption="../report/table1.rst",
            category="Size test",
            labels={"result": "Table 1: size against accuracy"},
        ),
        correlations="<results>/tables/correlations.parquet",
        correlations_markdown="<results>/tables/correlations.md",
        correlations_html=report(
            "<results>/tables/correlations.html",
            caption="../report/correlations.rst",
            category="Size test",
            labels={"result": "Rank correlations"},
        ),
    log:
        "<logs>/make_table1.log",
    conda:
        "../envs/deadpixel.yaml"
    params:
        size_test=SIZE_TEST,
        sources={model: model_source(model) for model in SIZE_TEST["models"]},
    script:
        "../scripts/make_table1.py"


rule tabulate_receptive_fields:
    input:
        fits="<results>/fits.parquet",
        trf="<results>/trf.parquet",
        imbalance="<results>/imbalance.parquet",
        code=library("tables"),
    output:
        table="<results>/tables/receptive_fields.parquet",
        markdown="<results>/tables/receptive_fields.md",
        html=report(
            "<results>/tables/receptive_fields.html",
            caption="../report/receptive_fields.rst",
            category="Shape test",
            labels={"result": "Every map: size, fit, imbalance"},
        ),
    log:
        "<logs>/tabulate_receptive_fields.log",
    conda:
        "../envs/deadpixel.yaml"
    script:
        "../scripts/tabulate_receptive_fields.py"


rule plot_size_against_accuracy:
    input:
        table="<results>/tables/table1.parquet",
        correlations="<results>/tables/correlations.parquet",
        code=library("plots", "tables"),
    output:
        png=report(
            "<results>/figures/size_against_accuracy.png",
            caption="../report/size_against_accuracy.rst",
            category="Size test",
            labels={"result": "Size against accuracy"},
        ),
        svg="<results>/figures/size_against_accuracy.svg",
    log:
        "<logs>/plot_size_against_accuracy.log",
    conda:
        "../envs/deadpixel.yaml"
    script:
        "../scripts/plot_size_against_accuracy.py"


rule plot_erf_maps:
    input:
        erf=lambda w: size_test_maps(ERF, w.model),
        fits="<results>/fits.parquet",
        trf="<results>/trf.parquet",
        code=library("plots", "imbalance"),
    output:
        png=report(
            "<results>/figures/erf_maps/{model}.png",
            caption="../report/erf_maps.rst",
            category="Shape test",
            labels={"result": "Effective receptive fields of {model}"},
        ),
        svg="<results>/figures/erf_maps/{model}.svg",
    log:
        "<logs>/plot_erf_maps/{model}.log",
    conda:
        "../envs/deadpixel.yaml"
    script:
        "../scripts/plot_erf_maps.py"


rule copy_fig1:
    input:
        png=f"<results>/figures/erf_maps/{config['shape_test']['model']}.png",
        svg=f"<results>/figures/erf_maps/{config['shape_test']['model']}.svg",
    output:
        png="<results>/figures/fig1.png",
        svg="<results>/figures/fig1.svg",
    log:
        "<logs>/copy_fig1.log",
    localrule: True
    conda:
        "../envs/deadpixel.yaml"
    shell:
        "cp {input.png} {output.png} 2> {log} && cp {input.svg} {output.svg} 2>> {log}"
