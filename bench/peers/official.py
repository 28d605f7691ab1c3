#!/usr/bin/env python3
"""The official code of TTT on the CPU, fp32, beside innerloop: prefill with all logits, decode, training.

    official.py pytorch DIR --python PYTHON     DIR: a checkout of test-time-training/ttt-lm-pytorch
    official.py jax DIR --python PYTHON         DIR: a checkout of test-time-training/ttt-lm-jax (no decode: it has none)

PYTHON is an interpreter with torch 2.5.1 and transformers 4.45.2, or jax 0.4.13 and what ttt-lm-jax needs
(tests/fixtures/make_fixtures.py has the whole list). The code is imported as it is; weights are its own random ones, and the
configuration is that of `innerloop init`."""
import json
import os
import subprocess
import sys
import tempfile
import time

import pairs

DECODE = 32  # tokens after --context
RULE = {"ttt_linear": "linear", "ttt_mlp": "mlp"}


def peak_mb():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) / 1024


# ---- in the peer's interpreter ----


def serve_pytorch(path, config, threads):
    sys.path.insert(0, path)
    import torch
    import transformers

    import ttt

    torch.set_num_threads(threads)
    model = ttt.TTTForCausalLM(ttt.TTTConfig(**config))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), weight_decay=0.1)

    def answer(work, context):
        ids = torch.randint(config["vocab_size"], (1, context))
        start = time.perf_counter()
        if work == "prefill":
            with torch.no_grad():
                model(ids, use_cache=False).logits
        elif work == "decode":
            with torch.no_grad():
                cache = model(ids, use_cache=True).cache_params
                start = time.perf_counter()
                for i in range(DECODE):
                    cache = model(ids[:, i : i + 1], use_cache=True, cache_params=cache).cache_params
        else:
            optimizer.zero_grad(set_to_none=True)
            model(ids, labels=ids, use_cache=False).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        seconds = time.perf_counter() - start
        return {"tokens_per_s": (DECODE if work == "decode" else context) / seconds, "peak_mb": peak_mb()}

    pairs.serve({"version": f"torch {torch.__version__}, transformers {transformers.__version__}"}, answer)


def serve_jax(path, config, threads):
    import types

    sys.path.insert(0, path)
    import transformers  # before the stand-in of the next line, which it would look at  # noqa: F401

    sys.modules.setdefault("datasets", types.ModuleType("datasets")).load_dataset = None  # only its data loader wants it
    import flax
    import jax
    from flax.training.train_state import TrainState
    from ttt.infra.jax_utils import get_weight_decay_mask
    from ttt.infra.optimizers import OptimizerFactory
    from ttt.models.model import CausalLM, ModelConfig
    from ttt.train import make_get_ttt_lr_mult, make_train_step_fn

    same = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "tie_word_embeddings",
            "pre_conv", "mini_batch_size", "ttt_base_lr", "rope_theta", "rms_norm_eps")
    states, runs = {}, {}

    def build(context):
        model_config = ModelConfig(max_sequence_length=context, seq_modeling_block=f"ttt_{config['ttt_layer_type']}",
                                   conv_width=config["conv_kernel"], remat_mini_batch_group_size=4,
                                   **{k: config[k] for k in same})
        model = CausalLM(model_config)
        params = jax.jit(model.init)({k: jax.random.PRNGKey(0) for k in model_config.rng_keys()},
                                     jax.numpy.zeros((1, context), "int32"))
        optimizer, info = OptimizerFactory.get_optimizer(
            {"type": "adamw", "adamw_optimizer": {"lr": 1e-5, "lr_warmup_steps": 1, "lr_decay_steps": 100}},
            get_weight_decay_mask(model_config.get_weight_decay_exclusions()))
        states[context] = TrainState.create(params=params, tx=optimizer, apply_fn=None)
        step = jax.jit(make_train_step_fn(model, info, model_config), donate_argnums=0)
        runs[context] = jax.jit(lambda p, t: model.apply(p, t).logits), step, make_get_ttt_lr_mult(model_config)(1)

    def answer(work, context):
        if context not in runs:
            build(context)
        forward, step, mult = runs[context]
        tokens = jax.random.randint(jax.random.PRNGKey(1), (1, context + 1), 0, config["vocab_size"])
        start = time.perf_counter()
        if work == "prefill":
            forward(states[context].params, tokens[:, :-1]).block_until_ready()
        else:
            batch = {"input_tokens": tokens[:, :-1], "target_tokens": tokens[:, 1:],
                     "loss_masks": jax.numpy.ones((1, context), "float32")}
            states[context] = jax.block_until_ready(step(states[context], jax.random.PRNGKey(0), batch, mult))[0]
        return {"tokens_per_s": context / (time.perf_counter() - start), "peak_mb": peak_mb()}

    pairs.serve({"version": f"jax {jax.__version__}, flax {flax.__version__}"}, answer)


# ---- here ----


def main():
    if sys.argv[1:2] == ["--serve"]:
        code, path, config, threads = sys.argv[2:]
        (serve_pytorch if code == "pytorch" else serve_jax)(path, json.loads(config), int(threads))
        return
    parser = pairs.arguments(__doc__)
    parser.add_argument("code", choices=("pytorch", "jax"))
    parser.add_argument("dir")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--context", type=int, default=2048, help="tokens of prefill and of a training step")
    parser.add_argument("--rows", default="prefill,decode,train")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([args.innerloop, "init", "--preset", args.preset, "--mixer", args.mixer, "--set", "vocab_size=32000",
                        "--out", folder, "--force", "--json"], check=True, stdout=subprocess.DEVNULL)
        with open(f"{folder}/config.json") as f:
            config = json.load(f)
    env = {"OMP_NUM_THREADS": str(args.threads), "JAX_PLATFORMS": "cpu", "WANDB_MODE": "disabled",
           "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={'true' if args.threads > 1 else 'false'} "
                        f"intra_op_parallelism_threads={args.threads}"}
    worker = pairs.Worker([args.python, os.path.abspath(__file__), "--serve", args.code, args.dir, json.dumps(config),
                           str(args.threads)], env)
    for work in args.rows.split(","):
        if work == "decode" and args.code == "jax":
            continue
        context = 64 if work == "decode" else args.context
        worker.ask(work=work, context=context)  # warms up and compiles
        about = {"peer": f"official {args.code}", "version": f"{pairs.commit(args.dir)}, {worker.about['version']}", "work": work,
                 "context": context}
        pairs.compare(args, about, lambda: pairs.ours(args, work, context, *(["--all-logits"] if work == "prefill" else [])),
                      lambda: worker.ask(work=work, context=context), [worker])
    worker.close()


if __name__ == "__main__":
    main()
