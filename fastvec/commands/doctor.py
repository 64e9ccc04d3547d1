"""`fastvec doctor`: what this machine and installation are, and what is wrong with them."""

from __future__ import annotations

import sys

import click

from . import options
from .output import Table, print_json, print_tables, working


@click.command(
    short_help="Check this installation: processor, threads, cache, exactness.",
    epilog="Example: fastvec doctor --json",
)
@options.as_json
def command(as_json: bool) -> None:
    """What fastvec finds here, whether answers are exact with every micro-kernel, and what to do if not.

    Each micro-kernel answers a small search in a process of its own, compared with a plain float64
    computation. The exit status is 0 if all is well, 1 if there is a problem.
    """
    from .. import diagnosis

    with working("checking (the first run also compiles, for some seconds)"):
        findings = diagnosis.examine()
    problems = [finding for finding in findings if finding.problem]
    if as_json:
        print_json({"fine": not problems, "findings": [finding._asdict() for finding in findings]})
    else:
        topics = dict.fromkeys(finding.topic for finding in findings)
        print_tables(
            [
                Table(
                    topic,
                    ("", ""),
                    [
                        (f.name, f.value if not f.problem else f"{f.value}  <- problem")
                        for f in findings
                        if f.topic == topic
                    ],
                )
                for topic in topics
            ]
        )
        click.echo()
        for finding in problems:
            click.echo(f"Problem: {finding.topic}, {finding.name}: {finding.problem}\n  {finding.remedy}")
        if not problems:
            click.echo("No problem found.")
    sys.exit(1 if problems else 0)
