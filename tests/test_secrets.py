"""Keys and passwords: in no log, traceback, command line, file or record."""

import asyncio
import base64
import contextlib
import json
import logging
import traceback

import click
import openai
import pytest
from click.testing import CliRunner
from embedding_server import KEY, OTHER, WORDS

from fastvec import cli
from fastvec.benchmark import record
from fastvec.commands import diagnosis
from fastvec.openai import EmbeddingError, OpenAIEmbedder

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


PASSWORD, TOKEN = "pass-of-the-user", "token-of-the-query"
LOGIN = base64.b64encode(f"user:{PASSWORD}".encode()).decode()


class Unseen(str):
    """A secret of the test, whose own frames are shown, too."""

    def __repr__(self):
        return "secret"


def everything(error):
    """A traceback with local variables, and what the exceptions in it hold."""
    parts, waiting = [], [error]
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    while waiting:
        each = waiting.pop()
        if each is None:
            continue
        waiting += [each.__cause__, each.__context__]
        parts += [repr(each.args), str(each), str(getattr(each, "body", None))]
        response, request = getattr(each, "response", None), None
        with contextlib.suppress(AttributeError, RuntimeError):
            request = each.request
        if request is not None:
            parts += [str(request.headers.multi_items()), repr(request.url.raw_path + request.url.userinfo)]
        if response is not None:
            parts += [response.text, str(response.headers.multi_items())]
    return "".join([*report.format(), *parts])


@pytest.mark.parametrize("fault", [None, "rate limited", "unauthorized", "no connection"])
@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("own", [True, False], ids=["own", "given"])
def test_no_log_or_error_has_the_secrets_of_an_address(server, make, caplog, fault, awaited, own):
    """Neither the password nor the query, also where the server quotes what it was sent."""
    url = Unseen(server.url.replace("://", f"://user:{PASSWORD}@") + f"?token={TOKEN}")
    if fault == "no connection":
        url = Unseen(url.replace(f":{server.url.rpartition(':')[2]}", ":9/v1"))
    elif fault is not None:
        server.misbehave(always=fault)
    error = None
    with caplog.at_level(logging.DEBUG):
        if own:
            made = make(base_url=url, api_key=Unseen(KEY), max_retries=1, patience=0)
        else:
            plain = {"base_url": Unseen(url.partition("?")[0]), "default_query": {"token": Unseen(TOKEN)}}
            made = make(client=openai.OpenAI(api_key=Unseen(KEY), max_retries=0, **plain), patience=0)
        try:
            asyncio.run(made.aembed(WORDS)) if awaited else made.embed(WORDS)
        except EmbeddingError as raised:
            error = raised
    assert (error is None) is (fault is None)
    if fault != "no connection":
        assert server.headers[0]["authorization"] == f"Basic {LOGIN}"
        assert server.paths[0].endswith(f"?token={TOKEN}")
    logged = [entry for entry in caplog.records if own or entry.name.startswith("fastvec")]
    seen = "".join(logging.Formatter().format(entry) + repr(entry.args) for entry in logged)
    seen += "" if error is None else everything(error)
    seen += f"{made!r}{made.provenance}{vars(made)}" + (f"{vars(made._connections)}" if own else "")
    assert not [secret for secret in (KEY, PASSWORD, TOKEN, LOGIN) if secret in seen]


def test_an_error_about_an_argument_shows_no_secret_among_the_variables():
    for url in map(
        Unseen, (f"user:{PASSWORD}@host/v1", f"http://user:{PASSWORD}@host:0/v1", "http://host/v1")
    ):
        with pytest.raises((ValueError, EmbeddingError)) as caught:
            OpenAIEmbedder("text-embedding-3-small", base_url=url, api_key=Unseen(KEY), dims=10**6)
        assert not [secret for secret in (KEY, PASSWORD) if secret in everything(caught.value)]


def test_an_error_about_a_proxy_shows_no_password_among_the_variables(make, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"foo://user:{PASSWORD}@host:3128")
    with pytest.raises(EmbeddingError, match="HTTP_PROXY") as caught:
        make()
    assert PASSWORD not in everything(caught.value)
