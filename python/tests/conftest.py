"""What tests share: models, the command, and text that was made up for them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Callable

import pytest

import innerloop

Run = Callable[..., bytes]

STORY = "".join(
    f"On day {day} the boat number {day * 7 % 13} came home in the evening. Its captain, who had counted {day * 3 % 11}"
    f" gulls, said that the sea was {('calm', 'rough', 'grey', 'green')[day % 4]}.\n"
    for day in range(80)
)


@pytest.fixture(scope="session")
def reader() -> innerloop.Model:
    return innerloop.Model.load("reader")


@pytest.fixture(scope="session")
def tiny() -> innerloop.Model:
    """A model of bytes with random weights."""
    return innerloop.Model.init("tiny", seed=3)


@pytest.fixture
def story(tmp_path: Path) -> Path:
    path = tmp_path / "story.txt"
    path.write_text(STORY)
    return path


@pytest.fixture(scope="session")
def command() -> Run:
    """Runs the command, and gives what it prints."""
    name = os.environ.get("INNERLOOP_COMMAND")
    if not name:
        pytest.skip("INNERLOOP_COMMAND does not name the command innerloop")

    def run(*arguments: object) -> bytes:
        done = subprocess.run([name, *map(str, arguments)], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run
