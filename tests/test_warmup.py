"""`fastvec warmup`: afterwards, no first call compiles anything."""

import os
import re
import shutil
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from data import FORMS, gaussian
from test_cache import cache_files, print_statistics, statistics_of, without_cache_folders

import fastvec
from fastvec.commands import warmup
from fastvec.kernels import metrics
from fastvec.kernels.cuda import device
from fastvec.kernels.dense import tiles

THIS = Path(__file__).resolve()
WARMUP = "import sys; sys.argv[0] = 'fastvec'; from fastvec.cli import main; main(['warmup'])"


def every_function():
    """Each public function, on sizes and options other than those that were warmed up with."""
    vectors = gaussian(3000, 130, 1)
    wide = vectors.astype(np.float64)
    mask = np.arange(3000) % 2 == 0
    for metric in metrics.TABLE:
        index = fastvec.Index(wide, metric=metric)
        for m in (1, 2, 3, 17, 150):
            queries = vectors[:m]
            for options in ({}, {"dims": 33}, {"where": mask}, {"exclude": [[1, 2]] * m}, {"num_threads": 2}):
                fastvec.knn(queries, vectors, 7, metric=metric, **options)
                index.search(queries, 7, **options)
        index.search(vectors[:3], 2000)
        index.search(vectors[:150], 300)
        index.range_search(vectors[:20], -5.0, where=mask)
        fastvec.audit(wide[:9], vectors, [[1, 2]] * 9, metric=metric, dims=50)
        few = fastvec.Index(vectors[:99], metric=metric)
        few.knn_graph(3)
        few.knn_graph(3, include_self=True)
        few.pairs(-5.0)
        few.duplicates(0.5)
        index.verify()
        of_int8 = fastvec.Index(np.clip(wide * 40, -128, 127).astype(np.int8), metric=metric)
        for m in (1, 2, 150):
            of_int8.search(vectors[:m], 7, where=mask)
            of_int8.search(vectors[:m], 7, dims=33)
        of_int8.search(vectors[:3], 2000)
        of_int8.search(vectors[:150], 300)
        of_int8.range_search(vectors[:20], -5.0)
        of_int8.verify()
        with tempfile.TemporaryDirectory() as folder:
            on_disk = fastvec.Index.build(wide, Path(folder, "index"), metric=metric)
            for m in (1, 150):
                on_disk.search(vectors[:m], 7)
                on_disk.search(vectors[:m], 7, dims=33)
            on_disk.search(vectors[:3], 2000)
            on_disk.search(vectors[:150], 300)
            on_disk.range_search(vectors[:20], -5.0)
            on_disk.verify()
            del on_disk
        if metric in metrics.BOUNDED:
            by_screen = fastvec.Index(wide, metric=metric, screen=64)
            for m in (1, 2, 3, 17, 150):
                by_screen.search(vectors[:m], 7, where=mask)
            by_screen.range_search(vectors[:1], -5.0)
            by_screen.add(vectors[:9])
            by_screen.search(vectors[0], 7)
        along = fastvec.Index(vectors + np.float32(3), metric=metric)  # codes with a direction
        assert metric not in metrics.BOUNDED or along._store.blocks[0].direction is not None
        for m in (1, 150):
            along.search(vectors[:m], 7)
            along.search(vectors[:m], 7, dims=40)
        along.verify()
        fastvec.Index(np.repeat(vectors[:1], 20_000, axis=0), metric=metric).search(vectors[0], 3)
        fastvec.knn(wide[0], wide, 3, metric=metric)
    for form in FORMS.values():
        fastvec.normalize(form(vectors[:9]))
    for method in ("3cosadd", "3cosmul"):
        for dims in (None, 40):
            fastvec.analogy(vectors, [[1, 2]] * 20, [[3]] * 20, 5, method=method, dims=dims)
            fastvec.Index(vectors).analogy([1, 2], [3], 5, method=method, where=mask, dims=dims)
    for dtype in (np.float16, np.float32, np.float64, np.int8, np.uint32, np.int64, np.uint64):
        for largest in (True, False):
            fastvec.topk(np.arange(20, dtype=dtype), 3, largest=largest)
    for dtype in (np.float32, np.float64, np.int64):
        fastvec.cosine_similarity(vectors[:9].astype(dtype))
        fastvec.cosine_similarity(vectors[:9].astype(dtype), vectors)
    fastvec.cosine_similarity(vectors[:200])
    fastvec.cosine_similarity(vectors[:200], vectors)
    fastvec.cosine_similarity(vectors, np.concatenate([vectors, vectors]))  # as large as narrow tiles need
    fastvec.truncate(wide, 9)
    fastvec.truncate(vectors, 9, renormalize=False)
    vocabulary = fastvec.Vocabulary([f"word {i}" for i in range(3000)], vectors)
    vocabulary.similarity("word 1", "word 2")
    vocabulary.most_similar(["word 1", "word 2"], "word 3", method="3cosmul")
    vocabulary.search(["word 1", "word 2"], 3)
    vocabulary.truncate(9).most_similar("word 1")
    words = fastvec.Vocabulary(["one", "two", "three"], vectors[:3])
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".vec", ".bin"):
            words.save(Path(folder, f"words{suffix}"))
            assert len(fastvec.Vocabulary.open(Path(folder, f"words{suffix}"))) == 3


