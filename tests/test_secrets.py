"""Keys and passwords: in no log, traceback, command line, file or record."""

import asyncio
import json
import logging
import traceback

import click
import pytest
from click.testing import CliRunner
from embedding_server import KEY, OTHER, WORDS

from fastvec import cli
from fastvec.benchmark import record
from fastvec.commands import diagnosis
from fastvec.openai import EmbeddingError

SECRETS = ("api", "key", "password", "secret", "bearer", "auth", "header", "credential")


def commands(group, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def test_no_command_takes_a_secret_as_an_argument():
    """Every user of a machine can see the arguments of its processes."""
    group = cli.group()
    found = list(commands(group))
    assert {"embed", "search", "quickstart"} <= {path[-1] for path, _ in found}
    for path, command in found:
        for parameter in command.params:
            for spelling in (parameter.name, *parameter.opts):
                assert not any(word in spelling.lower() for word in SECRETS), (path, spelling)


@pytest.mark.parametrize("command", ["embed", "search", "quickstart", "doctor", "bench"])
def test_a_key_that_is_given_all_the_same_is_not_repeated(command):
    for arguments in (["--api-key", KEY], [f"--api-key={KEY}"]):
        result = CliRunner().invoke(cli.group(), [command, *arguments])
        assert result.exit_code == 2
        assert "--api-key" in result.output
        assert KEY not in result.output


@pytest.mark.parametrize("fault", [None, "rate limited", "unauthorized", "html page", "nan row"])
@pytest.mark.parametrize("awaited", [False, True])
def test_no_log_at_any_level_has_the_key(server, make, caplog, fault, awaited):
    """Neither fastvec's nor those of the libraries that send requests."""
    if fault is not None:
        server.misbehave(always=fault)
    error = None
    with caplog.at_level(logging.DEBUG):
        embedder = make(max_retries=1, patience=0)
        try:
            asyncio.run(embedder.aembed(WORDS)) if awaited else embedder.embed(WORDS)
        except EmbeddingError as raised:
            error = raised
    assert (error is None) is (fault is None)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    loggers = {entry.name.partition(".")[0] for entry in caplog.records}
    assert "openai" in loggers
    assert loggers & {"httpx", "httpx2", "httpcore", "httpcore2"}
    for entry in caplog.records:
        assert KEY not in logging.Formatter().format(entry) + repr(entry.args)
    if error is not None:
        assert KEY not in "".join(traceback.format_exception(error))


def test_no_record_or_report_has_what_is_in_the_environment(monkeypatch):
    """The records of benchmarks, and what ``fastvec doctor`` finds."""
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://user:{KEY}@host.invalid/v1?token={KEY}")
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{KEY}@host.invalid:3128")
    assert KEY not in json.dumps(record.machine())
    searches = diagnosis.exactness.examine  # takes seconds, and says how many answers are exact
    findings = [finding for _, check, _ in diagnosis.CHECKS if check is not searches for finding in check()]
    assert len(findings) > 10
    assert KEY not in repr(findings)


@pytest.mark.parametrize("output", ["rows.npy", "rows.arrow", "rows.parquet", "index"])
def test_no_output_has_the_key_or_the_address_in_full(server, embed, monkeypatch, tmp_path, output):
    """Nor has the cache beside it, which is kept here."""
    if output.endswith((".arrow", ".parquet")):
        pytest.importorskip("pyarrow")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url.replace("://", f"://user:{KEY}@"))
    (tmp_path / "in.txt").write_text("\n".join(WORDS), encoding="utf-8")
    result = embed("in.txt", "-o", output, "--cache", "cache.sqlite", model=OTHER)
    assert result.exit_code == 0, result.output
    assert KEY not in result.output
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 3
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
