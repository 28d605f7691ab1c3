"""Against the official code: the losses, gradients and ten steps of training that it wrote into the fixtures of the
library's tests, within the bounds that its two implementations keep against each other (tests/fixtures/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import innerloop
from innerloop import Model, Trainer

FIXTURES = Path(__file__).parents[2] / "tests/fixtures"
MODELS = sorted(path.parent.name for path in FIXTURES.glob("*/config.json"))
TYPES = {"F32": np.float32, "F64": np.float64, "I32": np.int32}

Array = npt.NDArray[Any]


def tensors_of(path: Path) -> dict[str, Array]:
    """The tensors of a safetensors file, of the types that fixtures have."""
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8:begin])
    out: dict[str, Array] = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, end = entry["data_offsets"]
            out[name] = np.frombuffer(data[begin + first : begin + end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return out


class Fixture:
    """A model, and what the official code computed of it."""

    def __init__(self, name: str) -> None:
        self.model = Model.load(FIXTURES / name, weights="f32")
        self.expect = tensors_of(FIXTURES / name / "expect.safetensors")
        self.meta: dict[str, Any] = json.loads((FIXTURES / name / "meta.json").read_text())
        self.bounds: dict[str, float] = self.meta["bounds"]

    def gradient(self, name: str, whole: Array) -> tuple[Array, Array]:
        """Of a tensor: what is ours and theirs, of large ones every so many entries."""
        if "grad." + name in self.expect:
            return whole.ravel(), self.expect["grad." + name].ravel()
        stride = -(-whole.size // int(self.meta["grad_sample_max"]))
        return whole.ravel()[::stride], self.expect["grad_sample." + name]


def norm(x: Array) -> float:
    return float(np.linalg.norm(x.astype(np.float64)))


@pytest.mark.parametrize("name", MODELS)
def test_gradients(name: str) -> None:
    fixture = Fixture(name)
    loss, gradient = fixture.model.gradient(fixture.expect["tokens"])
    assert abs(loss - float(fixture.expect["loss"][0])) <= fixture.bounds["train_losses"]
    away, length = 0.0, 0.0
    for tensor, whole in gradient.items():
        mine, theirs = fixture.gradient(tensor, whole)
        assert mine.shape == theirs.shape
        apart = norm(mine - theirs)
        assert apart <= fixture.bounds["grad_tensor"] * norm(theirs), tensor
        expected = fixture.meta["grad_l2_f64"][tensor]
        assert abs(norm(whole) - expected) <= fixture.bounds["grad_tensor"] * expected, tensor
        away, length = away + apart**2, length + norm(theirs) ** 2
    assert length > 0 and away**0.5 <= fixture.bounds["grad_all"] * length**0.5


@pytest.mark.parametrize("name", MODELS)
def test_ten_steps(name: str) -> None:
    fixture = Fixture(name)
    recipe = fixture.meta["recipe"]
    sequences, length = int(fixture.meta["sequences"]), int(fixture.meta["length"])
    trainer = Trainer(
        fixture.model,
        length=length,
        sequences=sequences,
        steps=recipe["steps"],
        lr=recipe["lr"],
        end_lr=recipe["end_lr"],
        warmup=recipe["lr_warmup_steps"],
        inner_lr_warmup=recipe.get("ttt_base_lr_warmup", 0),
    )
    rows = np.lib.stride_tricks.sliding_window_view(fixture.expect["stream"], length + 1)[::length]
    losses: list[float] = []
    for i, lr in enumerate(fixture.meta["train_lr"]):
        step = trainer.step(rows[i * sequences : (i + 1) * sequences])
        assert step.lr == pytest.approx(lr, abs=1e-9)
        losses.append(step.loss)
    expected = fixture.expect["train_losses_f64"]
    assert len(losses) == len(expected) == 10
    assert np.abs(np.array(losses) - expected).max() <= fixture.bounds["train_losses"]


def test_a_wrong_loss_is_noticed() -> None:
    """The bounds bind: a model whose inner learning rate is a little off is far outside of them."""
    fixture = Fixture("linear_mamba_d16")
    tokens = fixture.expect["tokens"].copy()
    tokens[0, 5] = (tokens[0, 5] + 1) % fixture.model.vocab_size
    loss, _ = fixture.model.gradient(tokens)
    assert abs(loss - float(fixture.expect["loss"][0])) > 100 * fixture.bounds["train_losses"]


def test_checkpoints_of_other_software(tmp_path: Path) -> None:
    path = FIXTURES / "checkpoints/jax_attention/streaming_params"
    with pytest.raises(innerloop.UnsupportedError, match="num_attention_heads"):
        Model.load(path)
    model = Model.load(path, fields={"num_attention_heads": 2})
    assert model.config.heads == 2
    model.save(tmp_path / "model")
    assert Model.load(tmp_path / "model").fingerprint == model.fingerprint
    directory = FIXTURES / "checkpoints/torch_ttt"
    straight, turned = Model.load(directory, weights="f32"), Model.load(directory, weights="f32", transposed=True)
    name = "model.layers.0.seq_modeling_block.q_proj.weight"
    assert (straight.tensors[name].T == turned.tensors[name]).all()
    with pytest.raises(innerloop.ArgumentError, match="no_such_key"):
        Model.load(directory, fields={"no_such_key": True})
