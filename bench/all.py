"""Every benchmark of this folder, one after another.

python bench/all.py --json bench/records.jsonl            some minutes
python bench/all.py --full --json bench/records.jsonl     everything at full size, more than half an hour
python bench/pictures.py bench/records.jsonl              the pictures of the README from it
"""

from __future__ import annotations

import importlib
from pathlib import Path

from suite import Case, main

TOPICS = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))


def cases() -> list[Case]:
    """Those of all files; a file without CASES is named, not passed over in silence."""
    found: list[Case] = []
    for name in TOPICS:
        topic = importlib.import_module(name)
        if hasattr(topic, "CASES"):
            found += topic.CASES
        else:
            print(f"{name}.py has no CASES: run it by itself")
    return found


if __name__ == "__main__":
    main(cases())
