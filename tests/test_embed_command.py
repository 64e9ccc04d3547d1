"""`fastvec embed`: inputs, options, what it counts and says."""

import json
import os
import re
import threading

import numpy as np
import pytest
from embed_command import TEXTS, assert_done
from embedding_server import KEY, OTHER, WORDS

from fastvec.commands.records import FORMATS
from fastvec.models import describe


def records(kind, texts):
    lines = {
        "lines": texts,
        "csv": ["id,text", *(f'{n},"{text}"' for n, text in enumerate(texts))],
        "tsv": ["text\tid", *(f"{text}\t{n}" for n, text in enumerate(texts))],
        "jsonl": [json.dumps({"id": n, "text": text}) for n, text in enumerate(texts)],
    }[kind]
    return "\n".join(lines)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_of_every_format(embed, tmp_path, kind, end):
    suffix = "txt" if kind == "lines" else kind
    content = "\ufeff" + records(kind, WORDS).replace("\n", end or "\n") + end
    (tmp_path / f"in.{suffix}").write_bytes(content.encode())
    assert_done(embed(f"in.{suffix}", "-o", "out.npy"), WORDS)


@pytest.mark.parametrize("kind", FORMATS)
def test_stdin(embed, kind):
    result = embed("-", "-o", "out.npy", "--format", kind, input=records(kind, WORDS).encode())
    assert_done(result, WORDS)


def test_a_column_by_name(embed, tmp_path):
    (tmp_path / "in.csv").write_text('a,b\n1,"two\nlines, ""quoted"""\n3,four\n')
    assert_done(embed("in.csv", "-o", "out.npy", "--column", "b"), ['two\nlines, "quoted"', "four"])
    (tmp_path / "in.ndjson").write_text('{"b": "five"}\n\n{"b": "六"}\n')
    assert_done(embed("in.ndjson", "-o", "out.npy", "--force", "--column", "b"), ["five", "六"])
    (tmp_path / "in.jsonl").write_text('"seven"\n{"text": "eight"}\n')
    assert_done(embed("in.jsonl", "-o", "out.npy", "--force"), ["seven", "eight"])


BAD_INPUT = {
    "no file": ("missing.txt", None, "No such file"),
    "no texts": ("in.txt", "", "holds no texts"),
    "a blank line": ("in.txt", "king\n \nqueen\n", "line 2: the text is blank"),
    "not UTF-8": ("in.txt", b"king\nqu\xffen", "not UTF-8"),
    "no header": ("in.csv", "", "no single column 'text'"),
    "no such column": ("in.csv", "id,name\n1,king\n", "choose one with --column: 'id', 'name'"),
    "two such columns": ("in.csv", "text,text\n1,king\n", "no single column 'text'"),
    "too few fields": ("in.csv", "id,text\n1,king\n2\n", "line 3: only 1 of 2 fields"),
    "an open quote": ("in.csv", 'id,text\n1,"king\n', "not CSV"),
    "not JSON": ("in.jsonl", '{"text": "king"}\n{"text"}\n', "line 2: not JSON"),
    "no such key": ("in.jsonl", '{"name": "king"}\n', "line 1: no 'text'; choose one with --column: 'name'"),
    "no object": ("in.jsonl", "[1]\n", "line 1: no 'text'"),
    "not a text": ("in.jsonl", '{"text": 3}\n', "line 1: 'text' is of type int, not a text"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_a_bad_input_is_refused_before_anything_is_made(server, embed, tmp_path, case):
    name, content, message = BAD_INPUT[case]
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    result = embed(name, "-o", "out.npy")
    assert result.exit_code == 2
    assert message in result.output
    assert server.requests == []
    assert set(os.listdir()) <= {name}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "-o OUT.npy"),
        (
            ["-o", "out.csv"],
            "must end in .npy, .arrow, .parquet, nothing or .index (a folder), not 'out.csv'",
        ),
        (["-o", "-"], "OUT is '-': give the name of a file or folder to make"),
        (["-o", "."], "OUT is '.': give the name"),
        (["-o", "out.npy", "--column", "text"], "plain lines have no columns"),
        (["-o", "no/out.npy"], "cannot be used"),
        (["-o", "out.npy", "--base-url", "nonsense"], "base_url must start with http"),
        (["-o", "out.npy", "--dims", "4000", "--model", "text-embedding-3-small"], "larger than the width"),
    ],
)
def test_a_wrong_call_is_refused(server, embed, tmp_path, arguments, message):
    (tmp_path / "in.txt").write_text("king\n")
    result = embed("in.txt", *arguments, model="text-embedding-3-small" if "--model" in arguments else OTHER)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert server.requests == []


