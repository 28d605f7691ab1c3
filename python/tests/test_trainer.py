"""Training: on files and on arrays the same weights, checkpoints, callbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest
from conftest import Run

import innerloop
from innerloop import Data, Model, Step, Trainer


def new() -> Model:
    return Model.init("tiny", mixer="ttt_linear", seed=2)


def data_of(story: Path, model: Model, stateful: bool = False, loop: bool = True) -> Data:
    return Data([story], tokenizer=model.tokenizer, length=32, sequences=3, stateful=stateful, loop=loop)


@pytest.mark.parametrize("stateful", [False, True])
def test_arrays_are_as_good_as_files(story: Path, stateful: bool) -> None:
    one, other = new(), new()
    data, batches = data_of(story, one, stateful=stateful), data_of(story, other, stateful=stateful)
    trainer = Trainer(one, data, steps=5)
    trainer.run()
    on_arrays = Trainer(other, length=32, sequences=3, stateful=stateful, steps=5)
    for i in range(5):
        tokens, fresh = batches.next()
        assert fresh.all() == (not stateful or i == 0)
        on_arrays.step(tokens, fresh=fresh)
    assert one.fingerprint == other.fingerprint and data.cursor == batches.cursor
    with pytest.raises(innerloop.EndError, match="all 5 steps"):
        on_arrays.step(tokens)


def test_resume(story: Path, tmp_path: Path) -> None:
    whole, first = new(), new()
    Trainer(whole, data_of(story, whole), steps=6).run()
    with Trainer(first, data_of(story, first), steps=6) as trainer:
        trainer.run(4)
        assert trainer.validated(trainer.evaluate(data_of(story, first, loop=False)))
        trainer.save(tmp_path / "run", best=True)
    with pytest.raises(ValueError, match="closed"):
        trainer.step()
    again = new()
    trainer = Trainer(again, data_of(story, again), steps=6)
    trainer.resume(tmp_path / "run")
    assert trainer.steps_done == 4 and trainer.data.cursor.batch == 4
    trainer.run()
    assert again.fingerprint == whole.fingerprint
    assert Model.load(tmp_path / "run/best").tokenizer.kind == "bytes"
    with pytest.raises(innerloop.MismatchError, match="steps was 6, is 7"):
        Trainer(new(), data_of(story, new()), steps=7).resume(tmp_path / "run")


def test_memory_and_freeze(story: Path) -> None:
    whole, bounded, frozen = new(), new(), new()
    Trainer(whole, data_of(story, whole), steps=2).run()
    Trainer(bounded, data_of(story, bounded), steps=2, memory=40_000_000).run()
    assert bounded.fingerprint == whole.fingerprint
    with pytest.raises(MemoryError, match="are allowed"):
        Trainer(bounded, data_of(story, bounded), steps=2, memory=1000)
    Trainer(frozen, data_of(story, frozen), steps=2, freeze=["*.mlp.*", "model.norm.weight"]).run()
    assert frozen.fingerprint != whole.fingerprint
    name = "model.layers.0.mlp.up_proj.weight"
    start = new()
    assert (frozen.tensors[name] == start.tensors[name]).all()
    assert (whole.tensors[name] != start.tensors[name]).any()
    with pytest.raises(innerloop.ArgumentError, match="no tensor"):
        Trainer(frozen, data_of(story, frozen), freeze=["*.mpl.*"])


def test_several_sources(story: Path, tmp_path: Path) -> None:
    other = tmp_path / "numbers.txt"
    other.write_text("0123456789" * 400)
    tokenizer, files = new().tokenizer, [story, other]

    def share(**options: Any) -> float:
        """How much of eight batches are digits in a row."""
        data = Data(files, tokenizer=tokenizer, length=16, sequences=8, shuffle=True, seed=1, **options)
        rows = np.concatenate([data.next()[0] for _ in range(8)])
        return float(np.mean([all(48 <= t < 58 for t in row) for row in rows]))

    assert share(weights=[3, 1]) == 0.25 and share(weights=[1, 3]) == 0.75
    assert share(weights=[1, 3], memory_max=1, cache_dir=tmp_path / "cache") == 0.75  # from the disk
    with pytest.raises(innerloop.ArgumentError, match="1 weights"):
        share(weights=[1])
    with pytest.raises(innerloop.ArgumentError, match='"computed"'):
        Data(files, tokenizer=tokenizer, shuffle="computd")  # type: ignore[arg-type]
    tables, computed = (Data(files, tokenizer=tokenizer, length=16, shuffle=s) for s in (True, "computed"))
    assert tables.tokens == computed.tokens and (tables.next()[0] != computed.next()[0]).any()
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"text": "one of the lines"}\n{"no": 1}\n{"text": "the other one"}\n')
    with pytest.raises(innerloop.FormatError):
        Data([lines], tokenizer=tokenizer, length=4)
    assert Data([lines], tokenizer=tokenizer, length=4, skip_bad_lines=True).tokens > 20
    shard = tmp_path / "tokens.npy"
    np.save(shard, np.array(([7] + [1] * 8 + [7] + [2] * 4) * 5, np.uint16))
    for bos, windows in ((-1, 17), (7, 15)):  # where documents begin, windows end
        assert Data([shard], vocab_size=9, length=4, stateful=True, bos_token=bos).batches_per_epoch == windows


def test_lanes_spikes_and_keep(story: Path, tmp_path: Path) -> None:
    def run(**options: Any) -> Model:
        model = new()
        data = Data([story], tokenizer=model.tokenizer, length=16, sequences=4)
        Trainer(model, data, steps=3, lr=1e-2, **options).run()
        return model

    assert run().fingerprint == run(lanes=1, skip_spikes=True).fingerprint != run(lanes=2).fingerprint
    with pytest.raises(innerloop.ArgumentError, match="lanes"):
        run(lanes=3)
    model = new()
    calm = data_of(story, model).next()[0]
    trainer = Trainer(model, length=32, sequences=3, steps=80, skip_spikes=True, keep=2)
    for _ in range(70):
        assert not trainer.step(calm).skipped
        if trainer.steps_done > 67:
            trainer.save(tmp_path / "run")
    before = model.fingerprint
    step = trainer.step(np.random.default_rng(1).integers(0, 256, (3, 33)))
    assert step.skipped and step.loss > 4 and model.fingerprint == before
    assert sorted(path.name for path in (tmp_path / "run").glob("step-*")) == ["step-69", "step-70"]


def test_taken_weights(command: Run, story: Path, tmp_path: Path) -> None:
    attention = Model.init("tiny", mixer="self_attention", seed=5)
    attention.save(tmp_path / "attention")
    command("init", "--preset", "tiny", "--seed", 2, "--out", tmp_path / "m")
    options = ["--steps", 1, "--seq-len", 32, "--batch-tokens", 96, "--fresh", "--seed", 0, "--lr", 0.01]
    arguments = ["--model", tmp_path / "m", "--init-from", tmp_path / "attention", "--data", story]
    command("train", *arguments, "--out", tmp_path / "run", *options)
    model = Model.load(tmp_path / "m")
    taken, fresh, left = model.take(attention)
    assert set(taken + fresh) == set(model.tensors) and "model.embed_tokens.weight" in taken and fresh
    assert not set(left) & set(taken)
    data = Data([story], tokenizer=model.tokenizer, length=32, sequences=3, shuffle=True)
    Trainer(model, data, steps=1, lr=0.01).run()
    assert model.fingerprint == Model.load(tmp_path / "run/latest").fingerprint
    with pytest.raises(innerloop.MismatchError, match="same name and shape"):
        attention.take(Model.init("tiny", mixer="self_attention", fields={"hidden_size": 32, "intermediate_size": 48}))


def test_resume_on_arrays(story: Path, tmp_path: Path) -> None:
    whole, first, again = new(), new(), new()
    batches = [data_of(story, whole).next()[0] // (i + 1) for i in range(4)]

    def trainer_of(model: Model) -> Trainer:
        return Trainer(model, length=32, sequences=3, steps=4)

    run = trainer_of(whole)
    for batch in batches:
        run.step(batch)
    run = trainer_of(first)
    run.step(batches[0])
    run.save(tmp_path / "run")
    run = trainer_of(again)
    run.resume(tmp_path / "run")
    for batch in batches[run.data.cursor.batch :]:
        run.step(batch)
    assert again.fingerprint == whole.fingerprint


def test_callbacks(story: Path) -> None:
    model = new()
    seen: list[Step] = []

    def see(trainer: Trainer, step: Step) -> Optional[bool]:
        seen.append(step)
        assert trainer.steps_done == step.step
        return step.step < 3

    last = Trainer(model, data_of(story, model), steps=50, lr=1e-2).run(callbacks=[see])
    assert last == seen[-1] and [step.step for step in seen] == [1, 2, 3] and last.tokens == 96
    assert Trainer(model, data_of(story, model), steps=5).run(0) is None


def test_refusals(story: Path) -> None:
    model = new()
    trainer = Trainer(model, length=8, sequences=2, steps=3)
    with pytest.raises(innerloop.ArgumentError, match=r"it is \[2, 9\]"):
        trainer.step([[1, 2]])
    with pytest.raises(innerloop.ArgumentError, match="token 0 of the batch is 258"):
        trainer.step(np.full((2, 9), 258))
    with pytest.raises(innerloop.ArgumentError, match="give each step its tokens"):
        trainer.step()
    with pytest.raises(innerloop.ArgumentError, match="length and sequences"):
        Trainer(model)
    with pytest.raises(innerloop.ArgumentError, match="takes no tokens"):
        Trainer(model, data_of(story, model)).step([[1]])
    with pytest.raises(innerloop.ArgumentError, match="cannot be evaluated on"):
        trainer.evaluate(trainer.data)
    with pytest.raises(innerloop.UnsupportedError):
        Trainer(Model.load("reader"), length=8, sequences=1)  # held as bf16
    assert trainer.steps_done == 0


def test_gradient() -> None:
    """The gradient is the slope of the loss, by finite differences along itself."""
    model = new()
    tokens = np.random.default_rng(3).integers(0, 256, (2, 17))
    loss, gradient = model.gradient(tokens)
    norm2 = sum(float((g.astype(np.float64) ** 2).sum()) for g in gradient.values())
    assert set(gradient) == set(model.tensors) and norm2 > 0
    assert all(gradient[name].shape == tensor.shape for name, tensor in model.tensors.items())
    trainer = Trainer(model, length=16, sequences=2, steps=2)
    step = trainer.step(tokens)
    assert step.loss == pytest.approx(loss, rel=1e-3) and step.grad_norm == pytest.approx(norm2**0.5, rel=1e-2)
