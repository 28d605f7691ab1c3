"""Sessions: what they give, how they end, and that no two threads race in one."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from conftest import STORY

import innerloop
from innerloop import Engine, Model, Session, Tokenizer, feed_many


def tokens_of(model: Model, n: int) -> Any:
    return np.random.default_rng(1).integers(0, 256, n).astype(np.int32)


def test_what_a_feed_gives(reader: Model) -> None:
    tokens = reader.tokenizer.encode(STORY)[:600]  # more than a chunk
    fed = Session(reader).feed(tokens, logits=True, slow_losses=True, hidden=True)
    assert fed.tokens is tokens
    assert fed.logits.shape == (600, reader.vocab_size) and fed.logits.dtype == np.float32
    assert np.isnan(fed.losses[0]) and (fed.losses[1:] > 0).all()
    session = Session(reader)
    only = session.feed(tokens, losses=False)
    with pytest.raises(innerloop.ArgumentError, match="losses were not asked for"):
        only.losses
    last = session.logits()
    assert (last == fed.logits[-1]).all()
    row = fed.logits[10]
    assert np.float32(reader.log_sum_exp(row) - row[tokens[11]]) == fed.losses[11]
    assert (fed.slow_losses[300:] != fed.losses[300:]).any()  # its fast head has learned
    assert fed.bits == pytest.approx(np.nansum(fed.losses, dtype=np.float64) / np.log(2))
    assert fed.hidden.shape == (600, reader.width)
    plain = Session(reader.convert("f32", fast_head_size=0)).feed(tokens, logits=True, hidden=True)
    head = reader.convert("f32").tensors["model.embed_tokens.weight"]
    assert np.allclose(plain.hidden[590:] @ head.T, plain.logits[590:], atol=1e-3)
    short = Session(reader).feed(tokens[:20], hidden=True).hidden
    assert (short == fed.hidden[:20]).all()
    out = np.empty(reader.vocab_size, np.float32)
    assert session.logits(out) is out and (out == last).all()


def test_tokens_of_any_kind(tiny: Model) -> None:
    expected = Session(tiny).feed(np.array([1, 2, 3, 4], np.int32)).losses[1:]
    wide = np.array([1, 9, 2, 9, 3, 9, 4, 9])
    for tokens in ([1, 2, 3, 4], (1, 2, 3, 4), wide[::2], wide[::2].astype(np.uint8), wide[::2].astype(np.int32)):
        assert (Session(tiny).feed(tokens).losses[1:] == expected).all()
    assert len(Session(tiny).feed([]).losses) == 0
    for wrong in ([0.5], [[1]], [-1], [tiny.vocab_size], [2**40]):
        with pytest.raises(innerloop.ArgumentError):
            Session(tiny).feed(wrong)  # type: ignore[arg-type]
    long = tokens_of(tiny, 2000)
    long[1999] = 999
    session = Session(tiny)
    with pytest.raises(innerloop.ArgumentError, match="token 1999 is 999: ids go from 0 to 257"):
        session.feed(long)
    assert session.position == 0  # all tokens are looked at before the first is read


def test_many_at_once(tiny: Model) -> None:
    lengths = [700, 0, 3, 512, 1, 40, 900]
    texts = [tokens_of(tiny, n) for n in lengths]
    alone = [Session(tiny) for _ in texts]
    expected = [session.feed(text, logits=True, hidden=True) for session, text in zip(alone, texts)]
    together = [Session(tiny) for _ in texts]
    for a, b, one, other in zip(expected, feed_many(together, texts, logits=True, hidden=True), alone, together):
        assert np.array_equal(a.losses, b.losses, equal_nan=True) and (a.logits == b.logits).all()
        assert (a.hidden == b.hidden).all()
        assert one.fingerprint == other.fingerprint
    with pytest.raises(innerloop.ArgumentError, match="twice"):
        feed_many([alone[0], alone[0]], [[1], [2]])
    with pytest.raises(innerloop.ArgumentError, match="different models"):
        feed_many([alone[0], Session(Model.init("tiny"))], [[1], [2]])
    with pytest.raises(innerloop.ArgumentError, match="2 sessions"):
        feed_many(alone[:2], [[1]])
    assert feed_many([], []) == []


def test_forks_and_the_way_back(tiny: Model, tmp_path: Path) -> None:
    session = Session(tiny)
    session.feed(tokens_of(tiny, 100))
    fork = session.fork()
    assert fork.fingerprint == session.fingerprint and fork.tokens_fed == 0
    assert session.layer_stats(0).change_norm > 0 and session.state_bytes > 0
    session.note = "ß"
    before = session.logits()
    session.feed([1, 2, 3])
    session.rewind(100)
    assert (session.logits() == before).all() and session.rewind_limit <= 100
    with pytest.raises(innerloop.ArgumentError, match="cannot rewind"):
        session.rewind(101)
    session.save(tmp_path / "state")
    loaded = Session.load(tiny, tmp_path / "state")
    assert loaded.note == "ß" and loaded.position == 100
    frozen = Session(tiny, frozen=True, mix=True)
    frozen.feed([1, 2])
    assert frozen.frozen and frozen.mixed and not session.frozen


def test_generate(reader: Model) -> None:
    session = Session(reader)
    session.feed_text("It was a dark and")
    position, fork = session.position, session.fork()
    drawn = list(session.generate(10, seed=4))
    assert len(drawn) == 10 and session.position == position + 10
    assert list(fork.generate(10, seed=4)) == drawn
    first = drawn[0]
    fork = Session.from_bytes(reader, session.to_bytes())
    walk = fork.generate(temperature=0)
    a, b = next(walk), next(walk)
    assert fork.position == position + 12
    fork.rewind(position + 10)
    assert list(fork.generate(temperature=0, stop=[b])) == [a]  # nor is the stop read
    assert fork.position == position + 11
    fork.rewind(position + 10)
    others = [token for token in reversed(range(reader.vocab_size)) if token != a]
    assert list(fork.generate(temperature=0, stop=others)) == [a]
    assert first in range(reader.vocab_size)
    assert reader.sampling.top_k == 40 and reader.stops == [2]


def test_score(reader: Model) -> None:
    session = Session(reader)
    session.feed_text("The sun rose in the")
    before = session.fingerprint
    texts = [" morning", " xylophone", "", " east, and the sea was red"] * 20
    scores = session.score(texts)
    assert session.fingerprint == before
    for text, score in zip(texts[:4], scores):
        tokens = reader.tokenizer.encode_next(text)
        assert score == -session.fork().feed(tokens).losses.astype(np.float64).sum()
    assert (scores[:4] == scores[-4:]).all() and scores[0] > scores[1]
    with pytest.raises(innerloop.ArgumentError, match="nothing was read"):
        Session(reader).score(texts)


def at_work(session: Session) -> Callable[[], None]:
    """Waits until a feed of the session is under way."""

    def wait() -> None:
        while not session._lock.locked():
            pass

    return wait


def test_two_threads(tiny: Model) -> None:
    session, said = Session(tiny), []

    def second() -> None:
        at_work(session)()
        for use in (lambda: session.feed([1]), session.logits, session.fork, session.close, lambda: session.position):
            try:
                use()
            except RuntimeError as error:
                said.append(str(error))
        while session._lock.locked():  # one that comes before the first token is looked at does nothing
            session.cancel()

    thread = threading.Thread(target=second)
    thread.start()
    with pytest.raises(innerloop.CancelledError):
        session.feed(np.zeros(3_000_000, np.int32), losses=False)
    thread.join()
    assert len(said) == 5 and all(text.startswith("session in use") for text in said)
    at = session.position
    assert at < 3_000_000
    session.feed([1])  # a cancel of an earlier feed does nothing to it
    assert session.position == at + 1


def test_threads_with_a_session_each(tiny: Model) -> None:
    text = tokens_of(tiny, 3000)
    expected, got = Session(tiny).feed(text).losses[1:], []
    threads = [threading.Thread(target=lambda: got.append(Session(tiny).feed(text).losses[1:])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 4 and all((losses == expected).all() for losses in got)


def test_interrupt(tiny: Model) -> None:
    session = Session(tiny)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it

    def press() -> None:
        at_work(session)()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            session.feed(np.zeros(3_000_000, np.int32), losses=False)
    finally:
        signal.signal(signal.SIGINT, before)
    thread.join()
    at = session.position
    assert at < 3_000_000
    session.feed([1])
    assert session.position == at + 1


def test_ends(tiny: Model) -> None:
    model = Model.init("tiny", engine=Engine(threads=2))
    norm = model.tensors["model.norm.weight"]
    with Session(model) as session, model:
        session.feed([1])
    assert norm.shape == (model.width,) and float(norm.sum()) == model.width  # an array holds what it shows
    for use in (lambda: session.feed([1]), session.logits, lambda: session.position, session.fork):
        with pytest.raises(ValueError, match="closed"):
            use()
    session.close()
    session.cancel()
    assert "closed" in repr(session) and "closed" in repr(model)
    with pytest.raises(ValueError, match="closed"):
        Session(model)


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_nothing_leaks() -> None:
    fields = {"num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 1}
    small = Model.init("tiny", mixer="ttt_linear", fields=fields, engine=Engine(threads=1))

    def once() -> None:
        with Session(small) as session:
            session.feed([1])
        Session(small)

    def everything() -> None:
        model = Model.init("tiny", fields=fields, engine=Engine(threads=2))
        model.tensors
        session = Session(model)
        session.feed([1], logits=True)
        list(session.fork().generate(2))
        Tokenizer.load("bytes").encode("text")
        with pytest.raises(innerloop.FileError):
            Model.load("/nowhere")

    for work, times in ((once, 10_000), (everything, 100)):
        for _ in range(max(times // 20, 10)):
            work()
        before = resident()
        for _ in range(times):
            work()
        assert resident() - before < 4 << 20


def child(session: Session, queue: Any) -> None:
    try:
        session.feed([1])
    except RuntimeError as error:
        queue.put(str(error))
    queue.put(Session(Model.init("tiny", seed=3)).feed([1, 2]).losses[1])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process(tiny: Model) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(Session(tiny), queue))
    process.start()
    assert "was forked" in queue.get(timeout=60)
    assert queue.get(timeout=60) == Session(tiny).feed([1, 2]).losses[1]
    process.join()
    assert process.exitcode == 0
