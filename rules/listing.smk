# What the user's own folders of images hold, looked at when jobs are chosen. No rules.
import functools
import hashlib
import os


def users_images(wildcards):
    """What the user's own folder holds: if that changes, the data set is listed again.

    Names, sizes and times of change are looked at when jobs are chosen, not at every parse: 2 s for 100,000 images.
    Whether any image's content differs is for the manifest to say, which has their checksums. Where only times have
    changed, list the images alone first (--until split_dataset): their manifest is the same, and results stand.
    """
    source = config["datasets"][wildcards.dataset]["source"]
    if source != "folder" and not (
        source in REGISTRY["datasets"] and published_copy(source)
    ):
        return None
    lists = "splits" in published(wildcards.dataset)
    return digest_of_files(images_folder(wildcards.dataset), lists=lists)


@functools.cache
def digest_of_files(folder, lists):
    digest = hashlib.sha256()
    parents = [Path(folder).parent.as_posix()] if lists else []
    parents += [entry.path for entry in visible(folder) if entry.is_dir()]
    for parent in parents:
        for entry in visible(parent):
            try:
                status = entry.stat()
            except OSError:  # a link that leads nowhere
                status = entry.stat(follow_symlinks=False)
            facts = (status.st_size, status.st_mtime_ns) if entry.is_file() else ()
            digest.update(f"{entry.path} {facts}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def visible(folder):
    """What is in a folder, in the order of names; hidden files are no images."""
    return sorted(
        (entry for entry in os.scandir(folder) if not entry.name.startswith(".")),
        key=lambda entry: entry.name,
    )
