"""Command lines of every option, with right and wrong values: a status, one line, and nothing half written.

``bench``, ``doctor`` and ``warmup`` take long or no arguments, and ``embed`` only plans; the others do their
work on small files, some of which are damaged.
"""

import contextlib
import shutil
from typing import Any

import click
from click.testing import CliRunner
from fuzz_files import _set_bytes
from fuzz_tools import Target, damaged, matrix

from fastvec import cli, files
from fastvec.commands import process

COMMANDS = ("similarity", "search", "analogy", "convert", "build", "audit", "duplicates", "evaluate", "embed")
_TEXTS = (
    *(
        "king",
        "queen",
        "man",
        "woman",
        "",
        " ",
        "nobody",
        "-",
        "--",
        "-1",
        "猫",
        "x" * 3000,
        "a\nb",
        "\udc80",
    ),
    *(
        "0",
        "1",
        "2",
        "3",
        "0.5",
        "-0.5",
        "nan",
        "inf",
        "1e999",
        "9" * 30,
        "1,2",
        "2,1",
        "1,",
        "text",
        "id",
        "id=1",
    ),
    *("id=", "=", "id>2", "auto", "off", "64", "tcp://none:1", "http://none/v1", "text-embedding-3-small"),
)


def _prepare(place):
    import random

    words = ["king", "queen", "man", "woman", "猫"]
    rows = matrix(random.Random(5), 5, 4) + 1
    inputs = place / "inputs"
    inputs.mkdir()
    for name in ("a.vec", "a.bin", "a.txt", "a.npy"):
        files.write(inputs / name, words, rows)
    for name in ("a.arrow", "a.parquet", "index"):
        files.write(inputs / name, words, rows, columns={"id": range(5)}, metadata={"model": "m"})
    for suffix in (".fvecs", ".ivecs", ".fbin", ".ibin", ".hdf5"):
        (inputs / f"b{suffix}").write_bytes(_set_bytes(suffix, abs(rows.round()) % 5))
    (inputs / "pairs.tsv").write_text("king\tqueen\t8\nman\twoman\t7\nking\tman\t3\n")
    (inputs / "questions").write_text(": royal\nman king woman queen\nking man queen woman\n")
    (inputs / "words").write_text("king\nqueen\n猫\n")
    (inputs / "texts.csv").write_text("text,id\nking,1\nqueen,2\n")
    (inputs / "texts.jsonl").write_text('{"text": "a", "id": 1}\n"b"\n')
    (inputs / "empty").touch()
    group = cli.group()
    return place, sorted(inputs.iterdir()), {name: group.commands[name] for name in COMMANDS}, group


def _value(rng, param, place, inputs):
    """A value of an option: most often of its kind."""
    kind = param.type
    if rng.random() < 0.12:
        return rng.choice(_TEXTS)
    if isinstance(kind, click.Choice):
        return str(rng.choice(list(kind.choices)))
    if isinstance(kind, click.types.IntRange | click.types.FloatRange | click.types.FloatParamType):
        return rng.choice(
            ("1", "1", "2", "3", "4", "0", "-1", "5", "100", "1000000", "9" * 25, "0.5", "nan", "1e3")
        )
    name = type(kind).__name__
    if name in ("Target", "Picture") or param.name in ("output", "target"):
        names = (
            "o.vec",
            "o.npy",
            "o.ivecs",
            "o.ibin",
            "o.arrow",
            "o.parquet",
            "o.jsonl",
            "o",
            "no/o.vec",
            "o.bin",
            "o.csv",
            "",
        )
        return str(place / "out" / rng.choice(names))
    if name in ("Ordinary", "Stream", "Path", "File"):
        return str(rng.choice(inputs))
    return rng.choice(_TEXTS)


def _arguments(rng, command, place, inputs):
    made = []
    for param in command.params:
        if isinstance(param, click.Argument):
            for _ in range(1 if param.nargs == 1 else rng.choice((0, 1, 2, 3))):
                made.append(_value(rng, param, place, inputs))
            continue
        if rng.random() > (0.9 if param.required else 0.2) or param.name in (
            "help",
            "plot",
            "cluster",
            "cache",
        ):
            continue
        option = rng.choice(param.opts)
        made += [option] if param.is_flag else [option, _value(rng, param, place, inputs)]
    if rng.random() < 0.1:
        made.insert(rng.randrange(len(made) + 1), rng.choice(_TEXTS))
    return made


def case(prepared, rng):
    place, inputs, commands, group = prepared
    out, broken = place / "out", None
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    name = rng.choice(COMMANDS)
    arguments: list[Any] = [name, *_arguments(rng, commands[name], place, inputs)]
    if rng.random() < 0.3:
        path = rng.choice([one for one in inputs if one.is_file()])
        broken = place / f"broken{path.suffix}"
        broken.write_bytes(damaged(rng, path.read_bytes()))
        arguments = [str(broken) if one == str(path) else one for one in arguments]
    if name == "embed":
        arguments += ["--dry-run"]
    before = {one: one.read_bytes() for one in (place / "inputs").rglob("*") if one.is_file()}
    environment = {"OPENAI_API_KEY": "sk-none", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "NO_PROXY": "*"}
    given = rng.choice(("", "king\nqueen\n", "\0\xff"))
    with contextlib.chdir(out):  # where a name without a folder is
        result = CliRunner(env=environment).invoke(group, arguments, input=given)
    error = result.exception
    if error is not None and not isinstance(error, SystemExit) and process.explanation(error) is None:
        raise AssertionError(f"{arguments}: {type(error).__name__}: {error}") from error
    assert result.exit_code in (0, 1, 2, process.NOT_EXACT), (arguments, result.exit_code)
    assert "Traceback" not in result.output
    now = {one: one.read_bytes() for one in (place / "inputs").rglob("*") if one.is_file()}
    assert now == before, f"{arguments}: an input is another one"
    if result.exit_code in (1, 2) and error is not None:
        told = result.output.strip() or not isinstance(error, SystemExit)  # ``cli.main`` tells it
        assert told, f"{arguments}: status {result.exit_code} without a word"
        left = [one.name for one in out.rglob("*")]
        assert not left, f"{arguments}: status {result.exit_code}, and {left} is left"


TARGETS = {"commands": Target(_prepare, case, 200)}
