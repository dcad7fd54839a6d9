"""Arrow against safetensors as the store of decoded images: writing, opening, reading at random.

python benchmarks/pack.py [--images 2000]
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SHAPES = [(200, 300, 3), (300, 200, 3), (240, 320, 3), (375, 500, 3)]


def image(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 255, SHAPES[index % 4], dtype=np.uint8)


def write_arrow(file: Path, count: int) -> None:
    import pyarrow as pa

    schema = pa.schema(
        [("height", pa.int32()), ("width", pa.int32()), ("pixels", pa.large_binary())]
    )
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for index in range(count):
            pixels = image(index)
            row = [[pixels.shape[0]], [pixels.shape[1]], [pixels.tobytes()]]
            arrays = [pa.array(value, field.type) for value, field in zip(row, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def write_safetensors(file: Path, count: int) -> None:
    from safetensors.numpy import save_file

    save_file({str(index): image(index) for index in range(count)}, file)


def read_arrow(file: Path, order: np.ndarray) -> int:
    import pyarrow as pa

    reader = pa.ipc.open_file(pa.memory_map(str(file)))
    total = 0
    for index in order:
        buffer = reader.get_batch(int(index))["pixels"][0].as_buffer()
        total += int(np.frombuffer(buffer, np.uint8)[::97].sum())
    return total


def read_safetensors(file: Path, order: np.ndarray) -> int:
    from safetensors import safe_open

    total = 0
    with safe_open(file, "pt") as tensors:
        for index in order:
            total += int(tensors.get_tensor(str(index)).view(-1).numpy()[::97].sum())
    return total


def measure(task: str, file: Path, count: int) -> None:
    """Run one task in this process and print its seconds and peak memory."""
    order = np.random.default_rng(0).permutation(count)
    start = time.perf_counter()
    function = globals()[task]
    function(file, count) if task.startswith("write") else function(file, order)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {task} | {time.perf_counter() - start:.2f} | {peak:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--task")
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    if options.task:
        measure(options.task, options.file, options.images)
        return
    print("| task | seconds | peak MB |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for store in ("arrow", "safetensors"):
            for verb in ("write", "read", "read"):
                arguments = ["--task", f"{verb}_{store}", "--file", f"{folder}/{store}"]
                count = ["--images", str(options.images)]
                subprocess.run([sys.executable, __file__, *arguments, *count], check=True)


if __name__ == "__main__":
    main()
