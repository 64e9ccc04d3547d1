"""Answers as tables of pandas, Polars and Arrow, and how they are shown."""

import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from data import hashed

import fastvec
from fastvec._frames import HOSTS

BASE = hashed(40, 8, 1)
QUERIES = hashed(3, 8, 2)
TITLES = [f"title {i}" for i in range(40)]
LENGTHS = np.arange(40, dtype=np.int16) * 10


def pandas_frame(columns):
    pandas = pytest.importorskip("pandas")
    # Labels that are not positions, which a look-up by label would take.
    return pandas.DataFrame(columns, index=np.arange(len(columns["title"]))[::-1] + 100)


HOST = {
    "pandas": SimpleNamespace(
        method="to_pandas",
        frame=pandas_frame,
        rows=lambda frame: frame.to_dict("records"),
        types=lambda frame: {name: str(kind) for name, kind in frame.dtypes.items()},
    ),
    "Polars": SimpleNamespace(
        method="to_polars",
        frame=lambda columns: pytest.importorskip("polars").DataFrame(columns),
        rows=lambda frame: frame.to_dicts(),
        types=lambda frame: {name: str(kind).lower() for name, kind in frame.schema.items()},
    ),
    "Arrow": SimpleNamespace(
        method="to_arrow",
        frame=pa.table,
        rows=lambda frame: frame.to_pylist(),
        types=lambda frame: {
            field.name: str(field.type).replace("float", "float32") for field in frame.schema
        },
    ),
}


@pytest.fixture(params=HOST)
def host(request):
    pytest.importorskip(HOSTS[request.param].module)
    return HOST[request.param]


def converted(host, answer, *arguments, **named):
    return getattr(answer, host.method)(*arguments, **named)


def plain(found, titles):
    """Rows of a table, from the pairs of each query."""
    return [
        {"query": query, "rank": rank, "index": index, "score": score, "title": titles[index]}
        for query, pairs in enumerate(found)
        for rank, (index, score) in enumerate(pairs)
    ]


def test_every_library_has_tests():
    assert set(HOST) == set(HOSTS)


def test_neighbors_with_columns(host):
    neighbors = fastvec.knn(QUERIES, BASE, 4)
    frame = host.frame({"title": TITLES, "length": LENGTHS, "more": TITLES})
    table = converted(host, neighbors, frame, ["length", "title"])
    types = host.types(table)
    assert list(types) == ["query", "rank", "index", "score", "length", "title"]
    kinds = [types[name] for name in ("query", "rank", "index", "score", "length")]
    assert kinds == ["int64", "int64", "int64", "float32", "int16"]
    rows = host.rows(table)
    assert [row.pop("length") for row in rows] == [LENGTHS[row["index"]] for row in rows]
    assert rows == plain(neighbors.lists(), TITLES)
    assert list(host.types(converted(host, neighbors))) == ["query", "rank", "index", "score"]
    every = converted(host, neighbors, frame)
    assert list(host.types(every))[4:] == ["title", "length", "more"]
    assert host.rows(converted(host, neighbors, frame, "title")) == rows


def test_rows_that_do_not_exist_are_left_out(host):
    mask = np.zeros((3, 40), bool)
    mask[0, [3, 5]] = mask[2, 9] = True
    neighbors = fastvec.knn(QUERIES, BASE, 4, where=mask)
    frame = host.frame({"title": TITLES})
    rows = host.rows(converted(host, neighbors, frame))
    assert rows == plain(neighbors.lists(), TITLES)
    assert [(row["query"], row["rank"]) for row in rows] == [(0, 0), (0, 1), (2, 0)]
    nothing = fastvec.knn(QUERIES, BASE, 4, where=[])
    empty = converted(host, nothing, frame)
    assert host.rows(empty) == []
    assert host.types(empty) == host.types(converted(host, neighbors, frame))
    none = fastvec.knn(QUERIES, BASE[:0], 4)
    assert host.rows(converted(host, none, {"title": TITLES[:0]})) == []


def test_one_query(host):
    neighbors = fastvec.knn(QUERIES[1], BASE, 3)
    rows = host.rows(converted(host, neighbors, host.frame({"title": TITLES})))
    assert rows == plain([neighbors.lists()], TITLES)


