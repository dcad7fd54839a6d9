# Probes: what follows from dead pixels? The fixed linear model, changed pixels, shifts, one-pixel attacks, saliency.
PROBES = config["probes"]
EXPERIMENTS["probes"] = {"settings": PROBES, "kernels": PROBES["kernels"]}
PROBE_NAMES = [
    *("logits", "places", "shifts", "attacks"),
    *("saliency", "contrasts", "picture"),
]
PROBE = f"<results>/probes/{NETWORK}/{{probe}}.parquet"
PROBED = [
    {
        "dataset": PROBES["dataset"],
        "model": PROBES["models"],
        "weights": PROBES["weights"],
        "kernels": PROBES["kernels"],
    }
]
PROBE_SETTINGS = {
    **{name: PROBES[name] for name in ("places", "sizes", "sides", "shift")},
    **PROBES["attack"],
    **PROBES["saliency"],
}
PROBE_TABLES = [
    "linear",
    "places",
    "shifts",
    "confidence",
    "spectrum",
    "attacks",
    "saliency",
]


rule probe_network:
    input:
        checkpoint=checkpoint,
        manifest=MANIFEST,
        pack=PACK,
        source=model_files,
        flops=ancient(FLOPS),
        splits=ancient(SPLITS),
    output:
        **{name: PROBE.replace("{probe}", name) for name in PROBE_NAMES},
    log:
        "<logs>/probe_network/{dataset}+{model}+{weights}+{kernels}.log",
    benchmark:
        "<benchmarks>/probe_network/{dataset}+{model}+{weights}+{kernels}.jsonl"
    priority: PRIORITY["follow"]
    conda:
        "../envs/deadpixel.yaml"
    threads: THREADS
    resources:
        **network_cost(
            "probe_network",
            Rate(5, 0.006, 2e-4),
            size=lambda w: height_and_width(probe_transform(w.model)["crop"]),
            work=lambda net: probe_passes(net) * net.work,
            memory_mb=lambda net: net.memory_mb(DEVICE, batch=PROBES["batch_size"]),
            disk_mb=lambda net: net.pixels * 21 * 10 * 8 / costs.MB,
        ),
        gpu=GPU,
    params:
        code=fingerprint("probe_network"),
        settings=PROBE_SETTINGS,
        split=PROBES["split"],
        images=PROBES["images"],
        reference=PROBES["reference"],
        model=lambda w: model_source(w.model),
        surgeries=surgeries,
        targets=lambda w: model_targets(w.model),
        preprocess=lambda w: probe_transform(w.model),
        seed=config["seed"],
    message:
        "Probe {wildcards.model}, {wildcards.weights}, {wildcards.kernels} kernels"
    script:
        "../scripts/probe_network.py"


rule make_probes:
    input:
        **{
            name: runs_of(PROBE.replace("{probe}", name), PROBED)
            for name in PROBE_NAMES
        },
        trf=runs_of(TRF, PROBED),
    output:
        linear="<results>/tables/probes_linear.parquet",
        linear_markdown="<results>/tables/probes_linear.md",
        linear_html=report(
            "<results>/tables/probes_linear.html",
            caption="../report/probes_linear.rst",
            category="Probes",
            labels={"result": "The fixed linear model"},
        ),
        places="<results>/tables/probes_places.parquet",
        places_markdown="<results>/tables/probes_places.md",
        places_html=report(
            "<results>/tables/probes_places.html",
            caption="../report/probes_places.rst",
            category="Probes",
            labels={"result": "Changes on strong and on weak pixels"},
        ),
        shifts="<results>/tables/probes_shifts.parquet",
        shifts_markdown="<results>/tables/probes_shifts.md",
        shifts_html=report(
            "<results>/tables/probes_shifts.html",
            caption="../report/probes_shifts.rst",
            category="Probes",
            labels={"result": "Moved images"},
        ),
        confidence="<results>/tables/probes_confidence.parquet",
        confidence_markdown="<results>/tables/probes_confidence.md",
        confidence_html=report(
            "<results>/tables/probes_confidence.html",
            caption="../report/probes_shifts.rst",
            category="Probes",
            labels={"result": "Moved images, at equal confidence"},
        ),
        spectrum="<results>/tables/probes_spectrum.parquet",
        spectrum_markdown="<results>/tables/probes_spectrum.md",
        spectrum_html=report(
            "<results>/tables/probes_spectrum.html",
            caption="../report/probes_shifts.rst",
            category="Probes",
            labels={"result": "Moved images: periods of the logit"},
        ),
        attacks="<results>/tables/probes_attacks.parquet",
        attacks_markdown="<results>/tables/probes_attacks.md",
        attacks_html=report(
            "<results>/tables/probes_attacks.html",
            caption="../report/probes_attacks.rst",
            category="Probes",
            labels={"result": "One-pixel attacks"},
        ),
        saliency="<results>/tables/probes_saliency.parquet",
        saliency_markdown="<results>/tables/probes_saliency.md",
        saliency_html=report(
            "<results>/tables/probes_saliency.html",
            caption="../report/probes_saliency.rst",
            category="Probes",
            labels={"result": "Saliency maps and their corrections"},
        ),
        png=report(
            "<results>/figures/probes.png",
            caption="../report/probes_figure.rst",
            category="Probes",
            labels={"result": "What follows from dead pixels"},
        ),
        vector=multiext("<results>/figures/probes", ".svg", ".pdf"),
        picture=report(
            "<results>/figures/saliency.png",
            caption="../report/saliency.rst",
            category="Probes",
            labels={"result": "Saliency maps over an image"},
        ),
        picture_vector=multiext("<results>/figures/saliency", ".svg", ".pdf"),
    log:
        "<logs>/make_probes.log",
    benchmark:
        "<benchmarks>/make_probes.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("make_probes", Rate(20)),
    params:
        code=fingerprint("make_probes"),
        settings={
            "probes": {
                "data set": source_of_data(PROBES),
                "weights": PROBES["weights"],
                **PROBE_SETTINGS,
            }
        },
    message:
        "Tabulate and draw the probes"
    script:
        "../scripts/make_probes.py"


rule probes:
    input:
        runs_of(PROBE, [{**run, "probe": PROBE_NAMES} for run in PROBED]),
        (
            [
                *expand("<results>/tables/probes_{name}.parquet", name=PROBE_TABLES),
                "<results>/figures/probes.png",
                "<results>/figures/saliency.png",
            ]
            if PROBES["models"]
            else []
        ),
    localrule: True
    message:
        "All of probes is there"
