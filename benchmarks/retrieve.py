"""Retrieval of a large file from a server on 127.0.0.1, checksum and flush to the disk included,
against curl, which does neither; --folder in memory (/dev/shm) takes the disk out of it."""

import argparse
import hashlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
from deadpixel.data import retrieval
url, size, sha256, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
published = retrieval.Published(url, size, sha256=sha256)
retrieval.retrieve(published, folder / "root", folder / "downloads", folder / "retrieved/file")
"""


SERVER = """
import http.server, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    def copyfile(self, source, outputfile):
        self.wfile.flush()
        self.connection.sendfile(source)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(
    ("127.0.0.1", 0), lambda *a: Handler(*a, directory=sys.argv[1]))
print(server.server_port, flush=True)
server.serve_forever()
"""


def seconds(command: list[str], environment: dict[str, str] | None = None) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, env=environment)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--folder", help="where files are served from and written to")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    served = folder / "served"
    served.mkdir()
    file = served / "file"
    block, digest = os.urandom(1_000_000), hashlib.sha256()
    with file.open("wb") as content:
        for _ in range(arguments.megabytes):
            content.write(block)
            digest.update(block)
    command = [sys.executable, "-c", SERVER, str(served)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{server.stdout.readline().strip()}/file"
    library = Path(__file__).parents[1] / "scripts"
    ours = [sys.executable, "-c", SCRIPT, url, str(file.stat().st_size), digest.hexdigest()]
    environment = {**os.environ, "PYTHONPATH": str(library)}
    times = {"curl": [], "ours": []}
    for _ in range(arguments.runs):
        target = folder / "curl"
        times["curl"].append(seconds(["curl", "-sSo", str(target), url]))
        target.unlink()
        target = folder / "ours"
        times["ours"].append(seconds([*ours, str(target)], environment))
        shutil.rmtree(target)
    server.kill()
    server.wait()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    ratios = [o / c for o, c in zip(times["ours"], times["curl"], strict=True)]
    for name, values in times.items():
        print(f"{name}: {statistics.median(values):.2f} s ({min(values):.2f}-{max(values):.2f})")
    print(f"ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
    print(f"peak memory of either: {peak:.0f} MB")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
