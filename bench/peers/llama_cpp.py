#!/usr/bin/env python3
"""llama.cpp beside innerloop: a model of the same shape with random weights, which this script writes as GGUF.

    llama_cpp.py DIR [--shape qwen3.5-0.8b] [--types f32,bf16,q8_0,q4_0]

DIR holds llama-bench and llama-batched-bench: build/bin of a build by
    cmake -B build -DCMAKE_BUILD_TYPE=Release && cmake --build build --target llama-bench llama-batched-bench
of https://github.com/ggml-org/llama.cpp or of vendor/llama.cpp in the source package of PyPI's llama-cpp-python.
Without --shape, ours is a model of --preset and --mixer, and theirs a Transformer of the same size. Rows: prefill, decode at
0 and after --depth tokens, 16 sequences. Ours is held as f32, bf16, int8 or int4. Its caches are f16, as it comes."""
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
OUR_TYPES = {"f32": "f32", "bf16": "bf16", "q8_0": "int8", "q4_0": "int4"}
TILE = 1 << 16  # random values that are repeated


def shape(model_type, vocab, width, layers, heads, kv_heads, head, ffn, theta, **more):
    return {"model_type": model_type, "vocab_size": vocab, "hidden_size": width, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head, "intermediate_size": ffn,
            "rope_theta": theta, "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "torch_dtype": "bfloat16", **more}


def qwen3_5(width, layers, heads, kv_heads, values, ffn):
    return shape("qwen3_5_text", 248320, width, layers, heads, kv_heads, 256, ffn, 1e7, partial_rotary_factor=0.25,
                 linear_num_key_heads=16, linear_num_value_heads=values, linear_key_head_dim=128, linear_value_head_dim=128,
                 layer_types=[("full" if (i + 1) % 4 == 0 else "linear") + "_attention" for i in range(layers)])


SHAPES = {
    "smollm2-135m": shape("llama", 49152, 576, 30, 9, 3, 64, 1536, 1e5),
    "smollm2-360m": shape("llama", 49152, 960, 32, 15, 5, 64, 2560, 1e5),
    "qwen3-0.6b": shape("qwen3", 151936, 1024, 28, 16, 8, 128, 3072, 1e6),
    "qwen3.5-0.8b": qwen3_5(1024, 24, 8, 2, 16, 3584),
    "qwen3.5-2b": qwen3_5(2048, 24, 8, 2, 16, 6144),
    "qwen3.5-4b": qwen3_5(2560, 32, 16, 4, 32, 9216),
}


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def pair(key, value):
    if isinstance(value, list):  # of integers
        return text(key) + struct.pack(f"<IIQ{len(value)}I", 9, 4, len(value), *value)
    kind, form = {int: (4, "<I"), float: (6, "<f")}.get(type(value), (8, None))
    return text(key) + struct.pack("<I", kind) + (struct.pack(form, value) if form else text(value))


def shape_of(config):
    """What llama.cpp calls a model of that config.json: its architecture, the kind of every layer, sizes of attention."""
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    kinds = config.get("layer_types") or ["full_attention"] * layers
    arch = {"qwen3_5_text": "qwen35", "qwen3": "qwen3", "qwen2": "qwen2", "llama": "llama"}[config["model_type"]]
    return arch, kinds, heads, config.get("num_key_value_heads") or heads, config.get("head_dim") or config["hidden_size"] // heads


def keys_of(config):
    arch, kinds, heads, kv_heads, d = shape_of(config)
    rope = config.get("rope_parameters") or {}
    theta = rope.get("rope_theta") or config.get("rope_theta") or 1e4
    factor = rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or (0.25 if arch == "qwen35" else 1)
    keys = {"vocab_size": config["vocab_size"], "context_length": 1 << 17, "embedding_length": config["hidden_size"],
            "block_count": len(kinds), "feed_forward_length": config["intermediate_size"], "attention.head_count": heads,
            "attention.head_count_kv": kv_heads, "attention.key_length": d, "attention.value_length": d,
            "rope.dimension_count": int(d * factor), "rope.freq_base": float(theta),
            "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"])}
    if arch == "qwen35":
        values, width = config["linear_num_value_heads"], config["linear_value_head_dim"]
        assert kinds == [("full" if (i + 1) % 4 == 0 else "linear") + "_attention" for i in range(len(kinds))]
        assert config["linear_key_head_dim"] == width
        keys |= {"ssm.conv_kernel": 4, "ssm.inner_size": values * width, "ssm.state_size": width, "ssm.time_step_rank": values,
                 "ssm.group_count": config["linear_num_key_heads"], "full_attention_interval": 4,
                 "rope.dimension_sections": [11, 11, 10, 0]}
    return {"general.architecture": arch, "general.name": "random", "tokenizer.ggml.model": "none",
            **{f"{arch}.{name}": value for name, value in keys.items()}}


