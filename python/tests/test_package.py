"""Models, tokenizers, documents, compression, errors and types."""

from __future__ import annotations

import gzip
import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import STORY

import innerloop
from innerloop import Config, Model, Session, Tokenizer


def test_models(reader: Model, tmp_path: Path) -> None:
    assert reader.config.layers == len(reader.config.mixers)
    small = reader.convert("int8")
    assert small.weights == "int8" and reader.weights == "bf16"
    assert small.tokenizer.decode(small.tokenizer.encode("a boat")) == "a boat"
    small.save(tmp_path / "small")
    assert (tmp_path / "small/tokenizer.model").exists()
    assert Model.load(tmp_path / "small").fingerprint == small.fingerprint
    assert Model.load("reader", weights="f32").weights == "f32"
    assert reader.convert(fast_head_size=0).config.fast_head_size == 0
    tensor = reader.tensors["model.norm.weight"]
    with pytest.raises(ValueError, match="read-only"):
        tensor[0] = 1
    with pytest.raises(innerloop.ArgumentError, match="f32, bf16, int8, int4"):
        reader.convert("f16")
    copy = reader.config
    copy.width = 7
    assert reader.config.width != 7  # its own configuration is a copy


CHAT = {
    "chat_template.jinja": "{{ bos_token }}[INST] {{ text }} [/INST]<<SYS>>",
    "tokenizer_config.json": '{"added_tokens_decoder": {}}',
    "generation_config.json": '{"temperature": 0.25, "eos_token_id": [257, 7]}',
}


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    """The directory of a model that says how it is talked to."""
    Model.init("tiny", mixer="ttt_linear").save(tmp_path / "chats")
    for name, text in CHAT.items():
        (tmp_path / "chats" / name).write_text(text)
    return tmp_path / "chats"


def test_what_is_said_of_chatting_stays_with_a_model(
    chats: Path, story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    model = Model.load("chats")
    monkeypatch.chdir("/")  # a relative name means what it meant when the model was loaded
    small = model.convert("int8")
    small.save(tmp_path / "small")
    with innerloop.Trainer(model, length=8, sequences=1, steps=2) as trainer:
        trainer.step(np.zeros((1, 9)))
        trainer.save(tmp_path / "run")
    model.save(chats)  # where it came from
    for path in (tmp_path / "small", tmp_path / "run/latest", chats):
        for name in ("chat_template.jinja", "tokenizer_config.json"):
            assert (path / name).read_text() == CHAT[name]
        again = Model.load(path)
        assert again.sampling.temperature == 0.25 and again.stops == [7, 257]
    assert again.fingerprint == model.fingerprint and not caplog.records
    Model.init("tiny").save(chats)  # which nothing is known of
    assert not (chats / "chat_template.jinja").exists() and Model.load(chats).stops == [257]
    (chats / "chat_template.jinja").write_text("")
    (chats / "generation_config.json").write_text('{"temperature": -1}')
    gone = Model.load(chats)
    with pytest.raises(innerloop.FormatError, match="temperature"):
        gone.save(tmp_path / "small")
    with pytest.raises(innerloop.FormatError, match="temperature"):
        innerloop.Trainer(gone, length=8, sequences=1)
    assert Model.load(tmp_path / "small").fingerprint == small.fingerprint  # nothing was written
    gone.tokenizer
    chats.rename(tmp_path / "elsewhere")
    gone.save(tmp_path / "saved")
    assert "chats is gone" in caplog.text


def test_a_model_without_its_tokenizer(chats: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Model.load(chats).save(tmp_path / "other", tokenizer=innerloop.Tokenizer.load("bytes"))
    assert (tmp_path / "other/chat_template.jinja").exists() and not caplog.records
    model = Model.init(Config.preset("tiny", "ttt_linear"), fields={"vocab_size": 300})
    model.save(tmp_path / "bare")
    assert not caplog.records  # it never had one
    Model.load(tmp_path / "bare").save(tmp_path / "again")
    assert "saved without a tokenizer" in caplog.text


def test_configurations() -> None:
    config = Config.preset("tiny", "ttt_mlp")
    with pytest.raises(innerloop.ArgumentError):
        config.set(num_hidden_layers=3, vocab_size=-1)
    assert config.layers != 3  # nothing was changed
    config.set({"tie_word_embeddings": False}, num_hidden_layers=1)
    assert config.layers == 1 and not config.tie_word_embeddings and config.flops_per_token() > 0
    with pytest.raises(AttributeError, match="no field 'widht'"):
        config.widht = 3
    with pytest.raises(AttributeError):
        config.widht
    assert Model.init(config).tensors["model.embed_tokens.weight"].shape == (32000, config.width)
    with pytest.raises(innerloop.UnsupportedError, match="no tokenizer of its own"):
        Model.init(config).tokenizer


def test_tokenizers(reader: Model, tmp_path: Path) -> None:
    tokenizer = reader.tokenizer
    text = "Zwölf Boote — 🙂\n\x00"
    assert tokenizer.decode_bytes(tokenizer.encode(text)) == text.encode()
    assert tokenizer.decode(tokenizer.encode(b"\xff\xc3")) == "\ufffd\ufffd"
    spelled = Tokenizer.load("bytes").decoder()
    assert [spelled.decode(t) for t in (0xC3, 0xA9)] == ["", "é"]  # with its last byte
    story = tmp_path / "story.txt"
    story.write_text(STORY)
    trained = Tokenizer.train([story], 300, tmp_path / "tokenizer.model")
    assert trained.vocab_size == 300 and trained.kind == "sentencepiece"
    assert trained.decode(trained.encode(STORY)) == STORY


def test_documents(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"body": text}) + "\n" for text in ("eins", "", "drei\n"))
    path = tmp_path / "texts.gz"
    path.write_bytes(gzip.compress(lines.encode()))
    assert list(innerloop.documents(path, field="body")) == ["eins", "", "drei\n"]
    with pytest.raises(innerloop.FormatError):
        list(innerloop.documents(path, format="jsonl"))
    assert list(innerloop.documents(path, format="text")) == [lines]
    with pytest.raises(innerloop.ArgumentError, match="auto, text"):
        list(innerloop.documents(path, format="pdf"))


