"""One sequence, and what a model has learned of it."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import Any, Iterable, Iterator, NamedTuple, Optional, Sequence, Union

import numpy as np
import numpy.typing as npt

from ._core import (
    Floats,
    Path,
    Tokens,
    TokensLike,
    as_tokens,
    call,
    exception,
    ffi,
    floats,
    ints,
    lib,
    make,
    own,
    path_bytes,
    text,
)
from .errors import ArgumentError, CancelledError, UnsupportedError
from .model import Model

CHUNK = 512  # The library stops between chunks of so many tokens, and so do we: for Ctrl-C, and for cancel.
RECENT = 64  # How many tokens repeat_penalty looks at, as in the command.


class Fed:
    """What came of tokens [n] that were fed."""

    __slots__ = ("tokens", "_losses", "_logits", "_slow_losses", "_hidden")

    def __init__(self, tokens: Tokens, losses: Any, logits: Any, slow_losses: Any, hidden: Any) -> None:
        self.tokens = tokens
        """[n] the tokens."""
        self._losses = losses
        self._logits = logits
        self._slow_losses = slow_losses
        self._hidden = hidden

    @property
    def losses(self) -> Floats:
        """[n] -ln p(token | all tokens before it), in nats; NaN for the first of a sequence, which nothing predicts."""
        return _asked(self._losses, "losses")

    @property
    def logits(self) -> Floats:
        """[n, V] row i predicts what follows token i."""
        return _asked(self._logits, "logits")

    @property
    def slow_losses(self) -> Floats:
        """[n] the losses without what the fast head has learned in this session; the same where there is none."""
        return _asked(self._slow_losses, "slow_losses")

    @property
    def hidden(self) -> Floats:
        """[n, D] the final hidden vectors, after the last norm: row i stands for the text up to token i."""
        return _asked(self._hidden, "hidden")

    @property
    def bits(self) -> float:
        """The sum of losses that are numbers, in bits."""
        return float(np.nansum(self.losses, dtype=np.float64) / np.log(2))


def _asked(array: Optional[Floats], name: str) -> Floats:
    if array is None:
        raise ArgumentError(f"{name} were not asked for: feed(tokens, {name}=True)")
    return array


class LayerStats(NamedTuple):
    """What learning has done to one layer that learns."""

    weight_norm: float
    """L2 norm of its fast weights."""
    change_norm: float
    """Of how far they are from the learned initial ones."""
    loss_before: float
    """The inner loss over the last complete mini-batch before its update; NaN: none is kept."""
    loss_after: float
    """The same after it."""


class Session:
    """A sequence: what a model has read, and what it has learned of it.

    A session belongs to one thread at a time: a second thread that uses it meanwhile gets a RuntimeError. The global
    lock of Python is free while the library works. Ctrl-C ends a long feed after at most 512 tokens more; the session
    is valid then, where `position` says.

    frozen: it reads without learning, the control for what learning does. mix: losses and logits are mixed with what
    followed the same tokens before in this session.

    >>> model = Model.load()
    >>> with Session(model) as session:
    ...     losses = session.feed(model.tokenizer.encode("The cat sat on the mat.")).losses
    ...     session.position == len(losses)
    True
    """

    def __init__(self, model: Model, *, frozen: bool = False, mix: bool = False) -> None:
        model._engine.check()
        options = ffi.new("il_session_options *")
        lib.il_session_options_default(options)
        options.frozen, options.mix = frozen, mix
        self._begin(model, make(lib.il_session_open, "il_session", model._pointer, options))

    def _begin(self, model: Model, pointer: Any) -> None:
        self.model = model
        """The model that reads."""
        self._engine = model._engine
        self._pointer: Any = own(pointer, lib.il_session_close, model._engine)
        self._lock = threading.Lock()
        self._cancelled = False
        self._feed = ffi.new("il_feed *")
        self._feed.session = pointer
        self._error = ffi.new("il_error *")
        self._vocab_size = model.vocab_size

    @classmethod
    def _of(cls, model: Model, pointer: Any) -> Session:
        session = cls.__new__(cls)
        session._begin(model, pointer)
        return session

    # ---- one thread at a time ----

    def _enter(self) -> None:
        if not self._lock.acquire(False):
            raise RuntimeError("session in use: another thread, or a callback of this one, is at work with it")
        if self._pointer is None or self._engine.lost:
            self._lock.release()
            self._engine.check()
            raise ValueError("the session is closed")

    @contextmanager
    def _held(self) -> Iterator[Any]:
        self._enter()
        try:
            yield self._pointer
        finally:
            self._lock.release()

    # ---- reading ----

    def feed(
        self,
        tokens: TokensLike,
        *,
        losses: bool = True,
        logits: bool = False,
        hidden: bool = False,
        slow_losses: bool = False,
    ) -> Fed:
        """Reads tokens [n] and learns them. An array of int32 is read where it lies. On an error the session is valid
        where `position` says.

        >>> model = Model.load()
        >>> fed = Session(model).feed([5, 6, 7], logits=True)
        >>> fed.losses.shape, fed.logits.shape == (3, model.vocab_size)
        ((3,), True)
        """
        tokens = as_tokens(tokens)
        n = len(tokens)
        fed = _room(tokens, self.model, losses, logits, slow_losses, hidden)
        if not self._lock.acquire(False):
            raise RuntimeError("session in use: another thread, or a callback of this one, is at work with it")
        try:
            if self._pointer is None or self._engine.lost:
                self._engine.check()
                raise ValueError("the session is closed")
            if n > CHUNK:
                _feed_long([self], [fed])
                return fed
            feed = self._feed
            feed.n = n
            feed.tokens = ints(tokens)
            feed.nll = ffi.from_buffer("float[]", fed._losses) if losses else ffi.NULL
            feed.logits = ffi.from_buffer("float[]", fed._logits) if logits else ffi.NULL
            feed.slow_nll = ffi.from_buffer("float[]", fed._slow_losses) if slow_losses else ffi.NULL
            feed.hidden = ffi.from_buffer("float[]", fed._hidden) if hidden else ffi.NULL
            if lib.il_feed_many(feed, 1, self._error):
                raise exception(self._error)
            return fed
        finally:
            self._lock.release()

    def feed_text(self, text: Union[str, bytes], *, losses: bool = True, slow_losses: bool = False) -> Fed:
        """Reads a text by the model's tokenizer: as the beginning of a sequence, with the token that begins one, or as
        what goes on.

        >>> session = Session(Model.load())
        >>> session.feed_text("It was a dark and").bits > 0
        True
        """
        return self.feed(self._encode(text), losses=losses, slow_losses=slow_losses)

    def _encode(self, data: Union[str, bytes]) -> Tokens:
        tokenizer = self.model.tokenizer
        if self.position:
            return tokenizer.encode_next(data)
        tokens, bos = tokenizer.encode(data), self.model.bos
        return np.concatenate([np.array([bos], np.int32), tokens]) if bos >= 0 else tokens

    def logits(self, out: Optional[Floats] = None) -> Floats:
        """[V] the prediction after the last token that was fed. out: an array to put it in."""
        if out is None:
            out = np.empty(self._vocab_size, np.float32)
        elif out.dtype != np.float32 or out.shape != (self._vocab_size,) or not out.flags.c_contiguous:
            raise ArgumentError(f"out is not a contiguous array of {self._vocab_size} float32")
        with self._held() as pointer:
            call(lib.il_session_logits, pointer, floats(out))
        return out

    @property
    def position(self) -> int:
        """How many tokens it has read."""
        with self._held() as pointer:
            return int(lib.il_session_position(pointer))

    def cancel(self) -> None:
        """Asks the feed that is under way to stop within 512 tokens with CancelledError. From any thread; does nothing
        where none is under way."""
        self._cancelled = True
        pointer = self._pointer  # held until the call returns, whoever closes the session meanwhile
        if pointer is not None:
            lib.il_session_cancel(pointer)

    # ---- forks, and the way back ----

    def fork(self) -> Session:
        """A second session at the same position, which shares nothing that either can change.

        >>> session = Session(Model.load())
        >>> _ = session.feed([1, 2, 3])
        >>> other = session.fork()
        >>> bool((other.logits() == session.logits()).all())
        True
        """
        with self._held() as pointer:
            return Session._of(self.model, make(lib.il_session_fork, "il_session", pointer))

    def rewind(self, position: int) -> None:
        """Goes back to an earlier position, not below `rewind_limit`."""
        with self._held() as pointer:
            call(lib.il_session_rewind, pointer, position)

    @property
    def rewind_limit(self) -> int:
        """The earliest position that it can go back to."""
        with self._held() as pointer:
            return int(lib.il_session_rewind_limit(pointer))

    # ---- files ----

    def save(self, path: Path) -> None:
        """Writes it as a state file. Its size does not grow with the position, except with self-attention."""
        with self._held() as pointer:
            call(lib.il_session_save, pointer, path_bytes(path))

    @classmethod
    def load(cls, model: Model, path: Path) -> Session:
        """The session of a state file, as if it had never stopped."""
        model._engine.check()
        return cls._of(model, make(lib.il_session_load, "il_session", model._pointer, path_bytes(path)))

    def to_bytes(self) -> bytes:
        """The bytes of its state file."""
        pieces: list[bytes] = []
        handle = ffi.new_handle(pieces)
        with self._held() as pointer:
            call(lib.il_session_write_to, pointer, lib.il_py_write, handle)
        return b"".join(pieces)

    @classmethod
    def from_bytes(cls, model: Model, data: bytes) -> Session:
        """The session of a state file's bytes.

        >>> model = Model.load()
        >>> session = Session(model)
        >>> _ = session.feed([1, 2, 3])
        >>> Session.from_bytes(model, session.to_bytes()).position
        3
        """
        model._engine.check()
        return cls._of(
            model, make(lib.il_session_load_from, "il_session", model._pointer, ffi.from_buffer(data), len(data))
        )

    @property
    def fingerprint(self) -> str:
        """The checksum that its state file holds, 32 hex digits: the same for the same history, on every machine."""
        out = ffi.new("char[33]")
        with self._held() as pointer:
            call(lib.il_session_fingerprint, pointer, out)
        return text(out)

    @property
    def note(self) -> Optional[str]:
        """A text of the program's own, which is saved with it; None: there is none."""
        with self._held() as pointer:
            note = lib.il_session_note(pointer)
            return text(note) if note else None

    @note.setter
    def note(self, note: Optional[str]) -> None:
        with self._held() as pointer:
            call(lib.il_session_set_note, pointer, ffi.NULL if note is None else note.encode())

    # ---- what it has learned ----

    def _stats(self) -> Any:
        stats = ffi.new("il_session_stats *")
        with self._held() as pointer:
            lib.il_session_get_stats(pointer, stats)
        return stats

    @property
    def frozen(self) -> bool:
        """Whether it reads without learning."""
        return bool(self._stats().frozen)

    @property
    def mixed(self) -> bool:
        """Whether it was opened with mix."""
        return bool(self._stats().mixed)

    @property
    def state_bytes(self) -> int:
        """Memory of its state, in bytes."""
        return int(self._stats().state_bytes)

    @property
    def tokens_fed(self) -> int:
        """How many tokens it evaluated itself, since it was opened, forked or loaded."""
        return int(self._stats().tokens_fed)

    def layer_stats(self, layer: int) -> LayerStats:
        """What learning has done to layer 0 … layers-1. UnsupportedError for one that does not learn."""
        stats = ffi.new("il_layer_stats *")
        with self._held() as pointer:
            call(lib.il_session_layer_stats, pointer, layer, stats)
        return LayerStats(stats.weight_norm, stats.change_norm, stats.loss_before, stats.loss_after)

    # ---- what comes next ----

    def generate(
        self,
        max_tokens: Optional[int] = None,
        *,
        temperature: Optional[float] = None,
        top_k: Optional[int] = None,
        top_p: Optional[float] = None,
        min_p: Optional[float] = None,
        repeat_penalty: Optional[float] = None,
        seed: int = 0,
        stop: Optional[Iterable[int]] = None,
        recent: TokensLike = (),
    ) -> Iterator[int]:
        """Draws tokens and reads them, one after the other; each has been read when it is given out. The same session
        and seed give the same tokens. A model of pictures draws pixels (:class:`Layout`).

        Parameters that are None are as the files beside the model say (`model.sampling`). stop: tokens before which it
        ends, None: `model.stops`. recent: the last tokens of the prompt, for repeat_penalty.

        >>> session = Session(Model.load())
        >>> _ = session.feed_text("It was a dark and")
        >>> tokens = list(session.generate(5, temperature=0))
        >>> len(tokens), session.model.tokenizer.decode(tokens, started=True)  # doctest: +ELLIPSIS
        (5, ...)
        """
        model = self.model
        options = ffi.new("il_sample_options *", model._usual().sampling)
        for name, value in [
            ("temperature", temperature),
            ("top_k", top_k),
            ("top_p", top_p),
            ("min_p", min_p),
            ("repeat_penalty", repeat_penalty),
            ("seed", seed),
        ]:
            if value is not None:
                setattr(options, name, value)
        stops = np.unique(np.array(model.stops if stop is None else list(stop), np.int32))
        return self._draw(max_tokens, options, stops, as_tokens(recent)[-RECENT:])

    def _draw(self, max_tokens: Optional[int], options: Any, stops: Tokens, recent: Tokens) -> Iterator[int]:
        tokenizer = self.model._own_tokenizer()
        logits = ffi.new("float[]", self._vocab_size)
        drawing = ffi.new("il_py_drawing *")
        drawing.options = options[0]
        drawing.vocab_size = self._vocab_size
        if tokenizer is not None:  # what pads a vocabulary stands for no text, and of pictures only pixels are drawn
            layout = tokenizer._layout
            drawing.vocab_size = min(self._vocab_size, tokenizer.vocab_size if layout is None else layout.levels)
        drawing.logits = logits
        drawing.stops, drawing.n_stops = ints(stops), len(stops)
        drawing.n_recent = len(recent)
        drawing.recent[0 : len(recent)] = recent.tolist()
        draw, error, lock = lib.il_py_draw, self._error, self._lock
        done = 0
        while max_tokens is None or done < max_tokens:
            self._enter()
            try:
                if draw(self._pointer, drawing, error):
                    raise exception(error)
            finally:
                lock.release()
            if drawing.stopped:
                return
            done += 1
            yield drawing.token

    def generate_text(
        self,
        prompt: Union[str, bytes] = "",
        max_tokens: Optional[int] = None,
        *,
        temperature: Optional[float] = None,
        top_k: Optional[int] = None,
        top_p: Optional[float] = None,
        min_p: Optional[float] = None,
        repeat_penalty: Optional[float] = None,
        seed: int = 0,
    ) -> Iterator[str]:
        """Reads a prompt and writes on from it, as `innerloop generate` does: the pieces of text as they come.

        >>> session = Session(Model.load())
        >>> written = "".join(session.generate_text("It was a dark and", 5, temperature=0))
        >>> len(written) > 5
        True
        """
        if self.model.tokenizer._layout is not None:
            raise UnsupportedError("a model of pictures writes no text: feed a header of its layout, generate pixels")
        began = self.position > 0
        tokens = self._encode(prompt) if prompt or not began else np.empty(0, np.int32)
        self.feed(tokens, losses=False)
        drawn = self.generate(
            max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repeat_penalty=repeat_penalty,
            seed=seed,
            recent=tokens,
        )
        return self._write(drawn, began or bool(prompt))

    def _write(self, drawn: Iterator[int], started: bool) -> Iterator[str]:
        decoder = self.model.tokenizer.decoder(started=started)
        for token in drawn:
            piece = decoder.decode(token)
            if piece:
                yield piece
        piece = decoder.decode(-1)
        if piece:
            yield piece

    def score(self, continuations: Sequence[Union[str, bytes, TokensLike]]) -> npt.NDArray[np.float64]:
        """[len(continuations)] ln p of each after what was read, in nats. The session stays as it is. The bits of a
        score do not depend on what is scored beside it.

        >>> session = Session(Model.load())
        >>> _ = session.feed_text("The sun rose in the")
        >>> morning, xylophone = session.score([" morning", " xylophone"])
        >>> bool(morning > xylophone)
        True
        """
        if not self.position:
            raise ArgumentError("nothing was read yet: nothing predicts the first token")
        todo = [
            self.model.tokenizer.encode_next(c) if isinstance(c, (str, bytes)) else as_tokens(c) for c in continuations
        ]
        out = np.zeros(len(todo), np.float64)
        for first in range(0, len(todo), FORKS):
            some = todo[first : first + FORKS]
            with ExitStack() as stack:
                forks = [stack.enter_context(self.fork()) for _ in some]
                for i, fed in enumerate(feed_many(forks, some)):
                    out[first + i] = -fed.losses.astype(np.float64).sum()
        return out

    # ---- the end ----

    def close(self) -> None:
        """Gives its memory back now. It cannot be used after it; what holds it otherwise does that when nobody does."""
        if self._engine.lost:
            self._pointer = None
        if self._pointer is not None:
            with self._held():
                self._pointer = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._pointer is None:
            return "<innerloop.Session: closed>"
        return f"<innerloop.Session of {self.model!r}>"


