# Receptive fields of any list of networks: the theoretical ones from the networks' arithmetic, the effective ones from
# gradients, and what the maps say.
SHARDS = config["erf"]["shards"]
# Keys of `erf` that change how maps are computed, not what they are: no params, so that a change computes nothing again.
KNOBS = {"batch_size", "shards"}
# A map that ends once it is precise depends on what measures it, too.
MAPS_CODE = fingerprint("accumulate_erf") + (
    fingerprint("measure_fields") if config["erf"]["precision"] else ""
)
SHARD_RULES = [
    f"accumulate_erf_{shard + 1}" if shard else "accumulate_erf"
    for shard in range(SHARDS)
]


rule compute_trf:
    input:
        source=model_files,
    output:
        trf=TRF,
    log:
        "<logs>/compute_trf/{model}+{kernels}.log",
    benchmark:
        "<benchmarks>/compute_trf/{model}+{kernels}.jsonl"
    priority: PRIORITY["check"]
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("compute_trf"),
    params:
        code=fingerprint("compute_trf"),
        model=lambda w: model_source(w.model),
        surgeries=surgeries,
        targets=lambda w: model_targets(w.model),
        input_size=lambda w: theory_size(w.model, w.kernels),
        channels=lambda w: channels_of(w.model),
    message:
        "Compute the theoretical fields of {wildcards.model}, {wildcards.kernels} kernels"
    script:
        "../scripts/compute_trf.py"


# A rule for each shard, not a wildcard: their files are those of the blocks, however many jobs share them out. So the
# number of shards is no part of a result.
for shard, name in enumerate(SHARD_RULES):

    rule:
        name:
            name
        input:
            checkpoint=checkpoint,
            manifest=MANIFEST,
            pack=PACK,
            source=model_files,
            flops=ancient(FLOPS),
            splits=ancient(SPLITS),
        output:
            blocks=expand(
                BLOCK,
                block=range(shard, config["erf"]["blocks"], SHARDS),
                allow_missing=True,
            ),
        log:
            f"<logs>/{name}/{{dataset}}+{{model}}+{{weights}}+{{kernels}}.log",
        benchmark:
            f"<benchmarks>/{name}/{{dataset}}+{{model}}+{{weights}}+{{kernels}}.jsonl"
        priority: PRIORITY["look"]
        conda:
            "../envs/deadpixel.yaml"
        threads: THREADS
        resources:
            **network_cost(
                "accumulate_erf",
                Rate(5, 0.006, 2e-4),
                size=input_size,
                # there, and back from each target
                work=lambda net: (1 + len(TARGETS))
                * net.at_most(config["erf"]["images"], config["erf"]["split"])
                / SHARDS
                * net.work,
                memory_mb=lambda net: net.memory_mb(
                    DEVICE, batch=config["erf"]["batch_size"]
                ),
                # in scratch and in its files
                disk_mb=lambda net: 2
                * len(TARGETS)
                * config["erf"]["blocks"]
                / SHARDS
                * net.pixels
                * 16
                / costs.MB,
            ),
            gpu=GPU,
        params:
            **{k: v for k, v in config["erf"].items() if k not in KNOBS},
            code=MAPS_CODE,
            logit=logit,
            model=lambda w: model_source(w.model),
            surgeries=surgeries,
            targets=lambda w: model_targets(w.model),
            preprocess=preprocess,
            seed=config["seed"],
        message:
            "Accumulate the fields of {wildcards.model}, {wildcards.weights}, {wildcards.kernels} kernels"
        script:
            "../scripts/accumulate_erf.py"