def test_ranges(host):
    close = fastvec.Index(BASE).range_search(QUERIES, 0.2)
    assert 0 < len(close.indices) < 120
    rows = host.rows(converted(host, close, host.frame({"title": TITLES})))
    of_query = [slice(*close.offsets[i : i + 2]) for i in range(3)]
    pairs = [zip(close.indices[s].tolist(), close.scores[s].tolist(), strict=True) for s in of_query]
    assert rows == plain(pairs, TITLES)


def test_pairs(host):
    index = fastvec.Index(BASE)
    pairs = index.pairs(0.5)
    columns = {"title": TITLES, "length": LENGTHS}
    rows = host.rows(converted(host, pairs, host.frame(columns), "title"))
    assert len(rows) == len(pairs.left) > 1
    for row, left, right, score in zip(rows, *pairs, strict=True):
        names = {"title_left": TITLES[left], "title_right": TITLES[right]}
        assert row == {"left": left, "right": right, "score": score, **names}
    joined = index.pairs(0.2, other=QUERIES)
    other = host.frame({"title": ["x", "y", "z"]})
    rows = host.rows(converted(host, joined, host.frame(columns), ["title"], other=other))
    assert [row["title_left"] for row in rows] == [TITLES[i] for i in joined.left]
    assert [row["title_right"] for row in rows] == ["xyz"[i] for i in joined.right]
    assert list(host.rows(converted(host, joined))[0]) == ["left", "right", "score"]


def test_words_and_other_columns_by_name(host):
    words = fastvec.Vocabulary(TITLES, BASE)
    neighbors = words.index.search(QUERIES, 2)
    columns = {"word": words.words, "length": LENGTHS, "nothing": [None, "x"] * 20}
    rows = host.rows(converted(host, neighbors, columns, ["length", "word", "nothing"]))
    assert [row["word"] for row in rows] == [TITLES[i] for i in neighbors.indices.ravel()]
    assert [row["length"] for row in rows] == [LENGTHS[i] for i in neighbors.indices.ravel()]
    assert [row["nothing"] for row in rows] == [columns["nothing"][i] for i in neighbors.indices.ravel()]
    column = pa.chunked_array([TITLES[:7], TITLES[7:]])
    rows = host.rows(converted(host, neighbors, {"title": column}))
    assert rows == plain(neighbors.lists(), TITLES)


def test_rows_added_and_removed_keep_their_positions(host):
    index = fastvec.Index(BASE[:30])
    index.remove([0, 7])
    index.add(BASE[30:])
    neighbors = index.search(BASE, 1)
    table = converted(host, neighbors, host.frame({"title": TITLES}))
    assert host.rows(table) == plain(neighbors.lists(), TITLES)
    assert {row["index"] for row in host.rows(table)} == set(range(40)) - {0, 7}


def test_faults_are_named(host):
    neighbors = fastvec.knn(QUERIES, BASE, 4)
    frame = host.frame({"title": TITLES, "score": LENGTHS})
    for arguments, message in (
        ((frame,), "frame has a column 'score', and the answer has one named 'score' already: rename"),
        ((frame, ["title", "title"]), "has a column 'title', and the answer has one"),
        ((frame, ["titel"]), "frame has no column 'titel'; its columns are 'title', 'score'"),
        ((host.frame({"title": TITLES[:5]}),), "frame has 5 rows, and the answer names row"),
        ((None, "title"), "columns are named, but no frame"),
        (({"title": TITLES[:3]},), "frame has 3 rows"),
    ):
        with pytest.raises(ValueError, match=message):
            converted(host, neighbors, *arguments)
    for wrong in (TITLES, np.ones((40, 2)), "title"):
        with pytest.raises(
            TypeError, match=r"frame is a \S+; it must be a \w+\.(DataFrame|Table), or a mapping"
        ):
            converted(host, neighbors, wrong)
    with pytest.raises(ValueError, match="other has 1 rows, and the answer names row"):
        converted(
            host,
            fastvec.Index(BASE).pairs(0.5),
            host.frame({"title": TITLES}),
            other=host.frame({"title": ["x"]}),
        )


@pytest.mark.parametrize("name", HOST)
def test_a_missing_library_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, HOSTS[name].module, None)
    with pytest.raises(
        ModuleNotFoundError, match=rf"{name} is not installed: pip install .*{HOSTS[name].module[-5:]}"
    ):
        getattr(fastvec.knn(QUERIES, BASE, 1), HOST[name].method)()


