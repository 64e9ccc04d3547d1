"""`fastvec doctor`: facts about this machine and installation, and what is wrong with them."""

from __future__ import annotations

import sys

import click

from . import options
from .output import working


@click.command(
    short_help="Check this installation: processor, threads, cache, exactness.",
    epilog="Example: fastvec doctor --json",
)
@options.as_json
def command(as_json: bool) -> None:
    """Show what fastvec finds on this machine, whether every micro-kernel is exact, and what to do if not.

    Each micro-kernel answers a small search in its own process, and the answers are compared with a plain
    float64 computation. The exit status is 0 if all is well, and 1 if there is a problem.
    """
    from . import diagnosis, findings

    with working("checking", "topics") as progress:
        checked = diagnosis.examine(progress)
    sys.exit(findings.report(checked, as_json=as_json))
