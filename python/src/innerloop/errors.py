"""What can go wrong, by kind. Every error of the library is an :class:`Error` and, where Python has a word for it, one
of Python's own kinds too; its text names the file, the field or the value."""

from __future__ import annotations


class Error(Exception):
    """Whatever the library refuses."""


class ArgumentError(Error, ValueError):
    """An argument is outside its documented range."""


class OutOfMemoryError(Error, MemoryError):
    """An allocation failed."""


class FileError(Error, OSError):
    """The operating system refused to open, read, write or rename."""


class FormatError(Error, ValueError):
    """A file is damaged, contradicts itself or holds what its format forbids."""


class UnsupportedError(Error):
    """Well-formed, but outside what this build does."""


class MismatchError(Error, ValueError):
    """Two inputs do not belong together: tokenizer and model, state and model."""


class NonFiniteError(Error, ArithmeticError):
    """A NaN or infinity where a number must be."""


class CancelledError(Error):
    """Session.cancel, or a callback that asked to stop."""


class EndError(Error, EOFError):
    """Nothing left to read."""
