"""What the checks of `fastvec doctor` find, and how it is printed.

Python alone prints it, as packages may be missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple


class Finding(NamedTuple):
    """What one check found."""

    topic: str
    name: str
    value: str
    problem: str | None = None
    """What is wrong, or None."""
    remedy: str | None = None
    """What to do about it."""


def report(findings: list[Finding], *, as_json: bool) -> int:
    """Print what was found; return the exit status, which is 1 if there is a problem."""
    problems = [finding for finding in findings if finding.problem]
    if as_json:
        record = {"fine": not problems, "findings": [finding._asdict() for finding in findings]}
        print(json.dumps(record, indent=2))
    else:
        print("\n".join(_lines(findings)))
    return 1 if problems else 0


def _lines(findings: list[Finding]) -> Iterator[str]:
    """The lines of a report: topics, with names and values in columns, then problems and what to do."""
    for topic in dict.fromkeys(finding.topic for finding in findings):
        group = [finding for finding in findings if finding.topic == topic]
        width = max(len(finding.name) for finding in group)
        yield from ("", topic)
        for finding in group:
            yield f"{finding.name:{width}}  {finding.value}" + ("  <- problem" if finding.problem else "")
    yield ""
    problems = [finding for finding in findings if finding.problem]
    for finding in problems:
        yield f"Problem: {finding.topic}, {finding.name}: {finding.problem}"
        yield f"  {finding.remedy}"
    if not problems:
        yield "No problem found."
