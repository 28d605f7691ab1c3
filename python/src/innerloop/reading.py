"""Files, read once."""

from __future__ import annotations

from typing import Callable, Iterator, Optional

import numpy as np

from ._core import Path, Tokens
from .data import parts
from .model import Model
from .session import Fed, Session

LINE_BYTES_MAX = 1 << 16  # a longer line counts as several, as in the command
BATCH = 2048  # tokens after which what was cut is fed


def read(
    path: Path,
    model: Optional[Model] = None,
    *,
    session: Optional[Session] = None,
    frozen: bool = False,
    mix: bool = False,
    format: str = "auto",
    field: Optional[str] = None,
    progress: Optional[Callable[[Fed], Optional[bool]]] = None,
) -> Session:
    """Reads a file line by line and returns the session that it leaves: the same state, bit for bit, that
    `innerloop read` keeps. model None: the bundled model "reader". session: go on from this one. frozen, mix: of a new
    one. format, field: as for `documents`. progress: called with what was fed, about every 2,048 tokens; returning
    False ends the reading.
    """
    if session is None:
        session = Session(model if model is not None else Model.load(), frozen=frozen, mix=mix)
    pending: list[Tokens] = []
    n = 0
    for tokens in _lines(session, path, format, field):
        pending.append(tokens)
        n += len(tokens)
        if n >= BATCH:
            fed = session.feed(np.concatenate(pending), losses=progress is not None)
            pending, n = [], 0
            if progress is not None and progress(fed) is False:
                return session
    if n:
        fed = session.feed(np.concatenate(pending), losses=progress is not None)
        if progress is not None:
            progress(fed)
    return session


def _lines(session: Session, path: Path, format: str, field: Optional[str]) -> Iterator[Tokens]:
    """The tokens of every line; documents end where lines do."""
    tokenizer, bos = session.model.tokenizer, session.model.bos
    follows = session.position > 0
    if not follows and bos >= 0:
        yield np.array([bos], np.int32)
    held = b""
    for part, begins in parts(path, format=format, field=field, engine=session.model.engine):
        if begins and part and held and not held.endswith(b"\n"):
            held += b"\n"
        held += part
        *lines, held = held.split(b"\n")
        for line in [line + b"\n" for line in lines]:
            while len(line) > LINE_BYTES_MAX:
                end = _end(line)
                yield tokenizer.encode_next(line[:end], follows=follows)
                follows, line = True, line[end:]
            yield tokenizer.encode_next(line, follows=follows)
            follows = True
        while len(held) >= LINE_BYTES_MAX:
            end = _end(held)
            yield tokenizer.encode_next(held[:end], follows=follows)
            follows, held = True, held[end:]
    if held:
        yield tokenizer.encode_next(held, follows=follows)


def _end(line: bytes) -> int:
    """Where a line that is too long is cut: after its last whole character."""
    for back in range(1, 4):
        if line[LINE_BYTES_MAX - back] & 0xC0 == 0xC0:
            return LINE_BYTES_MAX - back
    return LINE_BYTES_MAX
