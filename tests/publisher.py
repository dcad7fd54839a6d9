"""A server on 127.0.0.1 that publishes files, with the faults that connections have; and archives
in the exact layout of the real ones."""

import hashlib
import io
import tarfile
import threading
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image

FAULTS = ("cut", "slow", "wrong", "missing", "busy", "stubborn")


class Publisher(ThreadingHTTPServer):
    """Serves `folder` under /FAULT/name; /whole/name is without fault.

    cut: every answer ends after half of what it should hold. slow: 4 MB a second. wrong: one byte
    differs. missing: 404. busy: 503 twice, then the file. stubborn: knows no ranges, and is cut off
    the first time.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.faulty = True  # set to False, everything is served whole
        self.starts: defaultdict[str, list[int]] = defaultdict(list)  # of each request, by path
        self.sent: Counter[str] = Counter()  # bytes by name
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()

    def url(self, name: str, fault: str = "whole") -> str:
        return f"http://127.0.0.1:{self.server_port}/{fault}/{name}"


class _Handler(BaseHTTPRequestHandler):
    server: Publisher

    def do_GET(self) -> None:
        _, fault, name = self.path.split("/")
        server = self.server
        if not server.faulty:
            fault = "whole"
        start = 0
        if "Range" in self.headers and fault != "stubborn":
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        starts = server.starts[self.path]
        starts.append(start)
        if fault == "missing":
            return self.send_error(404)
        if fault == "busy" and len(starts) <= 2:
            return self.send_error(503)
        content = (server.folder / name).read_bytes()
        if fault == "wrong":
            content = bytes([content[0] ^ 1]) + content[1:]
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        rest = memoryview(content)[start:]
        if fault == "cut" or (fault == "stubborn" and len(starts) == 1):
            rest = rest[: -(-len(rest) // 2)]
        step = 40_000 if fault == "slow" else 1 << 20
        for begin in range(0, len(rest), step):
            part = rest[begin : begin + step]
            server.sent[name] += len(part)  # before the client can know that it has all
            try:
                self.wfile.write(part)
            except OSError:  # the client was killed
                return
            if fault == "slow":
                time.sleep(0.01)

    def log_message(self, *_: object) -> None:
        pass


def entry(file: Path, url: str, **more: object) -> dict:
    """What a registry says of a file."""
    content = file.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    return {"url": url, "bytes": len(content), "sha256": sha256, **more}


def jpeg(seed: object, size: tuple[int, int] = (90, 70), mode: str = "RGB") -> bytes:
    """A photograph of coarse noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).convert(mode)
    file = io.BytesIO()
    image.save(file, "jpeg")
    return file.getvalue()


CUB_CLASSES = ["001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross"]


def cub_files(each: int = 8) -> dict[str, bytes]:
    """CUB-200-2011 in little: three of its classes, half of the images for the test."""
    images, labels, split, files = [], [], [], {}
    for label, name in enumerate(CUB_CLASSES, start=1):
        bird = name.partition(".")[2]
        for number in range(1, each + 1):
            path = f"{name}/{bird}_{number:04d}_{796000 + 100 * label + number}.jpg"
            images.append(path)
            labels.append(label)
            split.append(number % 2)
            mode = "L" if number == 3 else "RGB"
            size = (5, 4) if number == 4 else (90 + number, 70 + label)
            files[f"CUB_200_2011/images/{path}"] = jpeg([label, number], size, mode)
    lines = {
        "images.txt": images,
        "image_class_labels.txt": labels,
        "train_test_split.txt": split,
        "classes.txt": CUB_CLASSES,
        "bounding_boxes.txt": ["60.0 27.0 325.0 304.0"] * len(images),
    }
    for name, column in lines.items():
        text = "".join(f"{number} {value}\n" for number, value in enumerate(column, start=1))
        files[f"CUB_200_2011/{name}"] = text.encode()
    files["CUB_200_2011/README"] = b"The Caltech-UCSD Birds-200-2011 Dataset\n"
    files["CUB_200_2011/attributes/certainties.txt"] = b"1 not visible\n"
    files["CUB_200_2011/images/001.Black_footed_Albatross/.DS_Store"] = b"\0\0\0\1Bud1"
    files["attributes.txt"] = b"1 has_bill_shape::curved_(up_or_down)\n"
    return files


def caltech_files(each: int = 10) -> dict[str, bytes]:
    """Caltech-101 in little: three categories and the folder of clutter."""
    files = {}
    names = ["BACKGROUND_Google", "Faces_easy", "accordion", "yin_yang"]
    for label, name in enumerate(names):
        for number in range(1, each + 1):
            mode = {3: "L", 4: "CMYK"}.get(number, "RGB")
            path = f"101_ObjectCategories/{name}/image_{number:04d}.jpg"
            files[path] = jpeg([label, number], (60 + 7 * number, 80), mode)
    files["101_ObjectCategories/BACKGROUND_Google/tmp"] = b"left over\n"
    files["101_ObjectCategories/accordion/.DS_Store"] = b"\0\0\0\1Bud1"
    return files


def tar(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """A tar of files, folders included as the real ones have them."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode=mode) as content:
        folders = {str(parent) for name in files for parent in Path(name).parents} - {"."}
        for folder in sorted(folders):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            content.addfile(member)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            content.addfile(member, io.BytesIO(data))
    return archive.getvalue()


def cub_archive(files: dict[str, bytes] | None = None) -> bytes:
    """CUB_200_2011.tgz."""
    return tar(files or cub_files())


def zipped(
    files: dict[str, bytes],
    method: int = zipfile.ZIP_DEFLATED,
    more: Sequence[tuple[str, bytes]] = (),
) -> bytes:
    """A zip of files, and of more, whose names may be there already."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as content:
        for name, data in [*files.items(), *more]:
            content.writestr(name, data)
    return archive.getvalue()


def caltech_archive(files: dict[str, bytes] | None = None) -> bytes:
    """caltech-101.zip, with the tar of the images inside and what macOS leaves in archives."""
    members = {
        "caltech-101/": b"",
        "caltech-101/101_ObjectCategories.tar.gz": tar(files or caltech_files()),
        "caltech-101/Annotations.tar": tar({"Annotations/a.mat": b"1"}, "w:"),
        "caltech-101/show_annotation.m": b"% Matlab\n",
        "caltech-101/.DS_Store": b"\0\0\0\1Bud1",
        "__MACOSX/caltech-101/._101_ObjectCategories.tar.gz": b"\0\5\x16\7",
    }
    return zipped(members, zipfile.ZIP_STORED)


def weight_file(folder: Path, model: str = "resnet18") -> Path:
    """A state dict as torchvision publishes it: its hash in its name, no batch-norm counters."""
    torch.manual_seed(11)
    network = torchvision.models.get_model(model, weights=None)
    state = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    written = folder / "weights"
    torch.save(state, written)
    digest = hashlib.sha256(written.read_bytes()).hexdigest()
    return written.rename(folder / f"{model}-{digest[:8]}.pth")
