"""Any bytes, made small by a model that learns them."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Optional, Union

import numpy as np
import numpy.typing as npt

from ._core import Progress, exception, ffi, lib, text
from .errors import MismatchError
from .model import Model, all_bundled
from .session import Session

Bytes = Union[bytes, bytearray, memoryview, "npt.NDArray[np.uint8]"]
Callback = Callable[[int, int], Optional[bool]]


class Compressed(NamedTuple):
    """What compressed data says of itself."""

    bytes: int
    """Of the original."""
    streams: int
    """Into how many it was cut."""
    mixed: bool
    """Whether it was also predicted by what followed the same tokens before."""
    model: str
    """Fingerprint of the model that it needs."""
    tokenizer: str
    """Of the tokenizer."""
    state: str
    """Of the session that it goes on from; "": none."""
    picture: bool
    """It is a picture by its pixels, which `innerloop decompress` gives back, not bytes."""


def compressed_info(data: Bytes) -> Compressed:
    """What compressed data says of itself, which takes no model.

    >>> compressed_info(compress(b"So it goes. " * 50)).bytes
    600
    """
    info, error = ffi.new("il_compressed_info *"), ffi.new("il_error *")
    source = ffi.from_buffer(data)
    if lib.il_compressed_get_info(source, len(source), info, error):
        raise exception(error)
    return Compressed(
        int(info.bytes),
        int(info.streams),
        bool(info.mixed),
        text(info.model),
        text(info.tokenizer),
        text(info.state),
        bool(info.picture),
    )


def compress(
    data: Bytes,
    model: Optional[Model] = None,
    *,
    start: Optional[Session] = None,
    streams: int = 0,
    mix: bool = True,
    progress: Optional[Callback] = None,
) -> bytes:
    """Compresses bytes by a model that learns them while it codes them. model None: the bundled model "any". start: go
    on from this session, which decompressing needs too. streams: into how many parts it is cut, 0: one for each 96 KiB.
    progress: called with bytes done and in all; returning False stops it with CancelledError.

    >>> data = b"It was the best of times, it was the worst of times, " * 20
    >>> small = compress(data)
    >>> len(small) < len(data) / 5, decompress(small) == data
    (True, True)
    """
    if model is None:
        model = start.model if start is not None else Model.load("any")
    options = ffi.new("il_codec_options *")
    lib.il_codec_options_default(options)
    options.streams, options.mix = streams, mix
    return _run(lib.il_compress, data, model, start, options, progress)


def decompress(
    data: Bytes,
    model: Optional[Model] = None,
    *,
    start: Optional[Session] = None,
    bytes_max: int = 0,
    progress: Optional[Callback] = None,
) -> bytes:
    """Gives back what `compress` was given, on any machine. model None: the bundled model that it was compressed by.
    bytes_max: refuse what says it is longer; 0: no limit. MismatchError for another model or state, FormatError for
    what is damaged."""
    if model is None:
        model = start.model if start is not None else _model_of(compressed_info(data).model)
    options = ffi.new("il_codec_options *")
    lib.il_codec_options_default(options)
    options.bytes_max = bytes_max
    return _run(lib.il_decompress, data, model, start, options, progress)


def _model_of(fingerprint: str) -> Model:
    for path in all_bundled().values():
        model = Model.load(path)
        if model.fingerprint == fingerprint:
            return model
    raise MismatchError(f"it was compressed by the model with fingerprint {fingerprint}, which is no bundled one")


def _run(
    function: Any, data: Bytes, model: Model, start: Optional[Session], options: Any, progress: Optional[Callback]
) -> bytes:
    model._engine.check()
    told = Progress(progress)
    handle = ffi.new_handle(told)
    options.progress, options.user = lib.il_py_progress, handle
    output, error = ffi.new("il_buffer *"), ffi.new("il_error *")
    source = ffi.from_buffer(data)
    tokenizer = model.tokenizer._pointer
    if start is None:
        status = function(model._pointer, tokenizer, source, len(source), options, output, error)
    else:
        with start._held() as pointer:
            options.start = pointer
            status = function(model._pointer, tokenizer, source, len(source), options, output, error)
    if told.raised is not None:
        lib.il_buffer_free(output)
        raise told.raised
    if status:
        raise exception(error)
    result: bytes = ffi.buffer(output.data, output.bytes)[:] if output.bytes else b""
    lib.il_buffer_free(output)
    return result
