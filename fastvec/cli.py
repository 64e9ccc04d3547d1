"""The `fastvec` command: a table of subcommands, and errors in one line each.

To add a command: a module with a click command named `command`, and its row in COMMANDS. The module
imports what it computes with inside its functions, so that `--help` and `--version` stay quick.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from ._version import __version__

if TYPE_CHECKING:
    import click

COMMANDS = {
    "embed": "fastvec.embed",
    "quickstart": "fastvec.quickstart",
    "similarity": "fastvec.commands.similarity",
    "search": "fastvec.commands.search",
    "analogy": "fastvec.commands.analogy",
    "convert": "fastvec.commands.convert",
    "evaluate": "fastvec.commands.evaluate",
    "bench": "fastvec.commands.bench",
    "doctor": "fastvec.commands.doctor",
    "warmup": "fastvec.warmup",
}

FAILED, MISUSED = 1, 2


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line (None: with the process's arguments) and exit: 0 done, 1 failed, 2 misused.

    Misuse covers what is wrong with the call or its setting: options, missing files, keys or extras.
    """
    try:
        import click
        import rich as _rich  # noqa: F401
    except ModuleNotFoundError as missing:
        if missing.name not in ("click", "rich"):
            raise
        _fail(f"the command line needs the package {missing.name}: pip install 'fastvec[cli]'", MISUSED)

    # Without a handler, Python would print warnings beside the one line that an error gets in the end.
    logging.getLogger("fastvec").addHandler(logging.NullHandler())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A character that the terminal or pipe cannot take is written as its code.
            stream.reconfigure(errors="backslashreplace")
    try:
        status = group().main(arguments, prog_name="fastvec", standalone_mode=False)
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        _fail(error.format_message() + hint, MISUSED)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except click.Abort:
        _fail("interrupted", FAILED)
    except BrokenPipeError:
        # The reader went away; without this, the flush at exit would complain once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    sys.exit(status)


def group() -> click.Group:
    """All commands of the table, as one click group."""
    import click

    @click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
    @click.version_option(__version__, prog_name="fastvec", message="%(prog)s %(version)s")
    @click.pass_context
    def fastvec(context: click.Context) -> None:
        """Exact vector similarity: cosine, nearest neighbors, analogies, truncation."""
        if context.invoked_subcommand is None:
            click.echo(context.get_help())

    for name, module in COMMANDS.items():
        fastvec.add_command(importlib.import_module(module).command, name)
    return fastvec


def _fail(message: str, status: int) -> NoReturn:
    print("fastvec: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
