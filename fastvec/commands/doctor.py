"""`fastvec doctor`: what this machine and installation are, and what is wrong with them."""

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
    """What fastvec finds here, whether answers are exact with every micro-kernel, and what to do if not.

    Each micro-kernel answers a small search in a process of its own, compared with a plain float64
    computation. The exit status is 0 if all is well, 1 if there is a problem.
    """
    from .. import diagnosis

    with working("checking", "topics") as progress:
        findings = diagnosis.examine(progress)
    sys.exit(diagnosis.report(findings, as_json=as_json))