def test_no_key(embed, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "")
    (tmp_path / "in.txt").write_text("king\n")
    result = embed("in.txt", "-o", "out.npy")
    assert result.exit_code == 2
    assert "no API key: set OPENAI_API_KEY" in result.output


def test_an_output_is_replaced_only_if_told_so(server, embed, tmp_path):
    (tmp_path / "in.txt").write_text("king\n")
    assert embed("in.txt", "-o", "out.npy").exit_code == 0
    result = embed("in.txt", "-o", "out.npy")
    assert result.exit_code == 2
    assert "--force replaces it" in result.output
    (tmp_path / "in.txt").write_text("queen\n")
    assert_done(embed("in.txt", "-o", "out.npy", "--force"), ["queen"])


def test_options_reach_the_server(server, embed, tmp_path):
    (tmp_path / "in.txt").write_text("king\nqueen\n")
    result = embed("in.txt", "-o", "out.npy", "--dims", 256, model="text-embedding-3-small")
    assert result.exit_code == 0, result.output
    assert server.requests == [
        {
            "model": "text-embedding-3-small",
            "input": ["king", "queen"],
            "encoding_format": "base64",
            "dimensions": 256,
        }
    ]
    assert np.load("out.npy").shape == (2, 256)


def test_the_end_says_what_was_made_and_what_it_took(server, embed, tmp_path):
    (tmp_path / "in.txt").write_text("\n".join([*TEXTS, "text 7"]))
    result = embed("in.txt", "-o", "out.npy")
    assert result.stdout == ""
    assert re.fullmatch(
        r"fastvec: out.npy: 201 of 201 texts, 64 dims, by another-model; "
        rf"2 requests, {used_tokens(server):,} tokens, \d+\.\d s\n",
        result.stderr,
    )
    result = embed("in.txt", "-o", "out.npy", "--force", "--quiet")
    assert (result.stdout, result.stderr) == ("", "")
    result = embed("in.txt", "-o", "out.npy", "--force", "--json")
    done = json.loads(result.stdout)
    assert result.stderr == ""
    assert done.pop("seconds") >= 0
    assert done == {
        "output": "out.npy",
        "format": "npy",
        "model": OTHER,
        "prefix": "",
        "texts": 201,
        "dims": 64,
        "left_out": {"blank": [], "too_long": [], "refused": []},
        "received_before": 0,
        "requests": 2,
        "tokens": used_tokens(server) // 3,
        "dollars": None,
    }


def used_tokens(server):
    """As the server has counted them."""
    return sum(len(text.split()) for request in server.requests for text in request["input"])


def test_rows_received_before_are_counted_apart(server, embed, tmp_path):
    (tmp_path / "some.txt").write_text("\n".join(TEXTS[:150]))
    (tmp_path / "all.txt").write_text("\n".join(TEXTS))
    assert embed("some.txt", "-o", "some.npy", "--cache", "rows").exit_code == 0
    result = embed("all.txt", "-o", "all.npy", "--cache", "rows")
    assert "; 150 from before, 1 request, " in result.stderr
    assert "; 200 from before, " in embed("all.txt", "-o", "all.npy", "--cache", "rows", "--force").stderr


def test_money_where_a_price_is_known(server, embed, tmp_path):
    (tmp_path / "in.txt").write_text("king of the hill\n" * 3 + "queen\n")
    known = "text-embedding-3-small"
    result = embed("in.txt", "-o", "out.npy", model=known)
    price = describe(known).price
    assert f"(${price:g} for a million tokens, as of {describe(known).priced_on})" in result.stderr
    result = embed("in.txt", "-o", "out.npy", "--force", "--json", model=known)
    done = json.loads(result.stdout)
    assert done["dollars"] == pytest.approx(price * done["tokens"] / 1e6)
    result = embed("in.txt", "--dry-run", "--json", model=known)
    counted = json.loads(result.stdout)
    assert counted == {
        "model": known,
        "texts": 4,
        "left_out": 0,
        "unique": 2,
        "received_before": 0,
        "tokens": 5,
        "requests": 1,
        "dollars": pytest.approx(price * 5 / 1e6),
        "dollars_per_million_tokens": price,
        "priced_on": describe(known).priced_on,
    }
    assert (
        "cost, about      under $0.0001 ($0.02 for a million tokens"
        in embed("in.txt", "--dry-run", model=known).stdout
    )


