"""`fastvec duplicates`: what it writes, prints and refuses."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from data import hashed

import fastvec
from fastvec import cli, files
from fastvec.files import indexed

TEXTS = ["red", "green\tand blue", "red", "a\nlong line", "red!", "stone", "blue"]


@pytest.fixture
def vectors():
    rows = hashed(7, 16)
    rows[[2, 4]] = rows[0], rows[0] * np.float32(1.01)
    rows[6] = rows[1]
    return rows


@pytest.fixture
def run(monkeypatch):
    """Run `fastvec duplicates` in this process; returns what was printed, and what was said."""

    def call(*arguments, status=0):
        result = CliRunner().invoke(cli.group(), ["duplicates", *map(str, arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        return result.stdout, result.stderr

    return call


@pytest.mark.parametrize("suffix", [".index", ".arrow", ".parquet"])
def test_kept_texts_and_groups(run, tmp_path, vectors, suffix):
    source, kept, groups = tmp_path / f"rows{suffix}", tmp_path / "kept.jsonl", tmp_path / "groups.jsonl"
    files.write(source, TEXTS, vectors, repeated=True)
    out, said = run(source, "--min-score", "0.999", "-o", kept, "--groups", groups)
    assert out == ""
    assert said == "fastvec: 7 rows, 4 to keep; 2 groups of duplicates hold 5 rows\n"
    assert [json.loads(line) for line in kept.read_text().splitlines()] == [
        TEXTS[row] for row in (0, 1, 3, 5)
    ]
    assert [json.loads(line) for line in groups.read_text().splitlines()] == [
        {"rows": [0, 2, 4], "texts": ["red", "red", "red!"]},
        {"rows": [1, 6], "texts": ["green\tand blue", "blue"]},
    ]
    assert json.loads(run(source, "--min-score", "0.999", "--json")[0]) == {
        "rows": 7,
        "kept": 4,
        "groups": 2,
        "in_groups": 5,
    }


@pytest.mark.parametrize("suffix", [".vec", ".bin", ".txt", ".npy"])
def test_words_of_other_formats(run, tmp_path, vectors, suffix):
    source, kept = tmp_path / f"rows{suffix}", tmp_path / "kept.txt"
    files.write(source, list("abcdefg"), vectors)
    run(source, "--min-score", "0.999", "-o", kept)
    words = files.read(source).words
    assert kept.read_text().splitlines() == [words[row] for row in (0, 1, 3, 5)]


def test_lines_for_programs(run, tmp_path, vectors):
    source = tmp_path / "rows.arrow"
    files.write(source, TEXTS, vectors, repeated=True)
    out, _ = run(source, "--min-score", "0.999")
    assert out == "row\tkept\ttext\n2\t0\tred\n4\t0\tred!\n6\t1\tblue\n"


def test_the_metric_of_an_index_counts_and_dims(run, tmp_path):
    rows = np.array([[1, 0, 9], [1, 0, -9], [1, 0.01, 0]], np.float32)
    indexed.save(tmp_path / "index", fastvec.Index(rows, metric="euclidean"), ["a", "b", "c"])
    assert json.loads(run(tmp_path / "index", "--min-score", "-0.1", "--dims", 2, "--json")[0])["kept"] == 1
    assert json.loads(run(tmp_path / "index", "--min-score", "-9.5", "--json")[0])["kept"] == 1
    assert json.loads(run(tmp_path / "index", "--min-score", "-1", "--json")[0])["kept"] == 3


def test_a_text_with_a_line_break_leaves_the_old_file(run, tmp_path, vectors):
    source, kept = tmp_path / "rows.arrow", tmp_path / "kept.txt"
    files.write(source, TEXTS, vectors, repeated=True)
    kept.write_text("old")
    _, said = run(source, "--min-score", "0.999", "-o", kept, status=1)
    assert "kept.txt" in said
    assert ".jsonl" in said
    assert kept.read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"rows.arrow", "kept.txt"}


def test_misuses(run, tmp_path, vectors):
    source = tmp_path / "rows.arrow"
    files.write(source, TEXTS, vectors, repeated=True)
    for arguments, message in (
        ([], "--min-score"),
        (["--min-score", "nan"], "nan"),
        (["--min-score", "high"], "high"),
        (["--min-score", "0.9", "--dims", "17"], "16 dimensions"),
        (["--min-score", "0.9", "-o", tmp_path / "no" / "kept.txt"], "no folder"),
        (["--min-score", "0.9", "-o", tmp_path / "a", "--groups", tmp_path / "." / "a"], "same file"),
    ):
        assert message in run(source, *arguments, status=2)[1]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.arrow"]
