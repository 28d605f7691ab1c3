"""Texts out of files, and batches of tokens for training."""

from __future__ import annotations

from typing import Any, Iterator, Literal, NamedTuple, Optional, Sequence, Union

import numpy as np
import numpy.typing as npt

from ._core import Path, Tokens, call, exception, ffi, ints, lib, make, own, path_bytes, text
from .engine import Engine, handle_of
from .errors import ArgumentError
from .tokenizer import Tokenizer, paths

_SHUFFLES: dict[Union[bool, str], int] = {False: 0, True: 1, "computed": 2}

_FORMATS = {text(lib.il_format_name(i)): i for i in range(lib.IL_FORMAT_BIN + 1)}


def _documents_options(options: Any, format: str, field: Optional[str], skip_bad_lines: bool) -> Any:
    if format not in _FORMATS:
        raise ArgumentError(f"format {format!r}: it is one of " + ", ".join(_FORMATS))
    options.format = _FORMATS[format]
    keep = ffi.NULL if field is None else ffi.new("char[]", field.encode())
    options.field = keep
    options.skip_bad_lines = skip_bad_lines
    return keep


def parts(
    path: Path,
    *,
    format: str = "auto",
    field: Optional[str] = None,
    skip_bad_lines: bool = False,
    engine: Optional[Engine] = None,
) -> Iterator[tuple[bytes, bool]]:
    """The documents of a file as `documents` finds them, in parts, in constant memory: bytes, and whether a document
    begins with them."""
    handle = handle_of(engine)
    options, document = ffi.new("il_documents_options *"), ffi.new("il_document *")
    lib.il_documents_options_default(options)
    keep = _documents_options(options, format, field, skip_bad_lines)
    source = own(
        make(lib.il_documents_open, "il_documents", handle.pointer, path_bytes(path), options),
        lib.il_documents_close,
        handle,
    )
    error = ffi.new("il_error *")
    while True:
        status = lib.il_documents_part(source, document, error)
        if status == lib.IL_ERR_END:
            break
        if status:
            raise exception(error)
        yield ffi.buffer(document.text, document.bytes)[:] if document.bytes else b"", bool(document.begins)
    del keep


def documents(
    path: Path,
    *,
    format: str = "auto",
    field: Optional[str] = None,
    skip_bad_lines: bool = False,
    engine: Optional[Engine] = None,
) -> Iterator[str]:
    """The documents of a file: text, JSON lines or a JSON array, also compressed by gzip or zstd. What it holds is
    found out. field: of JSON objects, the string that is the text (None: "text"). Broken characters are U+FFFD."""
    pending: list[bytes] = []
    for part, begins in parts(path, format=format, field=field, skip_bad_lines=skip_bad_lines, engine=engine):
        if begins and pending:
            yield b"".join(pending).decode("utf-8", "replace")
            pending = []
        pending.append(part)
    yield b"".join(pending).decode("utf-8", "replace")


class Cursor(NamedTuple):
    """Where the next batch of data lies."""

    epoch: int
    batch: int