def test_options_become_arguments_of_the_embedder(embed, tmp_path, monkeypatch):
    argument = {
        "batch_size": 7,
        "concurrency": 3,
        "requests_per_minute": 11,
        "tokens_per_minute": 13,
        "patience": 5.0,
        "encoding_format": "float",
        "max_retries": 4,
        "timeout": 9.0,
        "dims": 8,
    }

    def make(model, **arguments):
        assert {name: arguments[name] for name in argument} == argument
        raise ValueError("seen")

    monkeypatch.setattr("fastvec._embedders.make", make)
    (tmp_path / "in.txt").write_text("king\n")
    options = [part for name, value in argument.items() for part in (f"--{name.replace('_', '-')}", value)]
    result = embed("in.txt", "-o", "out.npy", *options)
    assert (result.exit_code, result.output) == (2, "Error: seen\n")


def test_a_cache_of_ones_own_is_kept(server, embed, tmp_path):
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    for _ in range(2):
        assert_done(embed("in.txt", "-o", "out.npy", "--force", "--cache", "rows.sqlite"), TEXTS)
    sent = [text for request in server.requests for text in request["input"]]
    assert sorted(sent) == sorted(TEXTS)


def test_a_dry_run_counts_and_sends_nothing(server, embed, tmp_path, monkeypatch):
    (tmp_path / "in.txt").write_text("\n".join([*["one two, three"] * 100, *TEXTS]))
    monkeypatch.setenv("OPENAI_API_KEY", "")
    result = embed("in.txt", "--dry-run")
    counts = dict(re.split(r" {2,}", line) for line in result.output.splitlines())
    assert counts == {"texts": "300", "unique texts": "201", "tokens, about": "404", "requests": "2"}
    assert server.requests == []
    assert os.listdir() == ["in.txt"]
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert embed("in.txt", "-o", "out.npy").exit_code == 0
    assert len(server.requests) == 2  # the first tells the width


POSIX = pytest.mark.skipif(os.name == "nt", reason="files of POSIX")


def test_a_tsv_keeps_the_quotation_marks_that_a_text_opens_with(embed, tmp_path):
    texts = ['"Hello', "king", 'said "so"']
    (tmp_path / "in.tsv").write_text("\n".join(["text", *texts]))
    assert_done(embed("in.tsv", "-o", "out.npy"), texts)
    (tmp_path / "in.csv").write_text('id,text\n1,"king\n2,queen"\n')
    result = embed("in.csv", "-o", "csv.npy")
    assert result.exit_code == 2
    assert "in.csv: line 2: the quotation that opens here" in result.output
    assert_done(embed("in.csv", "-o", "csv.npy", "--quoting", "csv"), ["king\n2,queen"], "csv.npy")
    assert_done(embed("in.csv", "-o", "plain.npy", "--quoting", "none"), ['"king', 'queen"'], "plain.npy")


@POSIX
@pytest.mark.parametrize("name", ["in", "in.csv"])
def test_texts_from_a_pipe(embed, tmp_path, name):
    os.mkfifo(tmp_path / name)
    texts = ["text", *WORDS] if name == "in.csv" else WORDS
    writer = threading.Thread(target=(tmp_path / name).write_text, args=("\n".join(texts),))
    writer.start()
    result = embed(name, "-o", "out.npy")
    writer.join()
    assert_done(result, WORDS)


def test_what_a_pipe_gave_is_gone_when_all_is_done_or_failed(server, embed, tmp_path):
    for arguments, status, made in ((["--keep", "id"], 2, []), ([], 0, ["out.arrow"])):
        assert embed("-", "-o", "out.arrow", *arguments, input=b"king\nqueen\n").exit_code == status
        assert os.listdir() == made


@POSIX
def test_stdin_from_a_file_is_read_from_where_it_is(run_python, server, tmp_path):
    import subprocess
    import sys

    (tmp_path / "in.txt").write_text("skipped\nking\nqueen\n")
    environment = {**os.environ, "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.url}
    with open(tmp_path / "in.txt", "rb", buffering=0) as file:
        file.read(len("skipped\n"))
        command = [sys.executable, "-m", "fastvec", "embed", "-", "-o", "out.npy", "--model", OTHER]
        subprocess.run(command, stdin=file, cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "out.texts.jsonl").read_text() == '"king"\n"queen"\n'


@pytest.mark.parametrize(
    ("name", "value"), [("HTTPS_PROXY", "nonsense://host"), ("SSL_CERT_FILE", "/no/such/file")]
)
def test_a_setting_of_the_surroundings_is_one_line(embed, tmp_path, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    (tmp_path / "in.txt").write_text("king\n")
    result = embed("in.txt", "-o", "out.npy", "--base-url", "https://localhost:9/v1")
    assert result.exit_code == 2
    assert name in result.output
    assert len(result.output.splitlines()) == 1
