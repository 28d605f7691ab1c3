"""What all modules share: errors of the library as exceptions, objects of the library that are released when nobody
holds them, arrays as pointers."""

from __future__ import annotations

import _thread
import logging
import os
import weakref
from typing import Any, Callable, Optional, Sequence, Union, cast

import numpy as np
import numpy.typing as npt

from . import errors
from ._native import ffi as ffi
from ._native import lib as lib

Tokens = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
TokensLike = Union[Sequence[int], npt.NDArray[np.integer[Any]]]
Path = Union[str, "os.PathLike[str]"]

NULL = ffi.NULL

_KINDS = {
    lib.IL_ERR_ARG: errors.ArgumentError,
    lib.IL_ERR_NOMEM: errors.OutOfMemoryError,
    lib.IL_ERR_IO: errors.FileError,
    lib.IL_ERR_FORMAT: errors.FormatError,
    lib.IL_ERR_UNSUPPORTED: errors.UnsupportedError,
    lib.IL_ERR_MISMATCH: errors.MismatchError,
    lib.IL_ERR_NONFINITE: errors.NonFiniteError,
    lib.IL_ERR_CANCELLED: errors.CancelledError,
    lib.IL_ERR_END: errors.EndError,
}

log = logging.getLogger("innerloop")
log.addHandler(logging.NullHandler())


def exception(error: Any) -> errors.Error:
    """The exception that an il_error is."""
    message: str = ffi.string(error.message).decode("utf-8", "replace")
    return _KINDS.get(error.status, errors.Error)(message)


def call(function: Callable[..., int], *arguments: Any) -> None:
    """Calls a function of the library, whose last argument is an il_error."""
    error = ffi.new("il_error *")
    if function(*arguments, error):
        raise exception(error)


def make(function: Callable[..., int], kind: str, *arguments: Any) -> Any:
    """Calls one that gives out a pointer before its il_error, and returns that."""
    out = ffi.new(kind + " **")
    call(function, *arguments, out)
    return out[0]


def path_bytes(path: Path) -> bytes:
    return os.fsencode(path)


def write(path: bytes, data: bytes) -> None:
    """A file that appears whole or not at all."""
    output = make(lib.il_output_open, "il_output", path)
    try:
        call(lib.il_output_write, output, data, len(data))
    except BaseException:
        lib.il_output_abandon(output)
        raise
    call(lib.il_output_finish, output)


def text(pointer: Any) -> str:
    result: str = ffi.string(pointer).decode("utf-8", "replace")
    return result


def as_tokens(tokens: TokensLike) -> Tokens:
    """Tokens as the library takes them; arrays of int32 are not copied."""
    if type(tokens) is np.ndarray and tokens.dtype == np.int32 and tokens.ndim == 1 and tokens.flags.c_contiguous:
        return cast(Tokens, tokens)
    array = np.asarray(tokens)
    if array.ndim != 1:
        raise errors.ArgumentError(f"tokens have {array.ndim} dimensions, not one")
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise errors.ArgumentError(f"tokens are {array.dtype}, not integers")
    if array.size and (array.min() < -(2**31) or array.max() >= 2**31):
        raise errors.ArgumentError("a token does not fit in 32 bits")
    return np.ascontiguousarray(array, dtype=np.int32)


def ints(array: npt.NDArray[np.int32]) -> Any:
    """An array as const int32_t *, not copied."""
    return ffi.from_buffer("int32_t[]", array)


def floats(array: Floats) -> Any:
    return ffi.from_buffer("float[]", array)


def tokens_of(buffer: Any) -> Tokens:
    """What an il_tokens holds, which is freed."""
    if buffer.n:
        array = np.frombuffer(ffi.buffer(buffer.ids, 4 * buffer.n), dtype=np.int32).copy()
    else:
        array = np.empty(0, np.int32)
    lib.il_tokens_free(buffer)
    return array


# ---- engines, and what lives on them ----


class Handle:
    """An il_engine, closed when nothing that was opened on it is left. `lost`: this process is a fork of the one whose
    threads it has, so that nothing of it may be called any more."""

    __slots__ = ("pointer", "lost", "__weakref__")

    def __init__(self, pointer: Any) -> None:
        self.pointer = pointer
        self.lost = False
        _handles.add(self)

    def __del__(self) -> None:
        if not self.lost:
            lib.il_engine_close(self.pointer)

    def check(self) -> None:
        if self.lost:
            raise RuntimeError(
                "this process was forked, and the engine's threads stayed in its parent: load models after the fork, "
                "or start processes by multiprocessing's 'spawn'"
            )


_handles: "weakref.WeakSet[Handle]" = weakref.WeakSet()


def _forked() -> None:
    for handle in list(_handles):
        handle.lost = True


os.register_at_fork(after_in_child=_forked)


def own(pointer: Any, release: Callable[[Any], None], engine: Handle) -> Any:
    """The pointer, released when nobody holds it; its engine lives at least as long."""

    def let_go(pointer: Any) -> None:
        if not engine.lost:
            release(pointer)

    return ffi.gc(pointer, let_go)


# ---- callbacks ----


class Progress:
    """A progress callback of Python's for a call of the library, and what it raised."""

    def __init__(self, function: Optional[Callable[[int, int], Optional[bool]]]) -> None:
        self.function = function
        self.raised: Optional[BaseException] = None


@ffi.def_extern(error=1)  # type: ignore[untyped-decorator]
def il_py_progress(user: Any, done: int, total: int) -> int:
    progress: Progress = ffi.from_handle(user)
    try:
        return 1 if progress.function is not None and progress.function(done, total) is False else 0
    except BaseException as error:  # KeyboardInterrupt too: it is raised again when the library has returned
        progress.raised = error
        return 1


@ffi.def_extern(error=1)  # type: ignore[untyped-decorator]
def il_py_write(user: Any, data: Any, size: int) -> int:
    ffi.from_handle(user).append(ffi.buffer(data, size)[:])
    return 0


@ffi.def_extern()  # type: ignore[untyped-decorator]
def il_py_taken(user: Any, name: Any, fate: int) -> None:
    ffi.from_handle(user)[fate].append(text(name))


_LEVELS = {lib.IL_LOG_DEBUG: logging.DEBUG, lib.IL_LOG_INFO: logging.INFO, lib.IL_LOG_WARN: logging.WARNING}


@ffi.def_extern()  # type: ignore[untyped-decorator]
def il_py_log(user: Any, level: int, line: Any) -> None:
    try:
        log.log(_LEVELS.get(level, logging.INFO), "%s", text(line))
    except KeyboardInterrupt:  # of Ctrl-C while the line is written: not this function's to swallow
        _thread.interrupt_main()