def test_compression(reader: Model) -> None:
    data = STORY.encode()
    shown: list[tuple[int, int]] = []
    small = innerloop.compress(data, reader, progress=lambda done, total: shown.append((done, total)))
    assert len(small) < len(data) / 8 and shown[-1][1] == len(data)
    assert innerloop.decompress(small) == data  # finds the bundled model by its fingerprint
    info = innerloop.compressed_info(small)
    assert (
        info.bytes == len(data)
        and info.model == reader.fingerprint
        and info.mixed
        and info.state == ""
        and not info.picture
    )
    start = innerloop.Session(reader)
    start.feed_text(STORY[:2000])
    after = innerloop.compress(data, start=start)
    assert len(after) < len(small) and innerloop.decompress(after, start=start) == data
    with pytest.raises(innerloop.MismatchError):
        innerloop.decompress(after, reader)
    with pytest.raises(innerloop.FormatError):
        innerloop.decompress(small[:-9])
    with pytest.raises(innerloop.CancelledError):
        innerloop.compress(data, progress=lambda done, total: False)

    def press(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        innerloop.decompress(small, progress=press)
    assert innerloop.decompress(innerloop.compress(b"")) == b""


def test_errors(tiny: Model, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere") as caught:
        Model.load("/nowhere")
    assert isinstance(caught.value, innerloop.FileError) and isinstance(caught.value, innerloop.Error)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json"):
        Model.load(tmp_path)
    with pytest.raises(innerloop.FileError, match="no bundled model 'writer'"):
        innerloop.bundled("writer")
    other = Session(Model.init("tiny", seed=4))
    with pytest.raises(innerloop.MismatchError):
        Session.from_bytes(tiny, other.to_bytes())
    assert issubclass(innerloop.OutOfMemoryError, MemoryError) and issubclass(innerloop.EndError, EOFError)


def test_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "short.txt"
    path.write_text("one two three two one three " * 20)
    with caplog.at_level(logging.INFO, "innerloop"):
        Tokenizer.train([path], 4000, tmp_path / "tokenizer.model")
    assert any("gives no more than" in record.message for record in caplog.records)


def test_types() -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    here = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-m", "mypy", "--cache-dir", "/dev/null"], cwd=here, capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


def test_no_copies(tiny: Model) -> None:
    tokens = np.array([1, 2, 3], np.int32)
    tokens.flags.writeable = False
    assert Session(tiny).feed(tokens).tokens is tokens
    norm = "model.norm.weight"
    assert np.shares_memory(tiny.tensors[norm], tiny.tensors[norm])
