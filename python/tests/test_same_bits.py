"""What Python computes is what the command computes, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import STORY, Run

import innerloop
from innerloop import Model, Session


def test_losses(reader: Model, command: Run, story: Path) -> None:
    lines = command("score", "--model", "reader", "--by", "token", "--json", story).splitlines()
    bits = np.array([json.loads(line)["bits"] for line in lines[:-1]], np.float64)
    losses = []
    innerloop.read(story, reader, progress=lambda fed: losses.append(fed.losses))
    mine = np.concatenate(losses)[1:]  # nothing predicts the token that begins a text
    assert (mine == (bits * np.log(2)).astype(np.float32)).all()


def test_states(reader: Model, command: Run, story: Path, tmp_path: Path) -> None:
    theirs, mine = tmp_path / "theirs.ilstate", tmp_path / "mine.ilstate"
    command("read", "--model", "reader", "--save-state", theirs, story)
    session = innerloop.read(story, reader)
    session.save(mine)
    assert mine.read_bytes() == theirs.read_bytes() == session.to_bytes()
    again = Session.load(reader, theirs)
    assert again.fingerprint == session.fingerprint
    assert (again.logits() == session.logits()).all()


@pytest.mark.parametrize("kind", ["long line", "two documents", "no end of line", "crlf"])
def test_states_of_odd_texts(reader: Model, command: Run, tmp_path: Path, kind: str) -> None:
    path, theirs = tmp_path / "text", tmp_path / "theirs.ilstate"
    if kind == "long line":
        path.write_text("boat " * 13107 + "é, the boat\nthe end", "utf-8")
    elif kind == "two documents":
        path.write_text("".join(json.dumps({"text": t}) + "\n" for t in ["One.", "", "Two.\n", "Three."]))
    elif kind == "crlf":
        path.write_bytes(b"One.\r\n\r\nTwo.\r\n" + bytes(range(1, 256)))
    else:
        path.write_text("One.\nTwo.")
    command("read", "--model", "reader", "--save-state", theirs, path)
    assert innerloop.read(path, reader).to_bytes() == theirs.read_bytes()


def test_texts(reader: Model, command: Run, story: Path, tmp_path: Path) -> None:
    options = ["--max-tokens", 90, "--seed", 5, "--repeat-penalty", 1.3, "--prompt", "The boat, a café,"]
    theirs = json.loads(command("generate", "--model", "reader", "--json", *options))
    session = Session(reader)
    pieces = session.generate_text("The boat, a café,", 90, seed=5, repeat_penalty=1.3)
    assert "".join(pieces) == theirs["text"]
    state = tmp_path / "story.ilstate"
    command("read", "--model", "reader", "--save-state", state, story)
    theirs = json.loads(command("generate", "--model", "reader", "--json", "--load-state", state, *options))
    session = Session.load(reader, state)
    assert "".join(session.generate_text("The boat, a café,", 90, seed=5, repeat_penalty=1.3)) == theirs["text"]


def test_new_models(command: Run, tmp_path: Path) -> None:
    out = command(
        "init", "--preset", "tiny", "--seed", 9, "--set", "num_hidden_layers=3", "--json", "--out", tmp_path / "m"
    )
    model = Model.init("tiny", seed=9, fields={"num_hidden_layers": 3})
    assert model.fingerprint == json.loads(out)["fingerprint"] == Model.load(tmp_path / "m").fingerprint
    model.save(tmp_path / "mine")
    assert (tmp_path / "mine/model.safetensors").read_bytes() == (tmp_path / "m/model.safetensors").read_bytes()


def test_compressed(command: Run, story: Path, tmp_path: Path) -> None:
    out = tmp_path / "story.ilc"
    command("compress", "--model", "any", story, out)
    assert innerloop.compress(STORY.encode()) == out.read_bytes()
    assert innerloop.decompress(out.read_bytes()) == STORY.encode()


def test_training(command: Run, story: Path, tmp_path: Path) -> None:
    model, run = tmp_path / "m", tmp_path / "run"
    command("init", "--preset", "tiny", "--mixer", "ttt_linear", "--seed", 1, "--out", model)
    options = ["--steps", 4, "--seq-len", 64, "--batch-tokens", 128, "--seed", 3, "--lr", 0.01]
    command("train", "--model", model, "--data", story, "--out", run, *options)
    mine = Model.load(model)

    def data_of(model: Model) -> innerloop.Data:
        return innerloop.Data([story], tokenizer=model.tokenizer, length=64, sequences=2, shuffle=True, seed=3)

    trainer = innerloop.Trainer(mine, data_of(mine), steps=4, lr=0.01)
    assert trainer.run() is not None
    assert Model.load(run / "latest").fingerprint == mine.fingerprint
    # Either goes on with what the other has saved.
    other = Model.load(model)
    with innerloop.Trainer(other, data_of(other), steps=4, lr=0.01) as begun:
        begun.run(2)
        begun.save(tmp_path / "begun")
    command("train", "--resume", "--data", story, "--out", tmp_path / "begun", *options)
    assert Model.load(tmp_path / "begun/latest").fingerprint == mine.fingerprint
    resumed = innerloop.Trainer(other, data_of(other), steps=4, lr=0.01)
    resumed.resume(run)
    assert resumed.steps_done == 4 and other.fingerprint == mine.fingerprint


def test_any_engine(reader: Model) -> None:
    tokens = reader.tokenizer.encode(STORY)[:60]
    losses = Session(reader).feed(tokens).losses
    other = Model.load("reader", engine=innerloop.Engine(threads=1, kernels="portable"))
    session = Session(other)
    parts = [session.feed(part).losses for part in (tokens[:1], tokens[1:40], tokens[40:])]
    assert (np.concatenate(parts)[1:] == losses[1:]).all()
