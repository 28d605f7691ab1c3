"""Draws pictures of clothes that nobody has made, by their name, as a sheet.

usage: draw.py NAME OUT.png [COUNT]
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

import innerloop


def draw(model: innerloop.Model, name: str, count: int) -> list[npt.NDArray[np.uint8]]:
    """So many pictures of that name, each with a seed of its own."""
    layout = model.tokenizer.layout
    begun = innerloop.Session(model)
    begun.feed(layout.header(name))
    return [layout.picture(list(begun.fork().generate(layout.size, seed=i))) for i in range(count)]


def main() -> None:
    name, out = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 12
    drawn = draw(innerloop.Model.load("clothes"), name, count)
    across = int(np.ceil(np.sqrt(count)))
    white = [np.full_like(drawn[0], 255)] * (-count % across)
    rows = [np.hstack((drawn + white)[i : i + across]) for i in range(0, count, across)]
    innerloop.save_pictures(out, np.vstack(rows))
    print(f"{count} pictures of {name!r} in {out}")


if __name__ == "__main__":
    main()
