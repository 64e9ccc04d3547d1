"""The rows that `fastvec search` searches, by themselves: conditions, places of texts, answers in batches."""

import click
import numpy as np
import pytest

from fastvec import Index
from fastvec.commands.rows import Rows


class Table:
    """A file that was read, with these columns."""

    def __init__(self, **columns):
        self.columns, self.column_names = columns, tuple(columns)
        self.path, self.metadata, self.words = "table", {}, ("a", "b", "a", "c", "b")
        self.vectors = np.arange(10, dtype=np.float32).reshape(5, 2) + 1

    def index(self):
        return Index(self.vectors)


@pytest.mark.parametrize(
    ("conditions", "passing"),
    [
        ([], None),
        (["year=2024"], [1, 0, 1, 0, 0]),
        (["year=2024.0"], [1, 0, 1, 0, 0]),
        (["year=2024", "year=7"], [1, 1, 1, 0, 0]),
        (["year="], [0, 0, 0, 1, 1]),
        (["name=x", "year=2024"], [1, 0, 0, 0, 0]),
        (["year=2024", "name=x"], [1, 0, 0, 0, 0]),
        (["name=7"], [0, 1, 0, 0, 0]),
        (["name="], [0, 0, 0, 1, 1]),
        (["new=true"], [1, 0, 0, 0, 1]),
        (["new=FALSE"], [0, 1, 0, 0, 0]),
        (["score=1.5"], [1, 0, 0, 0, 0]),
        (["score=1"], [0, 1, 0, 0, 0]),
        (["mixed=1"], [0, 1, 0, 0, 0]),
        (["mixed=true"], [1, 0, 0, 0, 0]),
        (["a=b=c"], [0, 0, 1, 0, 0]),
        (["a=c"], [1, 0, 0, 0, 0]),
        (["none=x"], [0] * 5),
        (["none="], [1] * 5),
    ],
)
def test_which_rows_pass(conditions, passing):
    rows = Rows(
        Table(
            year=(2024, 7, 2024, None, None),
            name=("x", "7", "y", "", None),
            new=(True, False, None, None, True),
            score=(1.5, 1.0, -1.5, float("inf"), None),
            mixed=(True, 1, False, None, 2),
            none=(None,) * 5,
            **{"a": ("c", "b", "b", "b", "b"), "a=b": ("x", "x", "c", "x", "x")},
        )
    )
    found = rows.passing(conditions)
    assert (found if passing is None else found.astype(int).tolist()) == passing


def test_conditions_that_no_row_could_pass():
    rows = Rows(Table(year=(1, None, 2, 3, 4), new=(True,) * 5))
    for condition, said in (
        ("year=x", "--where: 'x' is not what column 'year' can hold: numbers"),
        ("year=true", "'true' is not what column 'year' can hold: numbers"),
        ("new=1", "'1' is not what column 'new' can hold: true and false"),
        ("year", "--where is 'year'; it must be COLUMN=VALUE"),
        ("day=1", "--where: table has no column 'day'; it has year, new"),
    ):
        with pytest.raises(click.UsageError) as caught:
            rows.passing([condition])
        assert said in caught.value.message
    with pytest.raises(click.UsageError, match="no columns came along with its texts"):
        Rows(Table()).passing(["a=b"])


def test_rows_by_their_texts(monkeypatch):
    rows = Rows(Table(year=(1, 2, 3, 4, 5)))
    assert rows.places(["b", "x", "a", "b"]) == [[1, 4], [], [0, 2], [1, 4]]
    assert (len(rows), rows.dims, rows.columns_of(3)) == (5, 2, {"year": 4})
    assert rows.vectors_of([4, 0]).tolist() == [[9, 10], [1, 2]]
    told = []
    monkeypatch.setattr("fastvec.commands.rows._BATCH", 2)
    queries, excluded = rows.vectors_of([0, 1, 2, 3, 4]), [[0], [], [2, 3], [], [4]]
    found = rows.nearest(
        queries,
        99,
        dims=None,
        where=np.arange(5) != 1,
        exclude=excluded,
        progress=lambda *at: told.append(at),
    )
    assert [sorted(row for row, _ in hits) for hits in found] == [
        [2, 3, 4],
        [0, 2, 3, 4],
        [0, 4],
        [0, 2, 3, 4],
        [0, 2, 3],
    ]
    assert found[1:2] == rows.nearest(
        queries[1:2], 4, dims=None, where=np.arange(5) != 1, exclude=[[]], progress=None
    )
    assert told == [(2, 5), (4, 5), (5, 5)]
    one = rows.nearest(queries[4:], 1, dims=1, where=None, exclude=[[]], progress=None)
    assert [row for row, _ in one[0]] == [0]  # all are alike in one dimension
