"""The `fastvec` command: a table of subcommands, and errors in one line each.

To add a command: a module of its name in `commands/`, with a click command named `command`, and its
name in COMMANDS. The module imports what it computes with inside its functions, so that `--help` and
`--version` stay quick, and this one imports all else in its functions, so that Ctrl-C is answered
before anything takes time.
"""

from __future__ import annotations

import sys

try:
    from ._version import __version__
    from .commands import process
except KeyboardInterrupt:  # the first moments; ``process`` takes over from here
    sys.stderr.write("fastvec: interrupted\n")
    sys.exit(130)

TYPE_CHECKING = False  # as typing's, whose import takes longer than all of this

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    import click

COMMANDS = (
    "embed",
    "quickstart",
    "similarity",
    "search",
    "analogy",
    "convert",
    "build",
    "audit",
    "duplicates",
    "evaluate",
    "bench",
    "doctor",
    "warmup",
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line (None: with the process's arguments) and exit.

    The exit status is 0 if all is done; 2 if the call or its setting is wrong, which is found before the
    work (a command, an option, a file that does not exist, a place that cannot be written, a variable, a
    key, a package); 1 if the work failed (on the content of a file, a word, a server, the disk); 3 if
    answers were judged and are not exact, or benchmarks were compared and something is slower than allowed;
    130 after Ctrl-C.
    """
    process.answer_interrupts()
    try:
        process.guard_streams()
        status = _run(list(sys.argv[1:] if arguments is None else arguments))
        process.flush_output()
    except BaseException as error:
        status = _explain(error)
    process.end_work(status)


class _Failure(Exception):
    """The line to print, and the exit status."""


def _run(arguments: list[str]) -> int:
    # --version and doctor work without any other package.
    if arguments == ["--version"]:
        print(f"fastvec {__version__}")
        return 0
    try:
        import click
        import rich as _rich  # noqa: F401
    except ModuleNotFoundError as missing:
        if missing.name not in ("click", "rich"):
            raise
        if arguments[:1] == ["doctor"] and set(arguments[1:]) <= {"--json"}:
            from .commands import diagnosis, findings

            process.begin_work()
            return findings.report(diagnosis.examine(), as_json="--json" in arguments)
        package = f"the command line needs the package {missing.name}: pip install 'fastvec[cli]'"
        raise _Failure(package + "; only --version and doctor do without", process.MISUSED) from None
    import logging
    import os
    import warnings

    warnings.showwarning = lambda message, *_, **__: process.say(str(message))
    # Without a handler, Python would print warnings beside the one line that an error gets in the end.
    logging.getLogger("fastvec").addHandler(logging.NullHandler())
    commands = group()
    if os.environ.get("_FASTVEC_COMPLETE"):
        commands.main(arguments, prog_name="fastvec")  # a shell asks which words may follow
    try:
        with commands.make_context("fastvec", arguments) as context:
            process.begin_work()
            commands.invoke(context)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        raise _Failure(error.format_message() + hint, process.MISUSED) from error
    except click.ClickException as error:
        raise _Failure(error.format_message(), error.exit_code) from error
    return 0


def _explain(error: BaseException) -> int:
    """Print in one line what ended the command; return the exit status. A bug of fastvec is raised again."""
    message, status = "", process.FAILED
    interrupted = process.interrupted() or isinstance(error, KeyboardInterrupt)
    if isinstance(error, _Failure):
        message, status = error.args
    elif isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else process.FAILED
    elif isinstance(error, process.OutputError):
        message = "" if error.unread else str(error)
    elif explained := process.explanation(error):
        message, status = explained
    elif not interrupted:
        raise error
    # An interruption counts even if it became another exception; a line that says more about it is kept.
    if interrupted and status != process.INTERRUPTED:
        message, status = "interrupted", process.INTERRUPTED
    if message:
        process.say(message)
    try:
        process.flush_output()
    except process.OutputError as lost:
        if not message and not lost.unread:
            process.say(str(lost))
        status = status or process.FAILED
    return status


def group() -> click.Group:
    """All commands, as one click group."""
    import importlib

    import click

    @click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
    @click.version_option(__version__, prog_name="fastvec", message="%(prog)s %(version)s")
    @click.pass_context
    def fastvec(context: click.Context) -> None:
        """Exact vector similarity: cosine, nearest neighbors, analogies, truncation."""
        if context.invoked_subcommand is None:
            click.echo(context.get_help())

    for name in COMMANDS:
        fastvec.add_command(importlib.import_module(f"fastvec.commands.{name}").command, name)
    return fastvec


if __name__ == "__main__":
    main()
