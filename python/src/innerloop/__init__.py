"""innerloop: models that learn while they read.

>>> import innerloop
>>> model = innerloop.Model.load("reader")
>>> session = innerloop.Session(model)
>>> text = "".join(session.generate_text("It was a dark and", max_tokens=20))
"""

from ._core import lib as _lib
from ._core import text as _text
from .codec import Compressed, compress, compressed_info, decompress
from .config import Config
from .data import Cursor, Data, documents
from .engine import Engine, default_engine
from .errors import (
    ArgumentError,
    CancelledError,
    EndError,
    Error,
    FileError,
    FormatError,
    MismatchError,
    NonFiniteError,
    OutOfMemoryError,
    UnsupportedError,
)
from .media import Layout, Picture, pictures, save_pictures
from .model import Model, Sampling, Taken, bundled
from .reading import read
from .session import Fed, LayerStats, Session, feed_many
from .tokenizer import Decoder, Tokenizer
from .trainer import Step, Trainer

__version__ = _text(_lib.il_version())

__all__ = [
    "ArgumentError",
    "CancelledError",
    "Compressed",
    "Config",
    "Cursor",
    "Data",
    "Decoder",
    "EndError",
    "Engine",
    "Error",
    "Fed",
    "FileError",
    "FormatError",
    "LayerStats",
    "Layout",
    "MismatchError",
    "Model",
    "NonFiniteError",
    "OutOfMemoryError",
    "Picture",
    "Sampling",
    "Session",
    "Step",
    "Taken",
    "Tokenizer",
    "Trainer",
    "UnsupportedError",
    "bundled",
    "compress",
    "compressed_info",
    "decompress",
    "default_engine",
    "documents",
    "feed_many",
    "pictures",
    "read",
    "save_pictures",
]
