"""Training: on files and on arrays the same weights, checkpoints, callbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import numpy as np
import pytest

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
