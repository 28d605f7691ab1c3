#!/usr/bin/env python3
"""Log-likelihoods of one text by a GGUF file, token by token: innerloop, transformers and llama.cpp.

    python3 -m venv venv && venv/bin/pip install gguf==0.19.0 transformers==5.24.0 torch accelerate llama-cpp-python==0.3.36
    venv/bin/python likelihoods.py MODEL.gguf [--text FILE] [--innerloop build/innerloop] [--bytes 2000]

Without llama-cpp-python or transformers that row is left out. transformers computes in fp32 on the numbers that the file's
blocks stand for, as innerloop does; llama.cpp rounds activations to 8 bits for quantized matrices and keeps keys and values
as f16. Exit status 1: tokens differ, or a token's loss by more than 5e-4 nats from that of transformers."""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

FARTHEST = 5e-4


def ours(command, model, text):
    with tempfile.NamedTemporaryFile(suffix=".txt") as f:
        f.write(text)
        f.flush()
        run = subprocess.run([command, "score", "--model", model, "--by", "token", "--json", "--format", "text", f.name],
                             capture_output=True, text=True, check=True)
    rows = [row for row in map(json.loads, run.stdout.splitlines()) if "token" in row]
    return [r["token"] for r in rows], [r["bits"] * math.log(2) for r in rows[1:]]


def by_transformers(model, text):
    import torch
    import transformers
    folder, name = os.path.split(os.path.abspath(model))
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    ids = tokenizer(text.decode(), add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = network(torch.tensor([ids])).logits[0].double()
    return ids, torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none").tolist()


def by_llama_cpp(model, text):
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path = [folder for folder in sys.path if os.path.abspath(folder) != here]  # where llama_cpp.py is another script
    import llama_cpp
    import numpy
    network = llama_cpp.Llama(model, n_ctx=2048, n_batch=2048, logits_all=True, verbose=False)
    ids = network.tokenize(text, add_bos=False, special=False)
    network.eval(ids)
    logits = numpy.array(network.scores[:len(ids)], dtype=numpy.float64)
    most = logits.max(1)
    total = numpy.log(numpy.exp(logits - most[:, None]).sum(1)) + most
    return list(ids), (total[:-1] - logits[numpy.arange(len(ids) - 1), ids[1:]]).tolist()


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--text", default=os.path.join(here, "..", "..", "LICENSE"))
    parser.add_argument("--bytes", type=int, default=2000)
    parser.add_argument("--innerloop", default="build/innerloop")
    args = parser.parse_args()
    text = " ".join(open(args.text).read().split()).encode()[:args.bytes]
    ids, losses = ours(args.innerloop, args.model, text)
    print(f"{len(ids)} tokens; innerloop: {sum(losses) / len(losses):.6f} nats a token")
    failed = False
    for name, peer in (("transformers", by_transformers), ("llama.cpp", by_llama_cpp)):
        try:
            other_ids, other = peer(args.model, text)
        except ImportError as missing:
            print(f"{name}: {missing}: left out")
            continue
        if other_ids != ids:
            print(f"{name}: other tokens")
            failed = True
            continue
        differences = [a - b for a, b in zip(losses, other)]
        rms, most = math.sqrt(sum(d * d for d in differences) / len(differences)), max(map(abs, differences))
        print(f"{name}: {sum(other) / len(other):.6f} nats a token; differences: mean {sum(differences) / len(differences):+.1e}, "
              f"rms {rms:.1e}, largest {most:.1e}")
        failed |= name == "transformers" and most > FARTHEST
    return failed


if __name__ == "__main__":
    sys.exit(main())
