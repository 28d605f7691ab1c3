"""Threads and kernels that models run on."""

from __future__ import annotations

import threading
from typing import Optional

from ._core import Handle, ffi, lib, make, text


class Engine:
    """Threads and kernels. Most programs need none of their own: models are loaded on :func:`default_engine`.

    threads: 1 to 256, 0 for one per CPU that this process may use. kernels: "portable", "avx2", "avx512",
    "avx512_vnni", "neon"; None for the best that this CPU has. Results are the same bits with any of them.

    >>> engine = Engine(threads=1, kernels="portable")
    >>> engine.threads, engine.kernels
    (1, 'portable')
    """

    def __init__(self, threads: int = 0, kernels: Optional[str] = None) -> None:
        options = ffi.new("il_engine_options *")
        lib.il_engine_options_default(options)
        options.threads = threads
        name = ffi.NULL if kernels is None else ffi.new("char[]", kernels.encode())
        options.kernels = name
        options.log = lib.il_py_log
        self._handle = Handle(make(lib.il_engine_open, "il_engine", options))

    @classmethod
    def _of(cls, handle: Handle) -> Engine:
        engine = cls.__new__(cls)
        engine._handle = handle
        return engine

    @property
    def threads(self) -> int:
        """How many threads it has."""
        return int(lib.il_engine_threads(self._handle.pointer))

    @property
    def kernels(self) -> str:
        """The kernels in use."""
        return text(lib.il_engine_kernels(self._handle.pointer))

    def __repr__(self) -> str:
        return f"<innerloop.Engine: {self.threads} threads, {self.kernels}>"


_default: Optional[Engine] = None
_lock = threading.Lock()


def default_engine() -> Engine:
    """The engine of everything that is not given another: one thread per CPU, opened when it is first asked for.

    >>> default_engine() is default_engine()
    True
    """
    global _default
    with _lock:
        if _default is None or _default._handle.lost:
            _default = Engine()
        return _default


def handle_of(engine: Optional[Engine]) -> Handle:
    handle = (default_engine() if engine is None else engine)._handle
    handle.check()
    return handle
