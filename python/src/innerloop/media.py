"""Pictures and films: files of them, and both as tokens of a model that draws."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator, NamedTuple, Optional, Union

import numpy as np
import numpy.typing as npt

from ._core import Path, Tokens, TokensLike, as_tokens, call, exception, ffi, ints, lib, make, own, path_bytes
from .engine import Engine, handle_of
from .errors import ArgumentError

Pixels = npt.NDArray[np.uint8]


class Picture(NamedTuple):
    """A picture, or a frame of a film."""

    pixels: Pixels
    """[height, width] greys, or [height, width, 3] red, green and blue."""
    begins: bool
    """It is a picture, or the first frame of a film."""
    ms: int
    """How long it is shown, in milliseconds; 0: the file does not say."""


def pictures(path: Path, *, engine: Optional[Engine] = None) -> Iterator[Picture]:
    """The pictures of a file: PNG, PGM and PPM, IDX, GIF, y4m, also compressed by gzip or zstd."""
    handle = handle_of(engine)
    file = own(
        make(lib.il_pictures_open, "il_pictures", handle.pointer, path_bytes(path), ffi.NULL, ffi.NULL),
        lib.il_pictures_close,
        handle,
    )
    picture, error = ffi.new("il_picture *"), ffi.new("il_error *")
    while True:
        status = lib.il_pictures_next(file, picture, error)
        if status == lib.IL_ERR_END:
            return
        if status:
            raise exception(error)
        shape = (picture.height, picture.width) if picture.channels == 1 else (picture.height, picture.width, 3)
        pixels = np.frombuffer(ffi.buffer(picture.pixels, int(np.prod(shape))), np.uint8).copy().reshape(shape)
        yield Picture(pixels, bool(picture.begins), int(picture.ms))


def save_pictures(
    path: Path, pixels: Union[Pixels, Iterable[Pixels]], *, ms: int = 100, engine: Optional[Engine] = None
) -> None:
    """Writes a picture, or the frames of a film, in the format that the name's ending says: .png (one picture), .pgm,
    .ppm, .pnm, .gif or .y4m. All are of one size, [height, width] or [height, width, 3]. ms: how long a frame is shown.
    The file appears whole or not at all.
    """
    format = ffi.new("il_picture_format *")
    call(lib.il_picture_format_of, path_bytes(path), format)
    output = make(
        lib.il_picture_output_open, "il_picture_output", handle_of(engine).pointer, path_bytes(path), format[0], ms
    )
    try:
        for one in [pixels] if isinstance(pixels, np.ndarray) else pixels:
            _put(lib.il_picture_output_put, output, one)
    except BaseException:
        lib.il_picture_output_abandon(output)
        raise
    call(lib.il_picture_output_finish, output)


def _put(function: Callable[..., int], of: Any, pixels: Pixels, *more: Any) -> None:
    """Calls a function that takes an il_picture."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
        raise ArgumentError(
            f"pixels of shape {pixels.shape} and type {pixels.dtype}: they are [height, width] or [height, width, 3] "
            "of uint8"
        )
    pixels = np.ascontiguousarray(pixels)
    picture = ffi.new("il_picture *")
    picture.height, picture.width = pixels.shape[:2]
    picture.channels = 3 if pixels.ndim == 3 else 1
    picture.pixels = shown = ffi.from_buffer("unsigned char[]", pixels)
    call(function, of, picture, *more)
    del shown


class Layout:
    """What a model of pictures draws, and how it is tokens: a header with the caption, and pixels row by row; of films
    a row that begins each frame, and its pixels. In films by columns all these rows are columns.

    >>> from innerloop import Model, Session
    >>> model = Model.load("clothes")
    >>> layout = model.tokenizer.layout
    >>> session = Session(model)
    >>> _ = session.feed(layout.header("ankle boot"))
    >>> layout.picture(list(session.generate(layout.size, seed=1))).shape
    (28, 28)
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer  # the il_tokenizer in whose memory it is
        self._layout = layout = lib.il_tokenizer_pictures(tokenizer)
        self.width = int(layout.width)
        """Of a picture, in pixels."""
        self.height = int(layout.height)
        """Of a picture, in pixels."""
        self.size = self.width * self.height
        """Pixels of a picture, each of which is a token."""
        self.line = int(lib.il_picture_line(layout))
        """Tokens of a row of pixels, or of a column in films whose pixels go by columns."""
        self.levels = int(layout.levels)
        """Tokens 0 … levels-1 are pixels."""
        self.captions = bool(layout.captions)
        """Whether they have captions."""
        self.films = bool(layout.films)
        """Whether these are films."""
        self.actions = int(layout.actions)
        """How many actions there are that a frame may follow from."""
        self.colours = np.array([list(layout.colours[i]) for i in range(self.levels)], np.uint8)
        """[levels, 3] what each is shown as, red, green and blue."""

    def header(self, caption: str = "") -> Tokens:
        """The tokens [n] that a picture or film begins with."""
        tokens, data = np.empty(self._layout.header_rows * self.line, np.int32), caption.encode()
        call(lib.il_picture_header, self._layout, data, len(data), ints(tokens))
        return tokens

    def frame(self, action: int = -1) -> Tokens:
        """The tokens [line] that a frame of a film begins with; action -1: none."""
        tokens = np.empty(self.line, np.int32)
        call(lib.il_picture_frame, self._layout, action, ints(tokens))
        return tokens

    def tokens(self, pixels: Pixels) -> Tokens:
        """The tokens [size] of a picture of this size: the nearest grey or colour for each pixel."""
        tokens = np.empty(self.size, np.int32)
        _put(lib.il_picture_tokens, self._layout, pixels, ints(tokens), ffi.NULL)
        return tokens

    def picture(self, tokens: TokensLike) -> Pixels:
        """The picture of tokens [size]: [height, width] greys, or [height, width, 3] colours."""
        array = as_tokens(tokens)
        if len(array) != self.size:
            raise ArgumentError(f"{len(array)} tokens: a picture has {self.size}")
        shape = (self.height, self.width, 3) if self._layout.palette else (self.height, self.width)
        pixels = np.empty(shape, np.uint8)
        call(lib.il_picture_of_tokens, self._layout, ints(array), ffi.from_buffer("unsigned char[]", pixels))
        return pixels

    def __repr__(self) -> str:
        kind = "films" if self.films else "pictures"
        return f"<innerloop.Layout: {kind} of {self.width} by {self.height}, {self.levels} levels>"
