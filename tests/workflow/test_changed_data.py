"""What the user's own folder holds is an input: every change is seen, and no more is done again."""

import os

import numpy as np
from PIL import Image

from deadpixel.data import packs
from deadpixel.files import parquet, schemas
from workflow.conftest import jobs
from workflow.test_mistakes import MANIFEST, PACK, own_data, write_images


def test_every_change_of_the_users_folder_is_seen(checkout):
    overlay, folder = own_data(), checkout.folder / "my_images"
    write_images(folder)

    def done(*options):
        status, output = checkout.snakemake(PACK, *options, overlay=overlay)
        assert status == 0, output
        return [rule for rule in ("split_dataset", "pack_images") if rule in jobs(output)]

    def added():
        Image.new("RGB", (80, 70), (1, 2, 3)).save(folder / "class0/new.jpg")

    def replaced():
        """By an image of the same name and size in bytes."""
        file = folder / "class0/new.jpg"
        size = file.stat().st_size
        Image.new("RGB", (80, 70), (3, 2, 1)).save(file)
        assert file.stat().st_size == size

    def renamed():
        (folder / "class0/new.jpg").rename(folder / "class0/newer.jpg")

    def removed():
        (folder / "class0/newer.jpg").unlink()

    def another_class():
        write_images(folder / "more", classes=1)
        (folder / "more/class0").rename(folder / "zebra")
        (folder / "more").rmdir()
        for number, file in enumerate((folder / "zebra").iterdir()):
            Image.fromarray(np.full((70, 80, 3), 9 * number, np.uint8)).save(file)

    assert done("--cores", "1") == ["split_dataset", "pack_images"]
    before = parquet.read(checkout.folder / MANIFEST, schemas.MANIFEST)
    added()
    for change in (replaced, renamed, removed, another_class):
        change()
        if change not in (replaced, another_class):
            assert done("-n") == ["split_dataset", "pack_images"], change.__name__
        else:
            assert done("--until", "split_dataset", "--cores", "1") == ["split_dataset"]
            manifest = parquet.read(checkout.folder / MANIFEST, schemas.MANIFEST)
            assert not manifest.equals(before), change.__name__
            before = manifest
    assert done("--cores", "1") == ["pack_images"]
    assert len(before) == len(packs.Pack(checkout.folder / PACK, before)) == 24

    # The same images with other times of change: once they are listed again, results stand.
    written = (checkout.folder / PACK).stat().st_mtime_ns
    for file in folder.glob("*/*.jpg"):
        os.utime(file)
    assert done("--until", "split_dataset", "--cores", "1") == ["split_dataset"]
    assert done("-n") == []
    assert (checkout.folder / PACK).stat().st_mtime_ns == written
