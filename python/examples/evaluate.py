"""Multiple-choice questions, scored by the log-probability of each answer. A score is the same bits whatever is scored
beside it, so that results can be repeated whatever the batch.

usage: evaluate.py QUESTIONS.jsonl   (a line each: {"question": …, "answers": […], "right": index})
"""

from __future__ import annotations

import json
import sys

import numpy as np

import innerloop


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        questions = [json.loads(line) for line in file]
    model = innerloop.Model.load()
    right = 0
    for q in questions:
        with innerloop.Session(model) as session:
            session.feed_text(q["question"])
            scores = session.score(q["answers"])
            alone = np.concatenate([session.score([answer]) for answer in q["answers"]])
        assert (scores == alone).all(), "not the same bits"
        lengths = [len(answer.encode()) for answer in q["answers"]]
        chosen = int(np.argmax(scores / lengths))
        right += chosen == q["right"]
        print(f"{q['question']}{q['answers'][chosen]}   ({scores[chosen]:.2f} nats)")
    print(f"{right} of {len(questions)} right; every score was the same bits alone and together")


if __name__ == "__main__":
    main()
