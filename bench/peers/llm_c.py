#!/usr/bin/env python3
"""llm.c's training of GPT-2 124M on the CPU beside innerloop's training step.

    llm_c.py DIR

DIR: a checkout of https://github.com/karpathy/llm.c after `make train_gpt2`. The weights (random) and tokens it wants are
written here; its step is 4 sequences of 64 tokens, ours one sequence of 256. The median of its steps counts, the first left
out."""
import array
import os
import random
import re
import statistics
import struct
import subprocess
import sys
import tempfile

import pairs

TOKENS, STEPS = 4 * 64, 4
LAYERS, WIDTH, LENGTH, VOCABULARY, PADDED = 12, 768, 1024, 50257, 50304


def write_inputs(folder):
    parameters = PADDED * WIDTH + LENGTH * WIDTH + LAYERS * (12 * WIDTH * WIDTH + 13 * WIDTH) + 2 * WIDTH
    random.seed(1)
    tile = array.array("f", (random.gauss(0, 0.02) for _ in range(1 << 16))).tobytes()
    with open(f"{folder}/gpt2_124M.bin", "wb") as f:
        f.write(struct.pack("<8i", 20240326, 3, LENGTH, VOCABULARY, LAYERS, 12, WIDTH, PADDED).ljust(1024, b"\0"))
        size = 4 * parameters
        for _ in range(size // len(tile)):
            f.write(tile)
        f.write(tile[: size % len(tile)])
    shards = f"{folder}/dev/data/tinyshakespeare"
    os.makedirs(shards)
    for name in ("train", "val"):
        count = 64 * TOKENS
        with open(f"{shards}/tiny_shakespeare_{name}.bin", "wb") as f:
            f.write(struct.pack("<3i", 20240520, 1, count).ljust(1024, b"\0"))
            f.write(array.array("H", (random.randrange(VOCABULARY) for _ in range(count))).tobytes())


def train(binary, folder, threads):
    """Runs until STEPS steps have been timed; lines come one by one because of stdbuf."""
    process = subprocess.Popen(["stdbuf", "-oL", binary], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env={**os.environ, "OMP_NUM_THREADS": str(threads)})
    seen, times = "", []
    for line in process.stdout:
        seen += line
        if match := re.match(r"step \d+: .*took ([\d.]+) ms", line):
            times.append(float(match[1]))
        if len(times) > STEPS:
            process.terminate()
            break
    _, _, usage = os.wait4(process.pid, 0)
    if len(times) <= STEPS:
        sys.exit(f"{binary}: {seen[-2000:]}")
    return {"tokens_per_s": TOKENS / statistics.median(times[1:]) * 1e3, "peak_mb": usage.ru_maxrss / 1024}


def main():
    parser = pairs.arguments(__doc__)
    parser.add_argument("dir")
    args = parser.parse_args()
    binary = os.path.realpath(f"{args.dir}/train_gpt2")
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(folder)
        about = {"peer": "llm.c GPT-2 124M", "version": pairs.commit(args.dir), "work": "train", "context": TOKENS}
        pairs.compare(args, about, lambda: pairs.ours(args, "train", TOKENS), lambda: train(binary, folder, args.threads))


if __name__ == "__main__":
    main()