def test_a_table_of_another_library_is_refused_by_name():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(
        TypeError, match=r"frame is a pandas\.DataFrame; it must be a pyarrow\.Table, or a map"
    ):
        fastvec.knn(QUERIES, BASE, 1).to_arrow(pandas.DataFrame({"title": TITLES}))


SCORES = np.array(
    [[0.5, 0.25, 1e-7, -1, -2, -3], [1, -np.inf, -np.inf, -np.inf, -np.inf, -np.inf]], np.float32
)
INDICES = np.array([[3, 1, 0, 2, 5, 4], [0, -1, -1, -1, -1, -1]])


def test_neighbors_are_shown_in_short():
    assert repr(fastvec.TopK(SCORES, INDICES)) == (
        "TopK(2 queries, k=6)\n0: 3 (0.5)  1 (0.25)  0 (1e-07)  2 (-1)  5 (-2)  … 1 more\n1: 0 (1)"
    )
    assert repr(fastvec.TopK(SCORES[1], INDICES[1])) == "TopK(k=6)\n0 (1)"
    assert repr(fastvec.TopK(SCORES[:0], INDICES[:0])) == "TopK(0 queries, k=6)"
    many = fastvec.TopK(np.tile(SCORES, (1000, 1)), np.tile(INDICES, (1000, 1)))
    assert repr(many).splitlines()[0] == "TopK(2,000 queries, k=6)"
    assert repr(many).splitlines()[5:] == [
        "4: 3 (0.5)  1 (0.25)  0 (1e-07)  2 (-1)  5 (-2)  … 1 more",
        "… 1,995 more",
    ]
    assert repr(fastvec.TopK(1, 2)) == "TopK(scores=1, indices=2)"
    assert repr(fastvec.topk([[1.0, 2.0]], 3)) == "TopK(1 query, k=3)\n0: 1 (2)  0 (1)"


def test_ranges_and_pairs_are_shown_in_short():
    offsets = np.array([0, 6, 6, 7])
    close = fastvec.Ranges(offsets, np.append(SCORES[0], SCORES[1, 0]), np.append(INDICES[0], 7))
    lines = ["0: 3 (0.5)  1 (0.25)  0 (1e-07)  2 (-1)  5 (-2)  … 1 more", "1: ", "2: 7 (1)"]
    assert repr(close).splitlines() == ["Ranges(3 queries, 7 rows)", *lines]
    assert repr(fastvec.Ranges(offsets[:1], SCORES[0, :0], INDICES[0, :0])) == "Ranges(0 queries, 0 rows)"
    pairs = fastvec.Pairs(INDICES[0], INDICES[0] + 1, SCORES[0])
    assert repr(pairs).splitlines()[::3] == ["Pairs(6 pairs)", "0 1 (1e-07)", "… 1 more"]
    assert repr(fastvec.Pairs(*(part[:1] for part in pairs))) == "Pairs(1 pair)\n3 4 (0.5)"


def cells(html):
    """The caption, and the rows of cells, of a table."""
    table = ElementTree.fromstring(html)
    return table.find("caption").text, [[cell.text for cell in row] for row in table.iter("tr")]


def test_notebooks_show_a_table():
    caption, (names, *rows) = cells(fastvec.TopK(SCORES, INDICES)._repr_html_())
    assert (caption, names) == ("TopK(2 queries, k=6)", ["query", "rank", "index", "score"])
    assert rows[::4] == [["0", "0", "3", "0.5"], ["0", "4", "5", "-2"]]
    assert rows[5:] == [["1", "0", "0", "1"]]
    close = fastvec.Ranges(np.array([0, 6]), SCORES[0], INDICES[0])
    assert cells(close._repr_html_())[1][1:] == rows[:5]
    caption, rows = cells(fastvec.Pairs(INDICES[0], INDICES[0] + 1, SCORES[0])._repr_html_())
    assert (caption, rows[1], len(rows)) == ("Pairs(6 pairs)", ["3", "4", "0.5"], 6)


def test_what_is_shown_does_not_depend_on_how_much_there_is():
    """The memory of a look at a large answer is that of its first rows."""
    import tracemalloc

    large = fastvec.TopK(np.ones((1000, 1000), np.float32), np.ones((1000, 1000), np.int64))
    repr(large)
    tracemalloc.start()
    try:
        repr(large), large._repr_html_()
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
