"""Trains a small model for each of several inner rules on the same batches, and draws their losses.

usage: sweep_inner_rules.py TEXT FIGURE.png [STEPS]
"""

from __future__ import annotations

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import innerloop

RULES = ["ttt_linear", "ttt_mlp", "ttt_linear_decay", "gated_delta", "self_attention"]


def train(rule: str, text: str, steps: int) -> list[float]:
    """Loss of every step, in bits per byte."""
    model = innerloop.Model.init("tiny", mixer=rule, seed=1, fields={"num_hidden_layers": 2})
    data = innerloop.Data([text], tokenizer=model.tokenizer, length=64, sequences=8, shuffle=True, seed=1)
    losses: list[float] = []
    with innerloop.Trainer(model, data, steps=steps, lr=3e-3) as trainer:
        trainer.run(callbacks=[lambda trainer, step: losses.append(step.loss / np.log(2))])
    return losses


def main() -> None:
    text, figure = sys.argv[1:3]
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 200
    axes = plt.figure(figsize=(7, 4)).gca()
    for rule in RULES:
        losses = train(rule, text, steps)
        axes.plot(range(1, steps + 1), losses, label=rule)
        print(f"{rule:20} {losses[0]:.3f} -> {losses[-1]:.3f} bits per byte")
    axes.set(xlabel="step", ylabel="bits per byte", title="The same model with different inner rules")
    axes.legend()
    plt.savefig(figure, dpi=120, bbox_inches="tight")


if __name__ == "__main__":
    main()