@contextmanager
def handed_over(folder):
    """Meanwhile, and at the end, give what is compiled in a folder to the suite's own, if it has one."""
    own, given, done = os.environ.get("NUMBA_CACHE_DIR"), {}, threading.Event()

    def give():
        # The index of a function, .nbi, comes after its code, .nbc, which it names; it may grow.
        for path in sorted(cache_files(folder), key=lambda path: path.suffix) if own else ():
            target, time = Path(own, path.relative_to(folder)), path.stat().st_mtime_ns
            if not target.exists() or target.stat().st_mtime_ns == given.get(target) != time:
                target.parent.mkdir(parents=True, exist_ok=True)
                whole = target.with_suffix(".new")
                shutil.copy2(path, whole)
                given[target] = whole.stat().st_mtime_ns
                whole.replace(target)

    def keep_giving():
        while not done.wait(2):
            give()

    giver = threading.Thread(target=keep_giving)
    giver.start()
    try:
        yield
    finally:
        done.set()
        giver.join()
        give()


@pytest.mark.slow
def test_no_first_call_compiles_after_it(run_python, tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    with handed_over(tmp_path):
        result = run_python("-c", WARMUP, timeout=600, **cache)
    assert (result.returncode, result.stderr) == (0, "")
    files = cache_files(tmp_path)
    compiled = len([path for path in files if path.suffix == ".nbc"])
    name = fastvec.machine.active_micro_kernel()
    first, *folders = result.stdout.splitlines()
    assert re.fullmatch(
        rf"{compiled} kernels compiled and cached in \d+\.\d s \(micro-kernel: {name}\)", first
    )
    shown, filled = {Path(line.removeprefix("cache: ")) for line in folders}, {file.parent for file in files}
    assert filled <= shown
    assert len(shown - filled) == (device.why_not() is None)  # its kernels wait for its first search

    used = statistics_of(run_python, THIS, **cache)
    missed = {name for name, _, misses, _ in used if misses}
    assert not missed, f"compiled after warming up: {missed}"
    assert sum(hits for _, hits, _, _ in used) == compiled, "warmed up in vain"
    assert cache_files(tmp_path) == files

    again = run_python("-c", WARMUP, **cache)
    assert again.stdout.startswith("0 kernels compiled")


def test_narrow_tiles_are_warmed_up(monkeypatch):
    """They form only products of large matrices; a processor with wide registers does not use them."""
    narrow = next(name for name, registers in tiles.REGISTERS.items() if registers.lanes != tiles.WIDE)
    multiplied = []
    monkeypatch.setenv("FASTVEC_MICRO_KERNEL", "generic")  # which has no integer products of slices
    monkeypatch.setattr(tiles, "instructions", lambda: narrow)
    monkeypatch.setattr(tiles, "cosines", lambda *arguments: multiplied.append(arguments[-1]) or (-1, -1))
    warmup._similarities(gaussian(4096, 64, 0))
    assert narrow in multiplied


@pytest.mark.skipif(sys.platform == "win32", reason="the user's folders are not set by the environment")
def test_without_a_folder_for_the_cache_it_fails(run_python, tmp_path):
    result = run_python("-c", WARMUP, cwd=tmp_path, **without_cache_folders(tmp_path))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert "NUMBA_CACHE_DIR" in result.stderr


def test_a_setting_that_cannot_be_followed(run_python):
    for name in ("FASTVEC_MICRO_KERNEL", "FASTVEC_NUM_THREADS"):
        result = run_python("-c", WARMUP, **{name: "nonsense"})
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.count("\n") == 1
        assert name in result.stderr
        assert "nonsense" in result.stderr


def test_help_shows_an_example(run_python):
    result = run_python("-c", WARMUP.replace("['warmup']", "['warmup', '--help']"))
    assert result.returncode == 0
    assert re.search("^ +NUMBA_CACHE_DIR=.* fastvec warmup$", result.stdout, re.MULTILINE)


if __name__ == "__main__":
    every_function()
    print_statistics()
