"""What `fastvec embed` writes: every format, columns that come along, and what made the vectors."""

import json
import os

import numpy as np
import pytest
from embed_command import TEXTS, rows_of
from embedding_server import OTHER

from fastvec import files

OUTPUTS = ("out.npy", "out.arrow", "out.parquet", "out", "out.index")
HOLDING_COLUMNS = OUTPUTS[1:]


def read(path):
    return files.read(path, repeated=True)


@pytest.mark.parametrize("output", OUTPUTS)
def test_every_format_holds_texts_vectors_and_what_made_them(server, embed, tmp_path, output):
    texts = ["king", "two words", "king", *TEXTS]
    (tmp_path / "in.txt").write_text("\n".join(texts))
    result = embed("in.txt", "-o", output)
    assert result.exit_code == 0, result.output
    actual = read(output)
    assert list(actual.words) == texts
    np.testing.assert_array_equal(actual.vectors, rows_of(texts))
    assert dict(actual.metadata) == {"model": OTHER, "server": server.url.rstrip("/"), "dims": "64"}
    assert sum(request["input"].count("king") for request in server.requests) == 1
    beside = {".npy": {"out.texts.jsonl", "out.meta.json"}}.get(os.path.splitext(output)[1], set())
    assert set(os.listdir()) == {"in.txt", output} | beside


@pytest.mark.parametrize("output", HOLDING_COLUMNS)
def test_columns_come_along(embed, tmp_path, output):
    (tmp_path / "in.csv").write_text('id,body,title,year\n007,king,"a, b",2020\n8,queen,,\n')
    result = embed("in.csv", "-o", output, "--column", "body", "--keep", "title,id", "--keep", "year")
    assert result.exit_code == 0, result.output
    actual = read(output)
    assert list(actual.words) == ["king", "queen"]
    assert dict(actual.columns) == {"title": ("a, b", ""), "id": ("007", "8"), "year": (2020, None)}
    records = [{"text": "king", "id": 1, "ok": True}, {"text": "queen", "score": 0.5, "ok": None}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    result = embed("in.jsonl", "-o", output, "--keep", "ok,score,id", "--force")
    assert result.exit_code == 0, result.output
    assert dict(read(output).columns) == {"ok": (True, None), "score": (None, 0.5), "id": (1, None)}


def test_a_name_with_a_comma_is_quoted(embed, tmp_path):
    (tmp_path / "in.csv").write_text('"a,b",text\n1,king\n')
    assert embed("in.csv", "-o", "out.arrow", "--keep", '"a,b"').exit_code == 0
    assert dict(read("out.arrow").columns) == {"a,b": (1,)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out.vec"], "word2vec-text, which takes words without spaces"),
        (["-o", "out.txt"], "glove, which takes words without spaces"),
        (
            ["-o", "out.npy", "--keep", "id"],
            "--keep: npy holds no further columns ('id')",
        ),
        (
            ["-o", "out.arrow", "--keep", "id,text"],
            "--keep: a column cannot be called 'text'",
        ),
        (["-o", "out.arrow", "--keep", "name,id,page"], "'name', 'page'; there are: 'id', 'text'"),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_work(server, embed, tmp_path, arguments, message):
    (tmp_path / "in.csv").write_text("id,text\n1,king\n")
    result = embed("in.csv", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert server.requests == []
    assert os.listdir() == ["in.csv"]


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_is_replaced_as_one_thing_if_it_is_ours(embed, tmp_path, output):
    for text in ("king", "queen"):
        (tmp_path / f"{text}.txt").write_text(text)
    assert embed("king.txt", "-o", output, "--prefix", "old: ").exit_code == 0
    before = sorted(os.listdir())
    result = embed("queen.txt", "-o", output)
    assert result.exit_code == 2
    assert f"{output} is there already; --force replaces it" in result.output
    assert embed("queen.txt", "-o", output, "--force", "--prefix", "new: ").exit_code == 0
    actual = read(output)
    assert list(actual.words) == ["queen"]
    np.testing.assert_array_equal(actual.vectors, rows_of(["new: queen"]))
    assert actual.metadata["document_prefix"] == "new: "
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_folder_of_others_is_never_replaced(server, embed, tmp_path, force):
    (tmp_path / "in.txt").write_text("king\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "diary.txt").write_text("dear diary")
    result = embed("in.txt", "-o", "out", *force)
    assert result.exit_code == 2
    assert "out exists and is not a fastvec index" in result.output
    assert server.requests == []
    assert os.listdir("out") == ["diary.txt"]


def test_an_input_within_the_folder_that_it_would_replace_is_refused(embed, tmp_path):
    (tmp_path / "in.txt").write_text("king\n")
    assert embed("in.txt", "-o", "out").exit_code == 0
    (labels,) = tmp_path.glob("out/*/labels.jsonl")
    result = embed(labels, "-o", "out", "--force")
    assert result.exit_code == 2
    assert "out holds INPUT itself" in result.output


NOMIC = "nomic-ai/nomic-embed-text-v1.5"


def test_prefixes_are_sent_and_not_written(server, embed, tmp_path):
    server.widths = {NOMIC: 768}
    (tmp_path / "in.txt").write_text("king\nqueen\n")
    cases = (
        ([], "search_document: ", "search_query: "),
        (["--prefix", "passage: "], "passage: ", "search_query: "),
        (["--prefix", "", "--query-prefix", "q: "], "", "q: "),
        (["--prefix", "", "--query-prefix", ""], "", ""),
    )
    for arguments, document, query in cases:
        server.requests.clear()
        result = embed("in.txt", "-o", "out.arrow", "--force", *arguments, model=NOMIC)
        assert result.exit_code == 0, result.output
        actual = read("out.arrow")
        assert list(actual.words) == ["king", "queen"]
        assert server.requests[-1]["input"] == [document + "king", document + "queen"]
        said = {role: actual.metadata.get(f"{role}_prefix", "") for role in ("document", "query")}
        assert said == {"document": document, "query": query}
        assert (f"each after {document!r}" in result.stderr) is bool(document)


def test_offline_needs_neither_key_nor_server(server, embed, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://nowhere.invalid/v1")
    texts = ["king", "a dog barks", "king"]
    (tmp_path / "in.txt").write_text("\n".join(texts))
    result = embed("in.txt", "-o", "out.arrow", model="offline")
    assert result.exit_code == 0, result.output
    actual = read("out.arrow")
    assert list(actual.words) == texts
    assert dict(actual.metadata) == {"model": "offline", "dims": "512"}
    np.testing.assert_array_equal(actual.vectors[0], actual.vectors[2])
    assert sorted(os.listdir()) == ["in.txt", "out.arrow"]
    counts = embed("in.txt", "--dry-run", model="offline").output
    assert "texts            3" in counts
    assert "requests" not in counts
    assert server.requests == []


def test_offline_refuses_options_of_servers(embed, tmp_path):
    (tmp_path / "in.txt").write_text("king\n")
    arguments = ("--base-url", "http://localhost/v1", "--batch-size", 3, "--patience", 1)
    result = embed("in.txt", "-o", "out.arrow", *arguments, model="offline")
    assert result.exit_code == 2
    assert "leave out --base-url, --batch-size, --patience" in result.output
