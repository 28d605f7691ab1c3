"""Pictures and films: files, tokens, and what the bundled models draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from conftest import Run

import innerloop
from innerloop import Model, Session, Tokenizer

Pixels = npt.NDArray[np.uint8]


def gradient(width: int, height: int) -> Pixels:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([x * 9, y * 7, (x * y) % 251], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("ending", ["png", "pgm", "ppm", "gif", "y4m"])
def test_files(tmp_path: Path, ending: str) -> None:
    path, greys = tmp_path / f"picture.{ending}", gradient(20, 12)[..., 0]
    innerloop.save_pictures(path, greys if ending == "png" else [greys, greys[::-1]], ms=40)
    back = list(innerloop.pictures(path))
    assert len(back) == (1 if ending == "png" else 2) and back[0].begins
    first = back[0].pixels if back[0].pixels.ndim == 2 else back[0].pixels[..., 1]
    assert (first == greys).all()
    if ending in ("gif", "y4m"):
        assert back[0].ms == 40 and not back[1].begins


def test_colours(tmp_path: Path) -> None:
    path, colours = tmp_path / "picture.png", gradient(20, 12)
    innerloop.save_pictures(path, colours[:, ::-1])  # no contiguous array
    assert (next(innerloop.pictures(path)).pixels == colours[:, ::-1]).all()


def test_refusals(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    for wrong in (np.zeros((2, 2)), np.zeros(4, np.uint8), np.zeros((2, 2, 4), np.uint8)):
        with pytest.raises(innerloop.ArgumentError, match="of uint8"):
            innerloop.save_pictures(path, wrong)
    with pytest.raises(innerloop.ArgumentError, match=r"end in \.png"):
        innerloop.save_pictures(tmp_path / "picture.jpg", gradient(2, 2))
    with pytest.raises(innerloop.ArgumentError, match="without a picture"):
        innerloop.save_pictures(path, [])
    assert not list(tmp_path.iterdir())
    path.write_text("no picture")
    with pytest.raises(innerloop.UnsupportedError, match="PNG, GIF"):
        next(innerloop.pictures(path))


def test_text_and_pictures_are_not_mixed_up(reader: Model) -> None:
    clothes = Model.load("clothes")
    with pytest.raises(innerloop.UnsupportedError, match="no pictures"):
        reader.tokenizer.layout
    for use in (clothes.tokenizer.encode, Session(clothes).feed_text, Session(clothes).generate_text):
        with pytest.raises(innerloop.UnsupportedError, match="text"):
            use("ankle boot")
    layout = clothes.tokenizer.layout
    with pytest.raises(innerloop.MismatchError, match="20 by 12"):
        layout.tokens(gradient(20, 12))
    with pytest.raises(innerloop.ArgumentError, match="a picture has 784"):
        layout.picture([1, 2])
    with pytest.raises(innerloop.ArgumentError, match="frames are of films"):
        layout.frame()


def test_a_compressed_picture_is_the_commands(tmp_path: Path, command: Run) -> None:
    path, small = tmp_path / "picture.png", tmp_path / "picture.ilc"
    innerloop.save_pictures(path, np.zeros((28, 28), np.uint8))
    command("compress", "--model", "clothes", path, small)
    assert innerloop.compressed_info(small.read_bytes()).picture
    with pytest.raises(innerloop.MismatchError, match="of a picture"):
        innerloop.decompress(small.read_bytes())


def test_a_half_picture_is_completed(tmp_path: Path, command: Run) -> None:
    model = Model.load("clothes", engine=innerloop.Engine(threads=1))
    layout, path, theirs = model.tokenizer.layout, tmp_path / "half.png", tmp_path / "theirs.png"
    half = gradient(28, 28)[..., 0]
    innerloop.save_pictures(path, half)
    tokens = layout.tokens(half)[: 20 * layout.width]
    assert layout.colours[tokens[0]].tolist() == [0, 0, 0] and layout.levels == len(layout.colours)
    session = Session(model)
    session.feed(np.concatenate([layout.header("bag"), tokens]))
    drawn = list(session.generate(layout.size - len(tokens), seed=4))
    options = ["--from", path, "--rows", 20, "--prompt", "bag", "--seed", 4]
    command("generate", "--model", "clothes", *options, "--out", theirs)
    mine = layout.picture(np.concatenate([tokens, drawn]))
    assert (mine == next(innerloop.pictures(theirs)).pixels).all()


def test_films(tmp_path: Path, command: Run) -> None:
    model, film = Model.load("digits"), tmp_path / "film.y4m"
    command("generate", "--model", "digits", "--frames", 3, "--seed", 2, "--out", film)
    theirs = [frame.pixels for frame in innerloop.pictures(film)]
    layout, session = model.tokenizer.layout, Session(model)
    assert layout.films and repr(layout).startswith("<innerloop.Layout: films of")
    session.feed(layout.header())
    mine = []
    for _ in theirs:
        session.feed(layout.frame())
        mine.append(layout.picture(list(session.generate(layout.size, seed=2))))
    assert len(mine) == 3 and all((a == b).all() for a, b in zip(mine, theirs))


def test_films_by_columns(tmp_path: Path) -> None:
    path = tmp_path / "pictures.json"
    path.write_text(
        '{"tokenizer": "pictures", "width": 2, "height": 700, "levels": 16, "header_rows": 3, "captions": true, '
        '"films": true, "by_columns": true, "actions": 2}'
    )
    layout = Tokenizer.load(path).layout
    assert layout.line == 700 and len(layout.header("a caption")) == 2100 and len(layout.frame(1)) == 700
    assert layout.frame(1).tolist() == [21] * 700  # behind the levels, BOS, EOS, EOC, FRAME and an action
    pixels = np.arange(1400).reshape(700, 2) % 16 * 17
    tokens = layout.tokens(pixels.astype(np.uint8))
    assert (tokens.reshape(2, 700).T == pixels // 17).all() and (layout.picture(tokens) == pixels).all()