class Data:
    """Batches of tokens for training: of files, or given one by one.

    files: token files, or documents, which a tokenizer cuts. None: a :class:`Trainer` steps on arrays. length: inputs
    (and targets) of a sequence. sequences: how many a batch has. shuffle: in an order drawn anew each epoch, by
    seed; "computed": by arithmetic, which takes no memory for each sequence. stateful: windows never cross documents,
    and each of the sequences reads on through its own. loop: begin again at the end. cache_dir: where tokenized text
    is kept. weights: of each file, how much of all sequences comes of it, 0: it goes on with the file before it; None:
    all are one stream. memory_max: files of more bytes in all stay on disk as far as they can, 0: all are loaded.
    bos_token: what begins a document in token files, -1: the tokenizer's. skip_bad_lines: a line of JSON without a text
    is logged, not an error.
    """

    def __init__(
        self,
        files: Optional[Sequence[Path]] = None,
        *,
        tokenizer: Optional[Tokenizer] = None,
        vocab_size: Optional[int] = None,
        length: int = 2048,
        sequences: int = 1,
        shuffle: Union[bool, Literal["computed"]] = False,
        stateful: bool = False,
        seed: int = 0,
        loop: bool = True,
        cache_dir: Optional[Path] = None,
        weights: Optional[Sequence[float]] = None,
        memory_max: int = 0,
        bos_token: int = -1,
        format: str = "auto",
        field: Optional[str] = None,
        skip_bad_lines: bool = False,
        engine: Optional[Engine] = None,
    ) -> None:
        handle = handle_of(engine)
        if vocab_size is None:
            if tokenizer is None:
                raise ArgumentError("data need a tokenizer, or vocab_size where the files hold tokens")
            vocab_size = tokenizer.vocab_size
        options = ffi.new("il_data_options *")
        lib.il_data_options_default(options)
        options.length, options.sequences = length, sequences
        if shuffle not in _SHUFFLES:
            raise ArgumentError(f'shuffle {shuffle!r}: it is False, True or "computed"')
        options.shuffle = _SHUFFLES[shuffle]
        options.stateful, options.seed, options.loop = stateful, seed, loop
        options.memory_max, options.bos_token = memory_max, bos_token
        keep = [_documents_options(options.documents, format, field, skip_bad_lines)]
        if weights is not None:
            if files is None or len(weights) != len(files):
                raise ArgumentError(f"{len(weights)} weights: each file has one")
            keep.append(ffi.new("double[]", list(weights)))
            options.weights = keep[-1]
        if cache_dir is not None:
            keep.append(ffi.new("char[]", path_bytes(cache_dir)))
            options.cache_dir = keep[-1]
        if files is None:
            pointer = make(lib.il_data_open_given, "il_data", handle.pointer, vocab_size, options)
        else:
            names, kept = paths(files)
            keep.append(kept)
            pointer = make(
                lib.il_data_open,
                "il_data",
                handle.pointer,
                names,
                len(files),
                ffi.NULL if tokenizer is None else tokenizer._pointer,
                vocab_size,
                options,
            )
        self._engine = handle
        self._pointer = own(pointer, lib.il_data_close, handle)
        self.given = files is None
        """Whether its batches are given one by one."""
        self.length = length
        """Inputs of a sequence."""
        self.sequences = sequences
        """Sequences of a batch."""
        self.stateful = stateful
        """Whether sequences go on from batch to batch."""

    def give(self, tokens: npt.ArrayLike, fresh: Optional[npt.ArrayLike] = None) -> None:
        """The next batch, [sequences, length+1]. fresh [sequences]: which start from a fresh state; None: all."""
        batch = np.ascontiguousarray(tokens, dtype=np.int32)
        if batch.shape != (self.sequences, self.length + 1):
            raise ArgumentError(f"a batch of shape {batch.shape}: it is [{self.sequences}, {self.length + 1}]")
        starts = ffi.NULL
        if fresh is not None:
            flags = np.ascontiguousarray(fresh, dtype=np.uint8)
            if flags.shape != (self.sequences,):
                raise ArgumentError(f"fresh of shape {flags.shape}: it is [{self.sequences}]")
            starts = ffi.from_buffer("unsigned char[]", flags)
        call(lib.il_data_give, self._pointer, ints(batch), starts)

    def next(self) -> tuple[Tokens, npt.NDArray[np.bool_]]:
        """The next batch [sequences, length+1], and which sequences start from a fresh state [sequences]. EndError at
        the end, without `loop`."""
        batch = ffi.new("il_batch *")
        call(lib.il_data_next, self._pointer, batch)
        n = self.sequences * (self.length + 1)
        tokens = np.frombuffer(ffi.buffer(batch.tokens, 4 * n), np.int32).copy().reshape(self.sequences, -1)
        fresh = np.frombuffer(ffi.buffer(batch.fresh, self.sequences), np.uint8).astype(np.bool_)
        return tokens, fresh

    @property
    def tokens(self) -> int:
        """How many tokens the files have."""
        return int(lib.il_data_tokens(self._pointer))

    @property
    def batches_per_epoch(self) -> int:
        """How many batches they give."""
        return int(lib.il_data_batches_per_epoch(self._pointer))

    @property
    def cursor(self) -> Cursor:
        """Where the next batch lies."""
        cursor = ffi.new("il_cursor *")
        lib.il_data_tell(self._pointer, cursor)
        return Cursor(int(cursor.epoch), int(cursor.batch))

    def seek(self, cursor: Cursor) -> None:
        """Goes there."""
        call(lib.il_data_seek, self._pointer, ffi.new("il_cursor *", tuple(cursor)))
