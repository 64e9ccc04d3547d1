"""The same bits for all numbers of threads, batches, and floating-point modes of the caller.

Run as a program, this file writes the answers of a fixed set of searches to a folder; a test
does so in a process that flushes subnormals from the start. (Micro-kernels: `test_digests.py`.)
"""

import sys
from pathlib import Path

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, assert_same_topk
from conftest import FLUSH_BITS, ROUND_BITS, control_register
from data import FORMS, gaussian, hashed, matrices, mixed, related, seeds, subnormal
from hypothesis import given
from hypothesis import strategies as st

import fastvec
from fastvec.kernels import metrics

AVAILABLE = [kernel.name for kernel in fastvec.machine.micro_kernels() if kernel.available]
MISSING = [kernel.name for kernel in fastvec.machine.micro_kernels() if not kernel.available]


def searches():
    """Names to (queries, vectors, k, options): small and large batches over easy and awkward rows."""
    easy, awkward = hashed(2100, 70, 1), mixed(700, 97, 2)
    tiny = subnormal(300, 33, 3)
    odd = np.arange(1, 700, 2)
    return {
        "batch": (hashed(70, 70, 4), easy, 10, {}),
        "pair": (hashed(2, 70, 5), easy, 10, {}),
        "one": (hashed(1, 70, 6), easy, 3, {"dims": 40}),
        "dot": (hashed(70, 70, 7), easy, 10, {"metric": "dot"}),
        "awkward": (related(awkward, 70, 1), awkward, 10, {}),
        "awkward dot": (related(awkward, 70, 1), awkward, 10, {"metric": "dot", "dims": 65}),
        "filtered": (related(awkward, 40, 2), awkward, 10, {"where": odd, "exclude": [[1, 3]] * 40}),
        "tied": (hashed(1, 17, 8), np.repeat(hashed(1, 17, 8), 5000, axis=0), 7, {}),
        "subnormal": (tiny[:40], tiny, 10, {"metric": "dot"}),
        "many": (tiny[:40], tiny, 301, {}),
    }


def answers(problems):
    for name, (queries, vectors, k, options) in problems.items():
        yield f"knn {name}", fastvec.knn(queries, vectors, k, **options)
        index = fastvec.Index(vectors, metric=options.get("metric", "cosine"))
        others = {key: value for key, value in options.items() if key != "metric"}
        yield f"Index {name}", index.search(queries, k, **others)
    vectors = hashed(2100, 70, 1)
    for method in ("3cosadd", "3cosmul"):
        yield method, fastvec.analogy(vectors, [[1, 2], [3, 4]], [[5], [6]], 5, method=method)


def expected_answers():
    for name, (queries, vectors, k, options) in searches().items():
        answer = oracle.knn(queries, vectors, k, **options)
        yield f"knn {name}", answer
        yield f"Index {name}", answer
    vectors = hashed(2100, 70, 1)
    for method in ("3cosadd", "3cosmul"):
        yield method, oracle.analogy(vectors, [[1, 2], [3, 4]], [[5], [6]], 5, method)


def main(folder):
    problems = searches()  # made first: NumPy, too, would flush
    read, write = control_register()
    write(read() | FLUSH_BITS)
    for name, (scores, indices) in answers(problems):
        np.savez(Path(folder) / f"{name}.npz", scores=scores, indices=indices)


def assert_written(folder):
    names = set()
    for name, expected in expected_answers():
        with np.load(folder / f"{name}.npz") as stored:
            assert_same_topk(fastvec.TopK(stored["scores"], stored["indices"]), expected)
        names.add(name)
    assert {path.stem for path in folder.glob("*.npz")} == names


@pytest.mark.slow
def test_a_process_that_flushes_subnormals_gives_the_same_bits(run_python, tmp_path, flushing):
    """The whole process from its start, so compilation and the pool's threads flush too."""
    result = run_python(__file__, tmp_path)
    assert result.returncode == 0, result.stderr
    assert_written(tmp_path)


FAILING = "import fastvec; fastvec.Index([[1.0, 2.0]]).search([[1.0, 2.0]], 1)"


def test_an_unknown_micro_kernel_fails_and_names_the_known_ones(run_python):
    for code in (FAILING, "import fastvec; fastvec.knn([[1.0, 2.0]], [[1.0, 2.0]], 1)"):
        result = run_python("-c", code, FASTVEC_MICRO_KERNEL="nonsense")
        assert result.returncode == 1
        for part in ("FASTVEC_MICRO_KERNEL", "nonsense", *AVAILABLE):
            assert part in result.stderr