FORKS = 32  # that score feeds at once


def feed_many(
    sessions: Sequence[Session],
    tokens: Sequence[TokensLike],
    *,
    losses: bool = True,
    logits: bool = False,
    hidden: bool = False,
    slow_losses: bool = False,
) -> list[Fed]:
    """Feeds tokens[i] to sessions[i], all of one model, with one pass over the weights for all. The bits of each do not
    depend on its neighbours.

    >>> model = Model.load()
    >>> first, second = Session(model), Session(model)
    >>> together = feed_many([first, second], [[5, 6, 7], [8, 9]])
    >>> [len(fed.losses) for fed in together]
    [3, 2]
    """
    if len(sessions) != len(tokens):
        raise ArgumentError(f"{len(sessions)} sessions and tokens for {len(tokens)}")
    if len({id(session) for session in sessions}) < len(sessions):
        raise ArgumentError("a session stands twice in one batch")
    if any(session.model._identity != sessions[0].model._identity for session in sessions):
        raise ArgumentError("the sessions are of different models")
    feds = [_room(as_tokens(t), s.model, losses, logits, slow_losses, hidden) for s, t in zip(sessions, tokens)]
    with ExitStack() as stack:
        for session in sessions:
            stack.enter_context(session._held())
        _feed_long(sessions, feds)
    return feds