def tensors(c):
    """name, [inputs, outputs], content: "weight", "vocabulary", or a number in fp32."""
    arch, kinds, heads, kv_heads, d = shape_of(c)
    width, ffn = c["hidden_size"], c["intermediate_size"]
    yield "token_embd.weight", (width, c["vocab_size"]), "vocabulary"  # also the output head where it is tied
    if arch != "llama" and not c["tie_word_embeddings"]:
        yield "output.weight", (width, c["vocab_size"]), "vocabulary"
    yield "output_norm.weight", (width,), 1.0
    for i, kind in enumerate(kinds):
        def layer(name, shape, content="weight"):
            return f"blk.{i}.{name}", shape, content
        yield layer("attn_norm.weight", (width,), 1.0)
        yield layer("post_attention_norm.weight" if arch == "qwen35" else "ffn_norm.weight", (width,), 1.0)
        if kind == "full_attention":
            yield layer("attn_q.weight", (width, heads * d * (2 if arch == "qwen35" else 1)))
            yield layer("attn_k.weight", (width, kv_heads * d))
            yield layer("attn_v.weight", (width, kv_heads * d))
            yield layer("attn_output.weight", (heads * d, width))
            if arch in ("qwen3", "qwen35"):
                yield layer("attn_q_norm.weight", (d,), 1.0)
                yield layer("attn_k_norm.weight", (d,), 1.0)
            if arch == "qwen2":
                for name, n in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
                    yield layer(f"attn_{name}.bias", (n * d,), 0.0)
        else:
            values, part = c["linear_num_value_heads"], c["linear_value_head_dim"]
            channels = 2 * c["linear_num_key_heads"] * part + values * part
            yield layer("attn_qkv.weight", (width, channels))
            yield layer("attn_gate.weight", (width, values * part))
            yield layer("ssm_conv1d.weight", (4, channels), 0.25)
            yield layer("ssm_dt.bias", (values,), 1.0)
            yield layer("ssm_a", (values,), -1.0)
            yield layer("ssm_beta.weight", (width, values))
            yield layer("ssm_alpha.weight", (width, values))
            yield layer("ssm_norm.weight", (part,), 1.0)
            yield layer("ssm_out.weight", (values * part, width))
        yield layer("ffn_gate.weight", (width, ffn))
        yield layer("ffn_up.weight", (width, ffn))
        yield layer("ffn_down.weight", (ffn, width))


def write_gguf(path, c, type_name):
    """The embedding beside 4 bits is 8-bit, as llama.cpp's own quantizer and we do it."""
    random.seed(1)
    tiles = {}
    for name, of in (("weight", type_name), ("vocabulary", "q8_0" if type_name == "q4_0" else type_name)):
        number, block, pack = TYPES[of]
        tiles[name] = (number, TILE, b"".join(pack([random.gauss(0, 0.02) for _ in range(block)]) for _ in range(TILE // block)))
    keys, infos, data, offset = keys_of(c), b"", [], 0
    for name, shape, content in tensors(c):
        number, values, tile = tiles.get(content) or (0, TILE, struct.pack("<f", content) * TILE)
        size = math.prod(shape) * len(tile) // values
        infos += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, number, offset)
        data.append((tile, size))
        offset += -(-size // 32) * 32
    with open(path, "wb") as f:
        f.write(b"GGUF" + struct.pack("<IQQ", 3, len(data), len(keys)) + b"".join(pair(k, v) for k, v in keys.items()) + infos)
        for tile, size in data:
            f.write(b"\0" * (-f.tell() % 32))
            whole, rest = divmod(size, len(tile))
            for _ in range(whole):
                f.write(tile)
            f.write(tile[:rest])
        f.write(b"\0" * (-f.tell() % 32))


def run(command, rate):
    """What the last line of a program's JSON says, and the peak of its memory: the file that it maps is part of it."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, text=True)
        _, status, usage = os.wait4(process.pid, 0)
        out.seek(0), err.seek(0)
        if status:
            sys.exit(f"{' '.join(command)}: {err.read()[-2000:]}")
        row = [json.loads(line) for line in out if line.startswith("{")][-1]
    return row, {"tokens_per_s": row[rate], "peak_mb": usage.ru_maxrss / 1024}


def main():
    parser = pairs.arguments(__doc__)
    parser.add_argument("dir")
    parser.add_argument("--shape", choices=SHAPES, help="of a real model, for both, in place of --preset and --mixer")
    parser.add_argument("--types", default="f32")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--depth", type=int, default=2048)
    parser.add_argument("--rows", default="prefill,decode,deep,batch")
    parser.add_argument("--bench-options", default="", help="for innerloop bench")
    args = parser.parse_args()
    rows, threads = args.rows.split(","), str(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        if args.shape:
            config = SHAPES[args.shape]
            with open(f"{folder}/config.json", "w") as f:
                json.dump(config, f)
            args.preset, args.mixer, args.model = args.shape, "its own", folder
        else:
            init = [args.innerloop, "init", "--preset", args.preset, "--mixer", "self_attention", "--set", "vocab_size=32000",
                    "--out", f"{folder}/model", "--json"]
            subprocess.run(init, check=True, stdout=subprocess.DEVNULL)
            with open(f"{folder}/model/config.json") as f:
                config = json.load(f)
        for type_name in args.types.split(","):
            gguf = f"{folder}/{type_name}.gguf"
            write_gguf(gguf, config, type_name)
            more = ["--dtype", OUR_TYPES[type_name], *shlex.split(args.bench_options)]

            def bench(prompt, tokens, depth):
                row, told = run([f"{args.dir}/llama-bench", "-m", gguf, "-t", threads, "-r", "1", "-p", str(prompt), "-n",
                                 str(tokens), "-d", str(depth), "-o", "jsonl"], "avg_ts")
                bench.version = row["build_commit"]
                return told

            def batch():
                return run([f"{args.dir}/llama-batched-bench", "-m", gguf, "-t", threads, "-c", "4096", "-npp", "16", "-ntg", "64",
                            "-npl", "16", "--output-format", "jsonl"], "speed_tg")[1]

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