def test_a_micro_kernel_that_is_missing_here_fails_and_says_why(run_python):
    assert all(kernel.why_not for kernel in fastvec.machine.micro_kernels() if not kernel.available)
    for name in MISSING[:2]:
        why_not = next(k.why_not for k in fastvec.machine.micro_kernels() if k.name == name)
        result = run_python("-c", FAILING, FASTVEC_MICRO_KERNEL=name)
        assert result.returncode == 1
        for part in (name, why_not):
            assert part in result.stderr


def test_generic_is_always_available_and_can_be_forced(run_python):
    assert "generic" in AVAILABLE
    assert fastvec.machine.active_micro_kernel() in AVAILABLE
    code = "import fastvec; print(fastvec.machine.active_micro_kernel())"
    assert run_python("-c", code, FASTVEC_MICRO_KERNEL="generic").stdout.split() == ["generic"]


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("metric", metrics.TABLE)
def test_thread_counts(metric):
    vectors = np.concatenate([gaussian(3000, 64, 1), mixed(300, 64, 2)])
    index = fastvec.Index(vectors, metric=metric)
    for m in (1, 2, 3, 31, 100):
        queries = related(vectors, m, m)
        expected = oracle.knn(queries, vectors, 10, metric)
        for count in (1, 2, 3, 7):
            assert_same_topk(index.search(queries, 10, num_threads=count), expected)
            assert_same_topk(fastvec.knn(queries, vectors, 10, metric=metric, num_threads=count), expected)


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("method", ["3cosadd", "3cosmul"])
def test_thread_counts_of_analogies(method):
    vectors = mixed(1000, 64, 1)
    questions = np.random.default_rng(1).integers(0, 1000, (70, 3))
    expected = oracle.analogy(vectors, questions[:, :2], questions[:, 2:], 5, method)
    for count in (1, 2, 3):
        options = {"method": method, "num_threads": count}
        assert_same_topk(fastvec.analogy(vectors, questions[:, :2], questions[:, 2:], 5, **options), expected)


@given(matrices(), st.data())
def test_batches_may_be_split_anywhere(vectors, data):
    queries = related(vectors, data.draw(st.integers(1, 70)), data.draw(seeds))
    cut = data.draw(st.integers(0, len(queries)))
    index = fastvec.Index(vectors)
    for search in (index.search, lambda queries, k: fastvec.knn(queries, vectors, k)):
        full, parts = search(queries, 5), (search(queries[:cut], 5), search(queries[cut:], 5))
        joined = fastvec.TopK(*(np.concatenate(pair) for pair in zip(*parts, strict=True)))
        assert_same_topk(joined, full)


def test_a_query_alone_is_a_query_in_a_batch():
    vectors = mixed(700, 97, 1)
    queries = related(vectors, 70, 2)
    full = fastvec.knn(queries, vectors, 10)
    for i, query in enumerate(queries):
        alone = fastvec.knn(query, vectors, 10)
        assert_same_topk(alone, fastvec.TopK(full.scores[i], full.indices[i]))


@pytest.mark.parametrize("metric", metrics.TABLE)
def test_queries_scanned_a_few_at_a_time(metric, monkeypatch):
    """Many queries go by in groups; what each excludes, and those that leave the scan, stay theirs."""
    from fastvec.kernels import cost

    easy, tied = mixed(3000, 33, 1), np.repeat(gaussian(1, 33, 2), 6000, axis=0)
    vectors = np.concatenate([easy, tied])
    queries = np.concatenate([related(easy, 150, 3), tied[:3], related(easy, 47, 4)])
    index, exclude = fastvec.Index(vectors, metric=metric), np.arange(200)[:, None]
    mask = np.random.default_rng(5).random((200, 9000)) < 0.7
    full = index.search(queries, 9, exclude=exclude, where=mask)
    monkeypatch.setattr(cost, "queries_at_once", lambda k: 64)
    for search in (index.search, lambda *a, **b: fastvec.knn(a[0], vectors, a[1], metric=metric, **b)):
        assert_same_topk(search(queries, 9, exclude=exclude, where=mask), full)