def _room(tokens: Tokens, model: Model, losses: bool, logits: bool, slow_losses: bool, hidden: bool) -> Fed:
    n = len(tokens)
    return Fed(
        tokens,
        np.empty(n, np.float32) if losses else None,
        np.empty((n, model.vocab_size), np.float32) if logits else None,
        np.empty(n, np.float32) if slow_losses else None,
        np.empty((n, model.width), np.float32) if hidden else None,
    )


def _check(tokens: Tokens, vocab_size: int) -> None:
    if len(tokens) and not (0 <= int(tokens.min()) and int(tokens.max()) < vocab_size):
        at = int(np.argmax((tokens < 0) | (tokens >= vocab_size)))
        raise ArgumentError(f"token {at} is {tokens[at]}: ids go from 0 to {vocab_size - 1}")


def _feed_long(sessions: Sequence[Session], feds: Sequence[Fed]) -> None:
    """Feeds what many calls take, of sessions that are held. Each call reads as much as a chunk of the library, in the
    same order, so that it costs nothing; between them Python sees to its signals, and a cancelled session stops all."""
    for session in sessions:
        session._cancelled = False
    for session, fed in zip(sessions, feds):
        _check(fed.tokens, session._vocab_size)  # all of them, before the first is read
    n = len(sessions)
    feeds, error = ffi.new("il_feed[]", n), ffi.new("il_error *")
    rows = [
        [
            ffi.NULL if array is None else ffi.from_buffer(kind, array)
            for kind, array in [
                ("int32_t[]", fed.tokens),
                ("float[]", fed._losses),
                ("float[]", fed._logits),
                ("float[]", fed._slow_losses),
                ("float[]", fed._hidden),
            ]
        ]
        for fed in feds
    ]
    at, left = [0] * n, sum(len(fed.tokens) for fed in feds)
    begun = 0  # all before it have been read
    failed: Optional[Exception] = None
    while left:
        room, used = CHUNK, 0
        while len(feds[begun].tokens) == at[begun]:
            begun += 1
        for i in range(begun, n):
            take = min(room, len(feds[i].tokens) - at[i])
            tokens, losses, logits, slow, hidden = rows[i]
            feeds[used] = {
                "session": sessions[i]._pointer,
                "tokens": tokens + at[i],
                "n": take,
                "nll": losses + at[i] if losses else losses,
                "logits": logits + at[i] * sessions[i]._vocab_size if logits else logits,
                "slow_nll": slow + at[i] if slow else slow,
                "hidden": hidden + at[i] * sessions[i].model.width if hidden else hidden,
            }
            at[i] += take
            room -= take
            used += 1
            if not room:
                break
        left -= CHUNK - room
        if any(session._cancelled for session in sessions):
            raise CancelledError("the feed was cancelled")
        if lib.il_feed_many(feeds, used, error):
            # Where only outputs are not finite all was read, and so is the rest.
            if error.status != lib.IL_ERR_NONFINITE or any(feeds[i].consumed < feeds[i].n for i in range(used)):
                raise exception(error)
            failed = failed or exception(error)
    if failed:
        raise failed
