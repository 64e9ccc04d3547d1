"""The committed digests hold for every micro-kernel, thread count, split of a batch and home of the rows."""

import functools
import itertools

import numpy as np
import pytest
from corpus import cases, digest, expected, inputs, table

import fastvec

AVAILABLE = [kernel.name for kernel in fastvec.machine.micro_kernels() if kernel.available]
CASES = cases()
THREADS = (1, 2, 5)


def test_the_table_is_complete_and_the_inputs_are_those_it_was_made_from():
    assert {name: digest(*inputs(case)) for name, case in CASES.items()} == {
        name: row["inputs"] for name, row in table().items()
    }


@pytest.mark.parametrize("name", CASES)
def test_the_oracle_agrees(name):
    assert digest(*expected(CASES[name])) == table()[name]["answer"]


def one_shot(case, folder):
    """Nothing kept: a function instead of an Index."""
    if case.ask == "knn":
        return lambda queries, k, **options: fastvec.knn(
            queries, case.vectors, k, metric=case.metric, **options
        )
    if case.ask in ("3cosadd", "3cosmul"):
        return functools.partial(fastvec.analogy, case.vectors)
    return None


def built(case, folder):
    return fastvec.Index(case.vectors, metric=case.metric)


def mapped(case, folder):
    fastvec.Index(case.vectors, metric=case.metric).save(folder / "index")
    return fastvec.Index.open(folder / "index")


def added(case, folder):
    """Built from nothing but one row, and then in pieces of all sizes."""
    index = fastvec.Index(case.vectors[:1], metric=case.metric)
    borders = [1, 2, 18, 19, len(case.vectors) // 2, len(case.vectors)]
    for first, last in itertools.pairwise(borders):
        index.add(case.vectors[first:last])
    return index


def ask(case, home, part, threads):
    """The answer to some of the queries."""
    options = {"dims": case.dims, "where": case.where, "num_threads": threads}
    if case.exclude is not None:
        options["exclude"] = case.exclude[part]
    queries = case.queries[part]
    if case.ask in ("3cosadd", "3cosmul"):
        search = getattr(home, "analogy", home)
        return search(queries[:, :2], queries[:, 2:], case.k, method=case.ask, **options)
    if case.ask == "range":
        actual = home.range_search(queries, case.least, **options)
        return np.diff(actual.offsets), actual.scores, actual.indices
    return getattr(home, "search", home)(queries, case.k, **options)


def splits(case):
    """All queries at once, in two parts, and some of them alone or in pairs."""
    m = len(case.queries)
    for borders in ([0, m], [0, m // 2, m], [0, 1, 3, m]):
        yield [slice(first, last) for first, last in itertools.pairwise(borders) if first < last <= m]


@pytest.mark.usefixtures("all_threads")
@pytest.mark.slow
@pytest.mark.parametrize("home", [one_shot, built, mapped, added])
@pytest.mark.parametrize("kernel", AVAILABLE)
def test_every_way_gives_the_same_bits(kernel, home, monkeypatch, tmp_path):
    monkeypatch.setenv("FASTVEC_MICRO_KERNEL", kernel)
    assert fastvec.machine.active_micro_kernel() == kernel
    wrong, rows = [], table()
    for number, (name, case) in enumerate(CASES.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        searched = home(case, folder)
        if searched is None:
            continue
        for threads in THREADS:
            if case.ask == "graph":
                if digest(*searched.knn_graph(case.k, num_threads=threads)) != rows[name]["answer"]:
                    wrong.append((name, threads))
                continue
            for parts in splits(case):
                answers = [ask(case, searched, part, threads) for part in parts]
                joined = [np.concatenate(column) for column in zip(*answers, strict=True)]
                if digest(*joined) != rows[name]["answer"]:
                    wrong.append((name, threads, parts))
    assert not wrong
