# Tables and figures, with the paper's numbers beside ours where both are of the same, and their captions in the report.


rule make_table1:
    input:
        fits="<results>/size_test/fits.parquet",
        trf="<results>/size_test/trf.parquet",
        paper=beside("scripts/deadpixel/results/paper/table1.csv"),
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
    benchmark:
        "<benchmarks>/make_table1.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("make_table1"),
        target=SIZE_TEST["target"],
        published_weights=published_weights_of(SIZE_TEST),
        networks=known_networks(SIZE_TEST),
        settings=SIZE_TEST_SETTINGS,
    script:
        "../scripts/make_table1.py"


rule tabulate_receptive_fields:
    input:
        fits="<results>/fits.parquet",
        trf="<results>/trf.parquet",
        imbalance="<results>/imbalance.parquet",
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
    benchmark:
        "<benchmarks>/tabulate_receptive_fields.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("tabulate_receptive_fields"),
    script:
        "../scripts/tabulate_receptive_fields.py"


rule plot_size_against_accuracy:
    input:
        table="<results>/tables/table1.parquet",
        correlations="<results>/tables/correlations.parquet",
        paper=beside("scripts/deadpixel/results/paper/table1.csv"),
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
    benchmark:
        "<benchmarks>/plot_size_against_accuracy.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("plot_size_against_accuracy"),
        dataset=SIZE_TEST["dataset"],
        weights=SIZE_TEST["weights"],
    script:
        "../scripts/plot_size_against_accuracy.py"


rule make_finetune_tables:
    input:
        epochs=finetune_runs(EPOCHS),
        predictions=finetune_runs(PREDICTIONS),
        fits="<results>/shape_test/fits.parquet",
        trf="<results>/shape_test/trf.parquet",
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
        table2="<results>/tables/table2.parquet",
        table2_markdown="<results>/tables/table2.md",
        table2_html=report(
            "<results>/tables/table2.html",
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
    log:
        "<logs>/make_finetune_tables.log",
    benchmark:
        "<benchmarks>/make_finetune_tables.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("make_finetune_tables"),
        target=SIZE_TEST["target"],
        seed=FINETUNE["seeds"][0],
        networks=known_networks(FINETUNE),
        settings=FINETUNE_SETTINGS,
    script:
        "../scripts/make_finetune_tables.py"


rule plot_erf_maps:
    input:
        erf=experiment_maps(ERF),
        fits="<results>/{experiment}/fits.parquet",
        trf="<results>/{experiment}/trf.parquet",
    output:
        png=report(
            "<results>/figures/erf_maps/{experiment}/{model}.png",
            caption="../report/erf_maps.rst",
            category="Maps",
            labels={"network": "{model}", "experiment": "{experiment}"},
        ),
        svg="<results>/figures/erf_maps/{experiment}/{model}.svg",
    log:
        "<logs>/plot_erf_maps/{experiment}_{model}.log",
    benchmark:
        "<benchmarks>/plot_erf_maps/{experiment}_{model}.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("plot_erf_maps"),
        weights=described_weights,
    script:
        "../scripts/plot_erf_maps.py"


rule copy_fig1:
    input:
        png=f"<results>/figures/erf_maps/shape_test/{config['shape_test']['model']}.png",
        svg=f"<results>/figures/erf_maps/shape_test/{config['shape_test']['model']}.svg",
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


rule plot_window_references:
    output:
        png=report(
            "<results>/figures/fig2.png",
            caption="../report/fig2.rst",
            category="Shape test",
            labels={"result": "Fig. 2: windows that contain a pixel"},
        ),
        svg="<results>/figures/fig2.svg",
    log:
        "<logs>/plot_window_references.log",
    benchmark:
        "<benchmarks>/plot_window_references.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("plot_window_references"),
    script:
        "../scripts/plot_window_references.py"


rule plot_padded_kernel:
    input:
        before=starting_weights(DRAWN),
        after=FINETUNED.format(**DRAWN, kernels="padded"),
        source=model_files(DRAWN["model"]),
    output:
        png=report(
            "<results>/figures/fig3.png",
            caption="../report/fig3.rst",
            category="Fine-tuning",
            labels={"result": "Fig. 3: a padded kernel"},
        ),
        svg="<results>/figures/fig3.svg",
    log:
        "<logs>/plot_padded_kernel.log",
    benchmark:
        "<benchmarks>/plot_padded_kernel.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("plot_padded_kernel"),
        model=model_source(DRAWN["model"]),
        name=DRAWN["model"],
        init=FINETUNE["init"],
        seed=DRAWN["seed"],
    script:
        "../scripts/plot_padded_kernel.py"


rule plot_imbalance:
    input:
        imbalance="<results>/shape_test/imbalance.parquet",
    output:
        png=report(
            "<results>/figures/fig4.png",
            caption="../report/fig4.rst",
            category="Fine-tuning",
            labels={"result": "Fig. 4: imbalance before and after"},
        ),
        svg="<results>/figures/fig4.svg",
    log:
        "<logs>/plot_imbalance.log",
    benchmark:
        "<benchmarks>/plot_imbalance.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("plot_imbalance"),
    script:
        "../scripts/plot_imbalance.py"


rule plot_finetuning:
    input:
        runs="<results>/tables/finetune_runs.parquet",
        epochs=finetune_runs(EPOCHS),
        paper=beside("scripts/deadpixel/results/paper/table3.csv"),
    output:
        accuracies_png=report(
            "<results>/figures/accuracies.png",
            caption="../report/accuracies.rst",
            category="Fine-tuning",
            labels={"result": "Test accuracy of every run"},
        ),
        accuracies_svg="<results>/figures/accuracies.svg",
        curves_png=report(
            "<results>/figures/training_curves.png",
            caption="../report/training_curves.rst",
            category="Fine-tuning",
            labels={"result": "Course of every run"},
        ),
        curves_svg="<results>/figures/training_curves.svg",
    log:
        "<logs>/plot_finetuning.log",
    benchmark:
        "<benchmarks>/plot_finetuning.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("plot_finetuning"),
        networks=known_networks(FINETUNE),
        settings={"fine-tuning": FINETUNE_SETTINGS["fine-tuning"]},
    script:
        "../scripts/plot_finetuning.py"


rule make_table4:
    input:
        epochs=microobject_runs(),
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
    log:
        "<logs>/make_table4.log",
    benchmark:
        "<benchmarks>/make_table4.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("make_table4"),
        threshold=MICROOBJECT["threshold"],
        networks=known_networks(MICROOBJECT),
        settings=MICROOBJECT_SETTINGS,
    script:
        "../scripts/make_table4.py"


rule plot_microobject:
    input:
        epochs=microobject_runs(),
        paper=beside("scripts/deadpixel/results/paper/table4.csv"),
    output:
        png=report(
            "<results>/figures/fig5.png",
            caption="../report/fig5.rst",
            category="Micro-object",
            labels={"result": "Fig. 5: test accuracy over epochs"},
        ),
        svg="<results>/figures/fig5.svg",
    log:
        "<logs>/plot_microobject.log",
    benchmark:
        "<benchmarks>/plot_microobject.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("plot_microobject"),
        threshold=MICROOBJECT["threshold"],
        networks=known_networks(MICROOBJECT),
        settings=MICROOBJECT_SETTINGS,
    script:
        "../scripts/plot_microobject.py"