rule measure_fields:
    input:
        blocks=expand(BLOCK, block=range(config["erf"]["blocks"]), allow_missing=True),
        trf=TRF,
    output:
        erf=expand(ERF, target=TARGETS, allow_missing=True),
        fits=FITS,
        imbalance=IMBALANCE,
        extent=EXTENT,
        tiles=TILES,
        convergence=CONVERGENCE,
    log:
        "<logs>/measure_fields/{dataset}+{model}+{weights}+{kernels}.log",
    benchmark:
        "<benchmarks>/measure_fields/{dataset}+{model}+{weights}+{kernels}.jsonl"
    priority: PRIORITY["look"]
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("measure_fields", Rate(10)),
    params:
        code=fingerprint("measure_fields"),
    message:
        "Measure the fields of {wildcards.model}, {wildcards.weights}, {wildcards.kernels} kernels"
    script:
        "../scripts/measure_fields.py"


rule collect_fields:
    input:
        trf=lambda w: fields_of(EXPERIMENTS, TRF),
        fits=lambda w: fields_of(EXPERIMENTS, FITS),
        imbalance=lambda w: fields_of(EXPERIMENTS, IMBALANCE),
        extent=lambda w: fields_of(EXPERIMENTS, EXTENT),
    output:
        trf="<results>/trf.parquet",
        fits="<measured>/fits.parquet",
        imbalance="<measured>/imbalance.parquet",
        extent="<measured>/extent.parquet",
        table="<measured>/tables/receptive_fields.parquet",
        markdown="<measured>/tables/receptive_fields.md",
        html=report(
            "<measured>/tables/receptive_fields.html",
            caption="../report/receptive_fields.rst",
            category="Shape test",
            labels={"result": "Every map: size, fit, imbalance, extent"},
        ),
        targets="<measured>/tables/targets.parquet",
        targets_markdown="<measured>/tables/targets.md",
        targets_html=report(
            "<measured>/tables/targets.html",
            caption="../report/targets.rst",
            category="Shape test",
            labels={"result": "Every target: its module, how it is read"},
        ),
    log:
        "<logs>/collect_fields.log",
    benchmark:
        "<benchmarks>/collect_fields.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("collect_fields"),
    params:
        code=fingerprint("collect_fields"),
    message:
        "Collect and tabulate what was measured of all fields"
    script:
        "../scripts/collect_fields.py"


rule plot_erf_maps:
    input:
        erf=lambda w: fields_of([w.experiment], ERF, model=w.model),
        tiles=lambda w: fields_of([w.experiment], TILES, model=w.model),
        fits=lambda w: fields_of([w.experiment], FITS, model=w.model),
        trf=lambda w: fields_of([w.experiment], TRF, model=w.model),
    output:
        png=report(
            "<measured>/figures/erf_maps/{experiment}/{model}.png",
            caption="../report/erf_maps.rst",
            category="Maps",
            labels={"network": "{model}", "experiment": "{experiment}"},
        ),
        vector=multiext(
            "<measured>/figures/erf_maps/{experiment}/{model}", ".svg", ".pdf"
        ),
    log:
        "<logs>/plot_erf_maps/{experiment}+{model}.log",
    benchmark:
        "<benchmarks>/plot_erf_maps/{experiment}+{model}.jsonl"
    priority: PRIORITY["look"]
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("plot_erf_maps"),
    params:
        code=fingerprint("plot_erf_maps"),
        weights=lambda w: EXPERIMENTS[w.experiment]["weights"],
    message:
        "Draw which pixels {wildcards.model} looks at: {output.png}"
    script:
        "../scripts/plot_erf_maps.py"


rule plot_convergence:
    input:
        convergence=lambda w: fields_of([w.experiment], CONVERGENCE),
    output:
        png=report(
            "<measured>/figures/convergence/{experiment}.png",
            caption="../report/convergence.rst",
            category="Maps",
            labels={"network": "all", "experiment": "{experiment}: how many images"},
        ),
        vector=multiext("<measured>/figures/convergence/{experiment}", ".svg", ".pdf"),
    log:
        "<logs>/plot_convergence/{experiment}.log",
    benchmark:
        "<benchmarks>/plot_convergence/{experiment}.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("plot_convergence"),
    params:
        code=fingerprint("plot_convergence"),
    message:
        "Draw how many images the maps of {wildcards.experiment} need"
    script:
        "../scripts/plot_convergence.py"
