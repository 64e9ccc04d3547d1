"""`fastvec build`: what it writes, prints and refuses."""

import json

import numpy as np
import pytest
from assertions import assert_same_topk
from click.testing import CliRunner
from data import hashed

from fastvec import Index, Vocabulary, _building, cli, files


@pytest.fixture
def run(monkeypatch):
    """Run `fastvec build` in this process; returns what was printed, and what was said."""

    def call(*arguments, status=0):
        result = CliRunner().invoke(cli.group(), ["build", *map(str, arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        return result.stdout, result.stderr

    return call


@pytest.fixture
def rows():
    return hashed(300, 16)


def test_a_file_becomes_a_folder(run, tmp_path, rows):
    np.save(tmp_path / "x.npy", rows)
    out, said = run(tmp_path / "x.npy", "-o", tmp_path / "made" / "index", "--metric", "dot")
    assert (out, said) == (f"{tmp_path / 'made' / 'index'}: 300 vectors, 16 dims, dot\n", "")
    assert_same_topk(
        Index.open(tmp_path / "made" / "index").search(rows, 3), Index(rows, metric="dot").search(rows, 3)
    )
    facts = json.loads(run(tmp_path / "x.npy", "-o", tmp_path / "b", "--screen", "off", "--json")[0])
    assert facts == {
        "target": str(tmp_path / "b"),
        "rows": 300,
        "dims": 16,
        "metric": "cosine",
        "dtype": "float32",
        "screen": None,
    }


@pytest.mark.parametrize("suffix", ["vec", "bin", "txt"])
def test_words_are_kept(run, tmp_path, rows, suffix):
    words = [f"w{row}" for row in range(300)]
    files.write(tmp_path / f"x.{suffix}", words, rows)
    run(tmp_path / f"x.{suffix}", "-o", tmp_path / "index")
    assert Vocabulary.open(tmp_path / "index").words == tuple(words)


def test_what_cannot_be_built(run, tmp_path, rows):
    np.save(tmp_path / "x.npy", rows)
    assert "Missing option '-o'" in run(tmp_path / "x.npy", status=2)[1]
    (tmp_path / "there").mkdir()
    assert (
        "exists, and a build replaces nothing"
        in run(tmp_path / "x.npy", "-o", tmp_path / "there", status=1)[1]
    )
    assert (
        "float16 does not hold"
        in run(tmp_path / "x.npy", "-o", tmp_path / "a", "--dtype", "float16", status=1)[1]
    )
    assert "screen is 64" in run(tmp_path / "x.npy", "-o", tmp_path / "a", "--screen", "64", status=1)[1]
    rows[77, 0] = np.inf
    np.save(tmp_path / "x.npy", rows)
    assert "x.npy, row 77: NaN or inf" in run(tmp_path / "x.npy", "-o", tmp_path / "a", status=1)[1]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["there", "x.npy"]


def test_an_interrupted_command_goes_on(run, tmp_path, rows, monkeypatch):
    np.save(tmp_path / "x.npy", rows)
    monkeypatch.setattr(_building, "PART_BYTES", 4 * 16 * 100)
    monkeypatch.setattr(_building, "BLOCK_BYTES", 4 * 16 * 50)
    real, left = _building._Build._encoded, [4]

    def encoded(*arguments):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(_building._Build, "_encoded", encoded)
        with pytest.raises(KeyboardInterrupt):
            Index.build(tmp_path / "x.npy", tmp_path / "index")
    assert (tmp_path / "index.unfinished" / "build.json").exists()
    assert not (tmp_path / "index").exists()
    said = run(tmp_path / "x.npy", "-o", tmp_path / "index", "--metric", "dot", status=1)[1]
    assert "unfinished build with another metric" in said
    run(tmp_path / "x.npy", "-o", tmp_path / "index")
    assert_same_topk(Index.open(tmp_path / "index").search(rows, 3), Index(rows).search(rows, 3))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["index", "x.npy"]
