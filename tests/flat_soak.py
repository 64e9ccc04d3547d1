"""Memory, threads and open files stay the same over many calls of every kind.

``python tests/flat_soak.py 100000`` makes so many calls, some minutes long, and says what grew.
"""

import gc
import os
import pathlib
import sys
import tempfile
import threading
import time

import numpy as np

import fastvec


def _calls(folder):
    """Functions that leave everything as it was, and change the state of an Index on the way."""
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((2000, 64)).astype(np.float32)
    index = fastvec.Index(vectors, copy=True)
    words = fastvec.Vocabulary([f"w{number}" for number in range(200)], vectors[:200])
    saved = fastvec.Index(vectors[:300], copy=True)
    saved.save(folder / "index")
    mask = np.arange(index._rows.now().top) % 2 == 0

    def change():
        index.add(vectors[:3])
        index.remove(index.numbers[-3:])

    def change_words():
        words.add(["more", "still more"], vectors[:2])
        words.remove(["more", "still more"])

    def save():
        saved.add(vectors[:2])
        saved.remove(saved.numbers[-2:])
        saved.save(folder / "index")

    def refused():
        try:
            index.search(vectors[:3], 0)
        except ValueError:
            return
        raise AssertionError

    return (
        *[
            lambda m=m, dims=dims: index.search(vectors[:m], 5, dims=dims)
            for m in (1, 7)
            for dims in (None, 32)
        ],
        lambda: index.search(vectors[0], 5, where=mask[:2000].nonzero()[0]),
        lambda: index.range_search(vectors[0], 0.9),
        lambda: index.analogy([[0, 1]], [[2]], 3),
        lambda: fastvec.knn(vectors[:2], vectors[:500], 3),
        lambda: fastvec.cosine_similarity(vectors[:8], vectors[:100]),
        lambda: fastvec.normalize(vectors[:50]),
        lambda: fastvec.topk(vectors[:4], 3),
        lambda: words.most_similar("w3", k=2),
        lambda: index.search(vectors[:64], 5, num_threads=3),
        refused,
        change,
        change_words,
    ), (
        save,
        index.compact,
        lambda: fastvec.Index.open(folder / "index").search(vectors[0], 3),
        lambda: fastvec.Index(vectors[:500]).search(vectors[:2], 3),
    )


def _use():
    """Megabytes of memory in use, threads, open files."""
    gc.collect()
    statm, files = pathlib.Path("/proc/self/statm"), pathlib.Path("/proc/self/fd")
    memory = int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if statm.exists() else 0.0
    return memory, threading.active_count(), len(list(files.iterdir())) if files.exists() else 0


def soak(calls):
    """How much memory grew from a fifth of the calls to the last, in MB; raises if threads or files did."""
    with tempfile.TemporaryDirectory() as folder:
        often, seldom = _calls(pathlib.Path(folder))
        for act in (*often, *seldom) * 2:
            act()
        use, at = [_use()], 0
        while at < calls:
            for act in often:
                act()
            at += len(often)
            if at // 1600 > (at - len(often)) // 1600:
                for act in seldom:
                    act()
                at += len(seldom)
            if at >= calls * len(use) / 5:
                use.append(_use())
        left = len(list(pathlib.Path(folder).rglob("*")))
    memory, threads, files = zip(*use, strict=True)
    assert max(threads[1:]) <= threads[1], threads
    assert max(files[1:]) <= files[1], files
    assert left < 60, f"{left} files in the folder of the Index"
    return at, memory, threads[-1], files[-1]


if __name__ == "__main__":
    began = time.monotonic()
    count, memory, threads, files = soak(int(sys.argv[1]))
    used = ", ".join(f"{one:.1f}" for one in memory)
    print(
        f"{count:,} calls in {time.monotonic() - began:.0f} s: {used} MB after each fifth, "
        f"{threads} threads, {files} files"
    )
