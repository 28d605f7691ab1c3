"""Finds the lines of a log that do not fit what came before them, in a pandas table.

usage: log_anomalies.py LOG [LINES]
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

import innerloop


def table(path: str) -> pd.DataFrame:
    """A row a line: how many bits it took to predict it, and how that ranks among all lines so far."""
    model = innerloop.Model.load("any")  # it has read logs, and learns this one while it reads
    session = innerloop.Session(model, mix=True)  # what repeats itself surprises less
    rows = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            rows.append({"line": number, "bits": session.feed_text(line).bits, "text": line.rstrip("\n")})
    frame = pd.DataFrame(rows)
    usual = frame["bits"].expanding(min_periods=20)
    frame["score"] = (frame["bits"] - usual.median()) / usual.std()
    return frame.replace([np.inf, -np.inf], np.nan).dropna()


def main() -> None:
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    worst = table(sys.argv[1]).nlargest(n, "score")
    print(worst.to_string(index=False, formatters={"text": lambda text: text[:80]}))


if __name__ == "__main__":
    main()
