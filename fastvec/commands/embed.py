"""`fastvec embed`: a file of texts -> their vectors, in a file that `fastvec search` and others open."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, BinaryIO

import click

from . import options
from .records import FORMATS, QUOTING

_ASKING = {
    "base_url": "--base-url",
    "cache": "--cache",
    "batch_size": "--batch-size",
    "concurrency": "--concurrency",
    "requests_per_minute": "--requests-per-minute",
    "tokens_per_minute": "--tokens-per-minute",
    "patience": "--patience",
    "encoding_format": "--encoding-format",
    "max_retries": "--max-retries",
    "timeout": "--timeout",
}
"""Options that say how a server is asked, by the names of their arguments."""


@click.command(
    short_help="Embed a file of texts, offline, through the OpenAI API or a compatible server.",
    epilog="Example: fastvec embed texts.txt -o texts.arrow --model offline",
)
@click.argument("source", metavar="INPUT", type=options.STREAM)
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    type=click.Path(path_type=Path),
    help="What to make: a .npy, .arrow or .parquet file, or a folder (no suffix, or .index).",
)
@click.option(
    "--column", type=options.TEXT, help="Column or key of the texts.  [default: the only one, or 'text']"
)
@click.option(
    "--keep",
    multiple=True,
    type=options.TEXT,
    metavar="NAME[,NAME]...",
    help="Columns or keys to write beside the texts, for searches to filter on and to print.",
)
@click.option("--skip-empty", is_flag=True, help="Leave out texts that are blank.")
@click.option(
    "--skip-failed", is_flag=True, help="Leave out texts that are too long or that the server refuses."
)
@click.option(
    "--format", "form", type=click.Choice(list(FORMATS)), help="[default: by INPUT's suffix, else lines]"
)
@click.option(
    "--quoting",
    type=click.Choice(QUOTING),
    default="auto",
    help="In CSV and TSV, keep quotation marks around fields as text (none), or take them off (csv).  "
    "[default: csv for CSV, none for TSV]",
)
@click.option(
    "--model",
    type=options.TEXT,
    default="text-embedding-3-small",
    show_default=True,
    help="The model; 'offline' is the encoder of quickstart, which needs neither key nor server.",
)
@click.option(
    "--prefix",
    type=options.TEXT,
    help="Write this before each text for the model, not in OUT ('': nothing).  "
    "[default: what the model is known to need]",
)
@click.option("--query-prefix", type=options.TEXT, help="The same for queries; OUT holds it for searches.")
@click.option(
    "--base-url",
    type=options.TEXT,
    help="Another server that speaks the OpenAI API.  [default: OPENAI_BASE_URL]",
)
@click.option("--dims", type=click.IntRange(min=1), help="Width of the rows.  [default: the model's]")
@click.option("--cache", type=click.Path(path_type=Path), help="Keep rows in this file, for other runs too.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Texts in a request.  [default: the model's]")
@click.option("--concurrency", type=click.IntRange(min=1), help="Requests in flight at a time.  [default: 4]")
@click.option("--requests-per-minute", type=click.IntRange(min=1), help="Send at most this many.")
@click.option("--tokens-per-minute", type=click.IntRange(min=1), help="Send at most this many.")
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    help="Seconds to wait for a server that is busy or fails for a while.  [default: 120]",
)
@click.option(
    "--encoding-format",
    type=click.Choice(["base64", "float"]),
    help="How rows are sent.  [default: base64, and float from a server that refuses it]",
)
@click.option(
    "--max-retries",
    type=click.IntRange(min=0),
    help="How often to send a failed request again.  [default: 2]",
)
@click.option("--timeout", type=float, help="Seconds that one request may take.  [default: the client's]")
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@click.option("--quiet", is_flag=True, help="Print no progress and no summary.")
@click.option("--dry-run", is_flag=True, help="Count texts, tokens and requests, and send nothing.")
@options.as_json
def command(
    source: BinaryIO, output: Path | None, dry_run: bool, quiet: bool, as_json: bool, **settings: Any
) -> None:
    """Embed every text of INPUT (-: stdin) and write texts and float32 vectors, in the same order, to OUT.

    INPUT is UTF-8, or has a byte order mark. It holds one text a line, or is CSV, TSV or JSON lines. A .npy
    file gets two neighbors: the texts, as JSON lines in OUT with the suffix .texts.jsonl, and what made the
    vectors, in .meta.json. Other formats hold all of it, and the columns to --keep: texts, numbers, true,
    false and null. A column of CSV is written as numbers if all its fields are numbers and no digit is lost
    (007 stays a text).

    OUT appears complete or not at all. Until then OUT.partial keeps what is received: after Ctrl-C, a
    failure or a kill, the same command goes on from there. If the server refuses a text, its line is named,
    and the others are kept. The key is read from OPENAI_API_KEY; a server without keys accepts any.
    """
    from .embed_job import Job
    from .output import print_json

    context = click.get_current_context()
    if output is None and not dry_run:
        raise click.UsageError("say where to write, with -o OUT.npy (or .arrow, .parquet, a folder)", context)
    asking = {name: settings.pop(name) for name in _ASKING}
    asking = {name: value for name, value in asking.items() if value is not None}
    settings["keep"] = _names(settings["keep"])
    job = Job(source, output, quiet=quiet, asking=asking, **settings)
    prefixes = {"--prefix": job.prefix, "--query-prefix": job.query_prefix}
    idle = [
        *(_ASKING[name] for name in asking),
        *(option for option, prefix in prefixes.items() if prefix is not None),
    ]
    if job.offline and idle:
        raise click.UsageError(
            f"--model offline asks no server and needs no prefix: leave out {', '.join(idle)}", context
        )
    if dry_run:
        counted = job.count()
        if as_json:
            print_json(counted.record())
        else:
            for name, value in counted.lines():
                click.echo(f"{name:15}  {value}")
        return
    done = job.run()
    if as_json:
        print_json(done.record())
    for line in done.lines(quiet=quiet or as_json):
        click.echo("fastvec: " + " ".join(line.split()), err=True)


def _names(fields: tuple[str, ...]) -> tuple[str, ...]:
    """Names of columns; a name with a comma is in quotation marks, as in CSV."""
    return tuple(dict.fromkeys(name for names in fields for name in next(csv.reader([names]), [])))
