"""Reads a book once, and shows how surprise falls while the model learns it.

usage: read_a_book.py BOOK.txt
"""

from __future__ import annotations

import sys

import numpy as np
from tqdm import tqdm

import innerloop


def watch(path: str, frozen: bool) -> list[float]:
    """Bits per token of every stretch of the book."""
    bits = []
    with tqdm(unit="token", desc="frozen" if frozen else "learning") as bar:

        def see(fed: innerloop.Fed) -> None:
            bits.append(float(np.nanmean(fed.losses)) / np.log(2))
            bar.update(len(fed.tokens))
            bar.set_postfix_str(f"{bits[-1]:.2f} bits a token")

        innerloop.read(path, frozen=frozen, progress=see)
    return bits


def main() -> None:
    path = sys.argv[1]
    learning, frozen = watch(path, frozen=False), watch(path, frozen=True)
    print("stretch  learning  frozen   (bits per token)")
    for i, (one, other) in enumerate(zip(learning, frozen)):
        print(f"{i:7}  {one:8.3f}  {other:6.3f}")


if __name__ == "__main__":
    main()
