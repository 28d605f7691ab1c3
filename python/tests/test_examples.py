"""The examples do what they say, on text made up here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import STORY, Run

HERE = Path(__file__).resolve().parents[1]


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, str(HERE / "examples" / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "MPLCONFIGDIR": "/tmp"})
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def need(*packages: str) -> None:
    for package in packages:
        pytest.importorskip(package, reason=f"{package} is not installed")


def test_read_a_book(story: Path) -> None:
    need("tqdm")
    lines = run("read_a_book.py", story).splitlines()
    _, learning, frozen = map(float, lines[-1].split())
    assert learning < frozen


def test_log_anomalies(tmp_path: Path) -> None:
    need("pandas")
    log = [f"12:{i // 60:02}:{i % 60:02} GET /item/{i * 7 % 10} 200 OK\n" for i in range(150)]
    log[120] = "12:02:00 panic: segmentation fault in worker, core dumped\n"
    (tmp_path / "log").write_text("".join(log))
    assert "panic" in run("log_anomalies.py", tmp_path / "log", 3).splitlines()[1]


def test_sweep_inner_rules(story: Path, tmp_path: Path) -> None:
    need("matplotlib")
    out = run("sweep_inner_rules.py", story, tmp_path / "figure.png", 8)
    ends = re.findall(r"([\d.]+) -> ([\d.]+)", out)
    assert len(ends) == 5 and all(float(last) < float(first) for first, last in ends)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate(tmp_path: Path) -> None:
    questions = [
        {"question": "She opened the door and went out of the", "answers": [" house.", " between."], "right": 0},
        {"question": "He looked at her with a", "answers": [" of.", " smile."], "right": 1},
    ]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    assert "2 of 2 right" in run("evaluate.py", tmp_path / "questions.jsonl")


def test_fine_tune(story: Path, tmp_path: Path) -> None:
    need("tqdm")
    out = run("fine_tune.py", story, tmp_path / "tuned", 6)
    found = re.search(r"held-out loss ([\d.]+) before, ([\d.]+) after", out)
    assert found and float(found[2]) < float(found[1])
    assert len(out.splitlines()) > 1 and STORY


def test_draw(tmp_path: Path, command: Run) -> None:
    assert "5 pictures" in run("draw.py", "ankle boot", tmp_path / "mine.png", 5)
    command("generate", "--model", "clothes", "--prompt", "ankle boot", "--count", 5, "--out", tmp_path / "theirs.png")
    assert (tmp_path / "mine.png").read_bytes() == (tmp_path / "theirs.png").read_bytes()
