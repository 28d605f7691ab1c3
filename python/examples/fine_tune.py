"""Goes on training the bundled model on one's own text, and compares it on the text's end.

usage: fine_tune.py TEXT OUT [STEPS]
"""

from __future__ import annotations

import sys
from pathlib import Path

from tqdm import tqdm

import innerloop


def main() -> None:
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 100
    out.mkdir(exist_ok=True)
    text = source.read_text(encoding="utf-8")
    cut = len(text) * 9 // 10
    (out / "training.txt").write_text(text[:cut], encoding="utf-8")
    (out / "held-out.txt").write_text(text[cut:], encoding="utf-8")

    base = innerloop.Model.load("reader", weights="f32")  # only fp32 can be trained
    tokenizer = base.tokenizer
    training = innerloop.Data([out / "training.txt"], tokenizer=tokenizer, length=128, sequences=2, shuffle=True)
    held_out = innerloop.Data([out / "held-out.txt"], tokenizer=tokenizer, length=128, loop=False)
    with innerloop.Trainer(base, training, steps=steps, lr=3e-4) as trainer, tqdm(total=steps) as bar:
        before = trainer.evaluate(held_out)

        def see(trainer: innerloop.Trainer, step: innerloop.Step) -> None:
            bar.update()
            bar.set_postfix_str(f"loss {step.loss:.3f}")

        trainer.run(callbacks=[see])
        after = trainer.evaluate(held_out)
        trainer.save(out / "run")
    print(f"held-out loss {before:.3f} before, {after:.3f} after, in nats per token; saved in {out / 'run/latest'}")
    with innerloop.Session(innerloop.Model.load(out / "run/latest")) as session:
        print("".join(session.generate_text("The boat", 40, seed=1)))


if __name__ == "__main__":
    main()
