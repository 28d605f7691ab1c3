"""The Python of docs/python.md and of README.md runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("page", ["docs/python.md", "python/README.md"])
def test_page(page: str, story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (ROOT / page).exists():
        pytest.skip(f"{page} is not part of a source distribution")
    story.rename(story.with_name("book.txt"))
    monkeypatch.chdir(story.parent)
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text("utf-8"), flags=re.M | re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), {})
