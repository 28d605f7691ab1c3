"""Text as tokens."""

from __future__ import annotations

from typing import Any, Iterable, Optional, Sequence, Union

from ._core import Path, Tokens, call, exception, ffi, lib, make, own, path_bytes, text, tokens_of
from .engine import Engine, handle_of
from .errors import UnsupportedError
from .media import Layout


class Decoder:
    """Tokens as text, one after the other: a character that several tokens make comes out with the last of them."""

    def __init__(self, tokenizer: Tokenizer, started: bool = False, exact: bool = False) -> None:
        self._pointer = tokenizer._pointer
        self._error = ffi.new("il_error *")
        self._state = ffi.new("il_decoder *")
        self._state.started = started
        self._state.form = lib.IL_DECODE_EXACT if exact else lib.IL_DECODE_UTF8
        self._capacity = lib.il_tokenizer_piece_bytes_max(tokenizer._pointer)
        self._text = ffi.new("char[]", self._capacity)
        self._bytes = ffi.new("size_t *")

    def decode_bytes(self, token: int) -> bytes:
        """The bytes that token completes. token -1: what is left of an unfinished character."""
        if lib.il_tokenizer_decode(
            self._pointer, self._state, token, self._text, self._capacity, self._bytes, self._error
        ):
            raise exception(self._error)
        result: bytes = ffi.buffer(self._text, self._bytes[0])[:]
        return result

    def decode(self, token: int) -> str:
        """The same as text."""
        return self.decode_bytes(token).decode("utf-8", "replace")


class Tokenizer:
    """Cuts text into tokens. It does not change, and may be shared by threads.

    >>> tokenizer = Tokenizer.load("bytes")
    >>> tokenizer.encode("Hi").tolist()
    [72, 105]
    >>> tokenizer.decode([72, 105])
    'Hi'
    """

    def __init__(self, pointer: Any, engine: Any) -> None:
        self._engine = engine
        self._pointer = own(pointer, lib.il_tokenizer_close, engine)
        info = ffi.new("il_tokenizer_info *")
        lib.il_tokenizer_get_info(pointer, info)
        self.kind = text(info.kind)
        """"bytes", "sentencepiece", "bpe" or "pictures"."""
        self.vocab_size = int(info.vocab_size)
        """Its largest token and 1; a model's may be larger."""
        self.bos = int(info.bos)
        """The token that begins a text, -1: none."""
        self.eos = int(info.eos)
        """The token that ends a text, -1: none."""
        self.unk = int(info.unk)
        """The token of what it does not know, -1: none."""
        self._layout = Layout(self._pointer) if self.kind == "pictures" else None

    @classmethod
    def load(cls, path: Path, *, engine: Optional[Engine] = None) -> Tokenizer:
        """path: a SentencePiece .model file, a tokenizer.json, a GGUF file, a pictures.json, or "bytes"."""
        handle = handle_of(engine)
        return cls(make(lib.il_tokenizer_load, "il_tokenizer", handle.pointer, path_bytes(path)), handle)

    @classmethod
    def train(cls, files: Sequence[Path], vocab_size: int, path: Path, *, engine: Optional[Engine] = None) -> Tokenizer:
        """Trains a SentencePiece BPE tokenizer on the documents of files and writes it to path. vocab_size: how many
        tokens at most."""
        handle = handle_of(engine)
        names, _keep = paths(files)
        call(lib.il_tokenizer_train, handle.pointer, names, len(files), ffi.NULL, vocab_size, path_bytes(path))
        return cls.load(path, engine=engine)

    @property
    def layout(self) -> Layout:
        """What pictures are as its tokens. UnsupportedError where it cuts text."""
        if self._layout is None:
            raise UnsupportedError(f"a tokenizer of text ({self.kind}) has no pictures")
        return self._layout

    def encode(self, text: Union[str, bytes], *, special: bool = False, template: bool = False) -> Tokens:
        """The tokens [n] of a text; bytes may be any. special: special tokens that are written out in it, such as
        "<|im_start|>", are those tokens. template: with what the tokenizer puts before and behind a text."""
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        tokens = ffi.new("il_tokens *")
        how = special * lib.IL_ENCODE_SPECIAL | template * lib.IL_ENCODE_TEMPLATE
        call(lib.il_tokenizer_encode_as, self._pointer, how, ffi.from_buffer(data), len(data), tokens)
        return tokens_of(tokens)

    def encode_next(self, text: Union[str, bytes], *, follows: bool = True) -> Tokens:
        """The tokens of a text that goes on from an earlier one, as the command encodes it: without the space that
        some tokenizers put before every text. follows False: as `encode`."""
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        if follows:
            tokens = self.encode(b"\n" + data)
            skip = self._line_end(tokens)
            if skip:
                return tokens[skip:]
        return self.encode(data)

    def _line_end(self, tokens: Tokens) -> int:
        """How many tokens at the front stand for just the line end that was put before; 0: none do."""
        decoder = Decoder(self, exact=True)
        for i, token in enumerate(tokens.tolist()):
            piece = decoder.decode_bytes(token)
            if piece:
                return i + 1 if piece == b"\n" else 0
        return 0

    def decoder(self, *, started: bool = False, exact: bool = False) -> Decoder:
        """Decodes tokens as they come. started: they go on from earlier text. exact: the very bytes that were encoded,
        of an unfinished character too."""
        return Decoder(self, started, exact)

    def decode_bytes(self, tokens: Iterable[int], *, started: bool = False) -> bytes:
        """The very bytes of tokens."""
        decoder = Decoder(self, started, exact=True)
        return b"".join([decoder.decode_bytes(int(token)) for token in tokens] + [decoder.decode_bytes(-1)])

    def decode(self, tokens: Iterable[int], *, started: bool = False) -> str:
        """The text of tokens, broken characters as U+FFFD. started: they go on from earlier text."""
        decoder = Decoder(self, started)
        return "".join([decoder.decode(int(token)) for token in tokens] + [decoder.decode(-1)])

    def save(self, path: Path) -> None:
        """Copies its file into a model directory; does nothing for bytes."""
        call(lib.il_tokenizer_save, self._pointer, path_bytes(path))

    def __repr__(self) -> str:
        return f"<innerloop.Tokenizer: {self.kind}, vocabulary {self.vocab_size}>"


def paths(files: Sequence[Path]) -> tuple[Any, list[Any]]:
    """const char *const *, and what must be held as long as it."""
    keep = [ffi.new("char[]", path_bytes(file)) for file in files]
    return ffi.new("char *[]", keep), keep
