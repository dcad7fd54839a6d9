"""OpenERF, for benchmarks/erf.py: in an environment of its own, which has nothing else of ours.

    PYTHON benchmarks/openerf_worker.py MODEL IMAGES DEVICE

For each line that it reads it prints the seconds that the field of the last map takes, of images
that are in memory: OpenERF reads them from files, which is no part of what is compared.
"""

import sys
import time

import openerf
import openerf.erf
import timm
import torch

name, images, device = sys.argv[1], int(sys.argv[2]), sys.argv[3]
model = timm.create_model(name).to(device)
last_map = "stages.3" if hasattr(model, "stages") else "layer4"
in_memory = [(torch.randn(3, 224, 224), "") for _ in range(images)]
openerf.erf.FlatImageDataset = lambda **_: in_memory
for _ in sys.stdin:
    start = time.perf_counter()
    openerf.compute_erf(model, target_layer=last_map, device=device, show_progress=False)
    print(time.perf_counter() - start, flush=True)