@pytest.mark.usefixtures("all_threads")
def test_subnormals_survive_a_caller_who_flushes_them(flushing):
    tiny = subnormal(200, 33, 1)
    larger = tiny * np.float32(2**100)
    exact = tiny.astype(np.float64)
    assert_same_bits(exact.astype(np.float32), tiny)
    forms = [form(tiny) for form in FORMS.values()]
    least = exact * 1e-270  # subnormal in float64
    listed = [[*row[:-1], float(row[-1])] for row in tiny]  # scalars of NumPy among Python's numbers
    calls = [
        *(lambda form=form: fastvec.knn(form, form, 5) for form in forms),
        *(lambda form=form: fastvec.normalize(form) for form in forms),
        lambda: fastvec.knn(tiny, tiny, 5, metric="dot"),
        lambda: fastvec.knn(larger, tiny, 5, metric="dot", num_threads=3),
        lambda: fastvec.Index(exact).vectors,
        lambda: fastvec.Index(exact).search(exact, 5, dims=9),
        lambda: fastvec.analogy(tiny, [[1, 2]], [[3]], 5),
        lambda: fastvec.analogy(tiny, [[1, 2]], [[3]], 5, method="3cosmul"),
        lambda: fastvec.truncate(tiny, 9),
        lambda: fastvec.truncate(exact, 9, renormalize=False),
        lambda: fastvec.cosine_similarity(tiny),
        lambda: fastvec.cosine_similarity(exact),
        lambda: fastvec.cosine_similarity(least),
        lambda: fastvec.cosine_similarity(exact, tiny),
        lambda: fastvec.cosine_similarity(tiny, least),
        lambda: fastvec.cosine_similarity(listed, exact),
        lambda: fastvec.knn(listed, tiny, 5, metric="dot"),
        lambda: fastvec.topk(tiny, 5),
        lambda: fastvec.topk(exact, 5),
    ]
    scores = fastvec.knn(larger[:3], tiny, 5, metric="dot")
    expected = scores.lists()
    with flushing():
        lists = scores.lists()
    assert lists == expected
    slight = mixed(40, 5, 2, ("one_hot", "subnormal")) + tiny[:40, :5]
    slight[0], slight[1] = [1, 2e-41, 0, 0, 0], [0, 1, 0, 0, 0]  # whose cosine is a subnormal
    words = fastvec.Vocabulary([f"word {i}" for i in range(40)], slight)
    for ask in (
        lambda: words.similarity("word 0", "word 1"),
        lambda: words.search(["word 0", "word 1"], 40),
        lambda: words.most_similar("word 0", "word 3", k=40),
        lambda: words.doesnt_match(words.words[:9]),
    ):
        expected = ask()
        with flushing():
            answers = ask()
        assert answers == expected
    for call in calls:
        expected = call()
        with flushing():
            actual = call()
        assert type(actual) is type(expected)
        pairs = zip(actual, expected, strict=True) if isinstance(actual, tuple) else [(actual, expected)]
        for left, right in pairs:
            assert_same_bits(left, right)


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("direction", ROUND_BITS)
def test_a_caller_who_rounds_in_another_direction_gets_the_same_bits(direction, flushing):
    vectors = np.concatenate([gaussian(400, 97, 1), mixed(40, 97, 2)])
    exact, queries = vectors.astype(np.float64) * (1 + 2.0**-30), related(vectors, 40, 3)
    index, screened = fastvec.Index(vectors), fastvec.Index(vectors, screen=64)
    calls = [
        *(lambda metric=metric: fastvec.knn(queries, vectors, 5, metric=metric) for metric in metrics.TABLE),
        lambda: fastvec.Index(exact).vectors,
        lambda: fastvec.Index(exact, screen=64).search(queries[0], 5),
        lambda: index.search(queries, 5, dims=40, num_threads=3),
        lambda: screened.search(queries, 5),
        lambda: index.range_search(queries, 0.1 + 0.2),
        lambda: index.pairs(0.1 + 0.2),
        lambda: index.knn_graph(3),
        lambda: index.analogy([[1, 2]], [[3]], 5),
        lambda: index.analogy([[1, 2]], [[3]], 5, method="3cosmul"),
        lambda: fastvec.truncate(exact, 9),
        lambda: fastvec.topk(exact, 5),
    ]
    for call in calls:
        expected = call()
        with flushing(ROUND_BITS[direction]):
            actual = call()
        pairs = zip(actual, expected, strict=True) if isinstance(actual, tuple) else [(actual, expected)]
        for left, right in pairs:
            assert_same_bits(left, right)


if __name__ == "__main__":
    main(sys.argv[1])
