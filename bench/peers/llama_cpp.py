#!/usr/bin/env python3
"""llama.cpp beside innerloop: a Transformer of the same size with random weights, which this script writes as GGUF.

    llama_cpp.py DIR [--types f32,bf16,q8_0,q4_0] [--bench-options "--dtype bf16"]

DIR holds llama-bench and llama-batched-bench: build/bin of a build by
    cmake -B build -DCMAKE_BUILD_TYPE=Release && cmake --build build --target llama-bench llama-batched-bench
of https://github.com/ggml-org/llama.cpp or of vendor/llama.cpp in the source package of PyPI's llama-cpp-python.
Rows: prefill, decode at 0 and after --depth tokens, 16 sequences. Its caches are f16, as it comes."""
import json
import math
import os
import random
import shlex
import struct
import subprocess
import sys
import tempfile

import pairs

# GGML's types: number, values in a block, and a block's bytes from so many random floats.
TYPES = {
    "f32": (0, 1, lambda x: struct.pack("<f", x[0])),
    "bf16": (30, 1, lambda x: struct.pack("<f", x[0])[2:]),
    "q8_0": (8, 32, lambda x: struct.pack("<e32b", 0.02 / 127, *(max(-127, min(127, round(v / 0.02 * 50))) for v in x))),
    "q4_0": (2, 32, lambda x: struct.pack("<e", 0.02 / 8) + random.randbytes(16)),
}
TILE = 1 << 16  # random values that are repeated


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def pair(key, value):
    kind, form = {int: (4, "<I"), float: (6, "<f")}.get(type(value), (8, None))
    return text(key) + struct.pack("<I", kind) + (struct.pack(form, value) if form else text(value))


def tensors(c):
    """name, [inputs, outputs]; one dimension: a norm."""
    width, ffn = c["hidden_size"], c["intermediate_size"]
    yield "token_embd.weight", (width, c["vocab_size"])  # also the output head
    yield "output_norm.weight", (width,)
    for i in range(c["num_hidden_layers"]):
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{i}.{name}.weight", (width,)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"blk.{i}.{name}.weight", (width, width)
        yield f"blk.{i}.ffn_gate.weight", (width, ffn)
        yield f"blk.{i}.ffn_up.weight", (width, ffn)
        yield f"blk.{i}.ffn_down.weight", (ffn, width)


def write_gguf(path, c, type_name):
    """Norms are fp32, and the embedding beside 4 bits is 8-bit, as llama.cpp's own quantizer and we do it."""
    random.seed(1)
    vocabulary = "q8_0" if type_name == "q4_0" else type_name
    tiles = {"norm": (0, 1, struct.pack("<f", 1.0))}
    for name in (type_name, vocabulary):
        number, block, pack = TYPES[name]
        tile = b"".join(pack([random.gauss(0, 0.02) for _ in range(block)]) for _ in range(TILE // block))
        tiles[name] = (number, TILE, tile)
    heads = c["num_attention_heads"]
    keys = {"general.architecture": "llama", "general.name": "random", "tokenizer.ggml.model": "none",
            "llama.vocab_size": c["vocab_size"], "llama.context_length": 1 << 17, "llama.embedding_length": c["hidden_size"],
            "llama.block_count": c["num_hidden_layers"], "llama.feed_forward_length": c["intermediate_size"],
            "llama.attention.head_count": heads, "llama.attention.head_count_kv": heads,
            "llama.rope.dimension_count": c["hidden_size"] // heads, "llama.rope.freq_base": 10000.0,
            "llama.attention.layer_norm_rms_epsilon": 1e-6}
    infos, data, offset = b"", [], 0
    for name, shape in tensors(c):
        kind = "norm" if len(shape) == 1 else vocabulary if "embd" in name else type_name
        number, values, content = tiles[kind]
        size = math.prod(shape) * len(content) // values
        infos += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, number, offset)
        data.append((content, size))
        offset += -(-size // 32) * 32
    with open(path, "wb") as f:
        f.write(b"GGUF" + struct.pack("<IQQ", 3, len(data), len(keys)) + b"".join(pair(k, v) for k, v in keys.items()) + infos)
        for content, size in data:
            f.write(b"\0" * (-f.tell() % 32))
            whole, rest = divmod(size, len(content))
            for _ in range(whole):
                f.write(content)
            f.write(content[:rest])
        f.write(b"\0" * (-f.tell() % 32))


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def main():
    parser = pairs.arguments(__doc__)
    parser.add_argument("dir")
    parser.add_argument("--types", default="f32")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--depth", type=int, default=2048)
    parser.add_argument("--rows", default="prefill,decode,deep,batch")
    parser.add_argument("--bench-options", default="", help="for innerloop bench")
    args = parser.parse_args()
    rows, more, threads = args.rows.split(","), shlex.split(args.bench_options), str(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        init = [args.innerloop, "init", "--preset", args.preset, "--mixer", "self_attention", "--set", "vocab_size=32000",
                "--out", f"{folder}/model", "--json"]
        subprocess.run(init, check=True, stdout=subprocess.DEVNULL)
        with open(f"{folder}/model/config.json") as f:
            config = json.load(f)
        for type_name in args.types.split(","):
            gguf = f"{folder}/{type_name}.gguf"
            write_gguf(gguf, config, type_name)

            def bench(prompt, tokens, depth):
                row = run([f"{args.dir}/llama-bench", "-m", gguf, "-t", threads, "-r", "1", "-p", str(prompt), "-n", str(tokens),
                           "-d", str(depth), "-o", "jsonl"])[-1]
                bench.version = row["build_commit"]
                return {"tokens_per_s": row["avg_ts"]}

            def batch():
                row = run([f"{args.dir}/llama-batched-bench", "-m", gguf, "-t", threads, "-c", "4096", "-npp", "16", "-ntg", "64",
                           "-npl", "16", "--output-format", "jsonl"])[-1]
                return {"tokens_per_s": row["speed_tg"]}

            def compare(name, context, work, peer):
                if name in rows:
                    about = {"peer": "llama.cpp", "version": version, "type": type_name, "work": work, "context": context}
                    pairs.compare(args, about, lambda: pairs.ours(args, work, max(context, 1), *more), peer)

            bench(8, 0, 0)
            version = bench.version
            compare("prefill", args.prompt, "prefill", lambda: bench(args.prompt, 0, 0))
            compare("decode", 0, "decode", lambda: bench(0, 64, 0))
            compare("deep", args.depth, "decode", lambda: bench(0, 64, args.depth))
            compare("batch", 16, "batch", batch)
            os.unlink(gguf)


if __name__ == "__main__":
    main()
