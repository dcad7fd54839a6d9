# What others publish: verified files, and data sets unpacked from them.
PUBLISHED = {
    file_name(entry): entry
    for entry in [
        *REGISTRY["datasets"].values(),
        *REGISTRY["weights"]["files"].values(),
    ]
}


wildcard_constraints:
    file="|".join(map(re.escape, PUBLISHED)),
    source="|".join(map(re.escape, REGISTRY["datasets"])),


# On the host of Snakemake itself: nodes of a cluster often have no internet. Without a fingerprint: whatever code
# brought a file, its checksum says that it is right.
rule retrieve_file:
    output:
        "<resources>/retrieved/{file}",
    log:
        "<logs>/retrieve_file/{file}.log",
    benchmark:
        "<benchmarks>/retrieve_file/{file}.jsonl"
    localrule: True
    conda:
        "../envs/deadpixel.yaml"
    params:
        published=lambda w: PUBLISHED[w.file],
        root=lambda w: config["data"]["root"],
        downloads=Path(config["pathvars"]["resources"], "downloads").as_posix(),
    script:
        "../scripts/retrieve_file.py"


rule unpack_dataset:
    input:
        # its checksum says that it is the same, whatever its time of change
        archive=lambda w: ancient(retrieved(REGISTRY["datasets"][w.source])),
    output:
        directory("<resources>/unpacked/{source}"),
    log:
        "<logs>/unpack_dataset/{source}.log",
    benchmark:
        "<benchmarks>/unpack_dataset/{source}.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("unpack_dataset"),
        checksum=lambda w: REGISTRY["datasets"][w.source].get("sha256"),
        inner=lambda w: REGISTRY["datasets"][w.source].get("inner"),
    script:
        "../scripts/unpack_dataset.py"
