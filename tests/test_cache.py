"""Compiled code on disk: used by the next process, never stale, never growing, and not needed.

Run as a program, this file makes searches and prints what Numba's cache did for each function.
"""

import errno
import gc
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from data import FORMS, gaussian
from numba.core import config, event

import fastvec
from fastvec.kernels import compile, reports, surroundings

THIS, TESTS = Path(__file__).resolve(), Path(__file__).resolve().parent


def one_score():
    """By the kernel that a test puts into a copy of the package."""
    from fastvec.kernels.probe import score

    print(score("generic")(np.full(64, 129, np.uint8), np.ones(64, np.int8)), file=sys.stderr)


def many_forms():
    """Searches over arrays of every kind of memory and type."""
    vectors = gaussian(1030, 70, 1)
    for form in FORMS.values():
        index = fastvec.Index(form(vectors))
        for queries in (form(vectors[:2]), form(vectors[:130])):
            index.search(queries, 3)
            index.search(queries, 3, dims=33)
            index.search(queries, 1000)
            fastvec.knn(queries, form(vectors), 3, dims=65)
        fastvec.normalize(form(vectors))
    stored = Path(sys.argv[2], "vectors.npy")
    np.save(stored, vectors)
    for mode in ("r", "c"):
        mapped = np.load(stored, mmap_mode=mode)
        fastvec.Index(mapped).search(mapped[:130], 3)
        fastvec.knn(mapped[:130], mapped[::2], 3)
    mask = np.arange(1030) % 3 > 0
    wheres = (mask, FORMS["read-only"](mask), np.repeat(mask, 2)[::2], np.arange(0, 1030, 2)[::-1])
    for where in (*wheres, np.broadcast_to(mask, (130, 1030))):
        for exclude in (
            np.zeros((130, 2), int),
            FORMS["read-only"](np.zeros((130, 2), np.int32)),
            [[1]] * 130,
        ):
            fastvec.knn(vectors[:130], vectors, 3, where=where, exclude=exclude)
            index.search(vectors[:130], 3, where=where, exclude=exclude)
            index.range_search(vectors[:130], 0.5, where=where, exclude=exclude)
    for rows in (np.arange(6).reshape(2, 3), np.arange(12, dtype=np.int32).reshape(2, 6)[:, ::2]):
        for method in ("3cosadd", "3cosmul"):
            index.analogy(FORMS["read-only"](rows[:, :2]), rows[:, 2:], where=mask, method=method)


def dispatchers():
    """Numba's dispatchers of this package's functions, by name."""
    from numba.core.registry import CPUDispatcher

    for found in gc.get_objects():
        if type(found) is CPUDispatcher and found.py_func.__module__.startswith("fastvec.kernels"):
            yield f"{found.py_func.__module__}.{found.py_func.__qualname__}", found


def print_statistics():
    """[name, hits, misses, specializations] of each kernel that was used, as JSON."""
    print(json.dumps(list(_statistics())))


def _statistics():
    for name, used in dispatchers():
        hits, misses = (sum(counts.values()) for counts in (used.stats.cache_hits, used.stats.cache_misses))
        if used.signatures and used.stats.cache_path:  # else a helper, part of its callers
            yield name, hits, misses, len(used.signatures)


def statistics_of(run_python, *arguments, **environment):
    """What a fresh process prints as its statistics."""
    result = run_python("-W", "error", *arguments, **environment)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def cache_files(*folders):
    return sorted(path for folder in folders for path in Path(folder).rglob("*.nb[ic]"))


def copy_package(folder):
    """Copy the package into a folder; return the environment in which the copy is imported."""
    shutil.copytree(
        Path(fastvec.__file__).parent, folder / "fastvec", ignore=shutil.ignore_patterns("__pycache__")
    )
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(TESTS)])}


def without_cache_folders(folder):
    """Such a copy, with a file wherever a folder would have to be made: this holds for root as well."""
    environment = copy_package(folder)
    obstacle = folder / "file"
    obstacle.touch()
    for sources in {path.parent for path in (folder / "fastvec" / "kernels").rglob("*.py")}:
        (sources / "__pycache__").touch()
    return environment | dict.fromkeys(("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"), str(obstacle))


PROBE = """
import numpy as np

from . import micro
from .compile import kernel, specialized


@specialized
def score(name):
    @kernel
    def score(codes, query):
        scores = np.zeros(64, np.int32)
        micro.row(name, codes.ctypes.data, 64, 1, query.ctypes.data, 64, -128 * 64, scores.ctypes.data)
        return scores[0]

    return score
"""

EDIT = """
from ..simd import store_int


def _wrong(name, codes, stride, rows, query, width, correction, scores):
    for row in range(rows):
        store_int(scores + 4 * row, 2**30)


RECORD = RECORD._replace(row=_wrong)
"""


@pytest.mark.slow
def test_one_process_compiles_and_all_others_load(run_python, tmp_path):
    """And after an edit of a micro-kernel, another process sees its effect, not its old code.

    A kernel that has hardly more in it than that; ``test_warmup.py`` sees that all kernels load.
    """
    environment = copy_package(tmp_path) | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    kernels = tmp_path / "fastvec" / "kernels"
    (kernels / "probe.py").write_text(PROBE)

    def run():
        result = run_python("-W", "error", THIS, "one_score", **environment)
        assert result.returncode == 0, result.stderr
        return int(result.stderr), json.loads(result.stdout)

    score, first = run()
    assert score == 64
    assert all(misses == 1 for _, _, misses, _ in first)
    assert "fastvec.kernels.probe.score.<locals>.score-generic" in {name for name, *_ in first}
    files = cache_files(tmp_path)
    assert files
    for _ in range(2):
        score, later = run()
        assert score == 64
        assert all(hits == 1 and misses == 0 for _, hits, misses, _ in later), later
        assert cache_files(tmp_path) == files

    source = kernels / "micro" / "generic.py"
    source.write_text(source.read_text(encoding="utf-8") + EDIT, encoding="utf-8")
    score, edited = run()
    assert score == 2**30
    assert all(misses == 1 for _, _, misses, _ in edited)
    assert cache_files(tmp_path) == files


def test_one_specialization_a_kernel(run_python, tmp_path):
    """Read-only, strided and memory-mapped arrays, masks and lists of rows share one compiled version."""
    several = {name: n for name, *_, n in statistics_of(run_python, THIS, "many_forms", tmp_path) if n != 1}
    assert not several, several


@pytest.mark.skipif(sys.platform == "win32", reason="the user's folders are not set by the environment")
def test_without_any_folder_for_the_cache(run_python, tmp_path):
    environment = without_cache_folders(tmp_path)
    code = "import fastvec; print(fastvec.normalize([[3.0, 4.0]]))"
    result = run_python("-W", "error", "-c", code, cwd=tmp_path, **environment)
    assert (result.stdout, result.stderr) == ("[[0.6 0.8]]\n", "")
    assert cache_files(tmp_path) == []


def test_functions_of_one_factory_share_no_file(monkeypatch, tmp_path):
    """Processes that compile two of them at once must not take one another's code."""

    def made(name):
        @compile.kernel
        def length():
            return len(name)

        return length

    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    assert [made(name)() for name in ("one", "three")] == [3, 5]
    assert [file.suffix for file in cache_files(tmp_path)] == [".nbc", ".nbi"] * 2


DIGEST = "from fastvec.kernels.compile import source_digest; print(source_digest())"


def test_sources_in_a_zip_file_are_told_apart(run_python, tmp_path):
    """The digest is that of the same files in a folder, and changes with them."""
    copy_package(tmp_path / "plain")

    def digest_of(place):
        code = f"import sys; sys.path.insert(0, {str(place)!r}); {DIGEST}"
        result = run_python("-W", "error", "-c", code)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def packed(name):
        return shutil.make_archive(tmp_path / name, "zip", tmp_path / "plain")

    before, plain = packed("before"), digest_of(tmp_path / "plain")
    assert digest_of(before) == plain
    source = tmp_path / "plain" / "fastvec" / "kernels" / "micro" / "generic.py"
    source.write_text(source.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    after = packed("after")
    assert plain != digest_of(after) == digest_of(tmp_path / "plain")


def test_without_sources_nothing_is_cached(monkeypatch, tmp_path):
    def jit(**options):
        return lambda function: SimpleNamespace(function=function, options=options)

    (tmp_path / "compile.pyc").touch()
    with monkeypatch.context() as patch:
        patch.setattr(compile, "__file__", str(tmp_path / "compile.pyc"))
        assert compile.source_digest.__wrapped__() is None
    monkeypatch.setattr(compile, "source_digest", lambda: None)
    compile._warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="compiled anew in every process") as warned:
        compiled = [compile.cached(jit, one_score, nogil=True) for _ in range(2)]
    assert len(warned) == 1
    assert [found.options for found in compiled] == [{"nogil": True}] * 2


@pytest.mark.parametrize("setting", surroundings.SHAPING)
def test_settings_that_shape_code_have_separate_caches(monkeypatch, setting):
    before = compile.source_digest.__wrapped__()
    monkeypatch.setattr(config, setting, "other", raising=False)
    assert compile.source_digest.__wrapped__() != before


def lengths(monkeypatch, folder):
    """Make a kernel, the same one at every call, whose code is kept in a folder."""
    monkeypatch.setattr(config, "CACHE_DIR", str(folder))

    def made():
        name = "four"

        @compile.kernel
        def length():
            return len(name)

        return length

    return made


def damages():
    """What may become of a file's bytes."""
    return {
        "empty": lambda data: b"",
        "cut": lambda data: data[:-1],
        "half": lambda data: data[: len(data) // 2],
        "zeroed": lambda data: bytes(len(data)),
        "longer": lambda data: data + b"x",
        "a bit": lambda data: data[:99] + bytes([data[99] ^ 1]) + data[100:],
    }


@pytest.mark.parametrize("damage", damages())
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_a_damaged_file_is_replaced(monkeypatch, tmp_path, damage, suffix):
    made = lengths(monkeypatch, tmp_path)
    assert made()() == 4
    (file,) = tmp_path.rglob(f"*.{suffix}")
    whole = file.read_bytes()
    file.write_bytes(damages()[damage](whole))
    again = made()
    assert again() == 4
    assert sum(again.compiled.stats.cache_misses.values()) == 1
    assert compile._intact(file)
    later = made()
    assert later() == 4
    assert sum(later.compiled.stats.cache_hits.values()) == 1


class Before(NamedTuple):
    length: int


class After(NamedTuple):
    length: int


def test_code_of_other_sources_is_replaced_even_if_it_names_what_is_no_more(monkeypatch, tmp_path):
    def made():
        @compile.kernel
        def length(record):
            return record.length

        return length

    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compile, "source_digest", lambda: "before")
    assert made()(Before(4)) == 4
    files = cache_files(tmp_path)
    monkeypatch.setattr(compile, "source_digest", lambda: "after")
    monkeypatch.delattr(sys.modules[__name__], "Before")
    for hits in (0, 1):
        kernel = made()
        assert kernel(After(5)) == 5
        assert sum(kernel.compiled.stats.cache_hits.values()) == hits
    assert cache_files(tmp_path) == files


def test_a_long_wait_for_what_is_compiled_is_explained_once(monkeypatch, tmp_path, caplog):
    """Nothing is said where code is loaded, or where a command says it."""
    told = []

    def made(name):
        def length():
            return len(name)

        length.__module__ = "fastvec.kernels.test"
        return compile.kernel(length)

    class Slow:
        """An event that is awaited twice longer than it takes."""

        def __init__(self):
            self.event, self.waits = threading.Event(), 0
            self.set = self.event.set

        def wait(self, seconds):
            self.event.wait(60)
            self.waits += 1
            return self.waits > 2

    before, listener = compile._compiling, compile._Compiling()
    monkeypatch.setattr(compile, "_compiling", listener)
    monkeypatch.setattr(compile, "_LONG_WAITS", 2)
    monkeypatch.setattr(compile, "threading", SimpleNamespace(Event=Slow, Thread=threading.Thread))
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    event.unregister("numba:compile", before)
    event.register("numba:compile", listener)
    try:
        monkeypatch.setattr(reports, "compiling", told.append)
        assert made("one")() == 3
        assert (told, caplog.messages) == ([True], [])
        monkeypatch.setattr(reports, "compiling", None)
        assert made("one")() == 3  # loaded
        assert caplog.messages == []
        assert [made(name)() for name in ("three", "eleven")] == [5, 6]
    finally:
        event.unregister("numba:compile", listener)
        event.register("numba:compile", before)
    assert [record.name for record in caplog.records] == ["fastvec"]
    assert "fastvec warmup" in caplog.messages[0]


def test_loading_needs_nothing_that_only_compiling_needs(run_python, tmp_path):
    """Numba would import SciPy's linear algebra, and most of itself, to load compiled code."""
    code = (
        "import fastvec, sys; fastvec.normalize([[3.0, 4.0]]); print(*{*sys.modules} & {'numba.np.arrayobj'})"
    )
    for loaded in ("numba.np.arrayobj", ""):
        result = run_python("-c", code, NUMBA_CACHE_DIR=str(tmp_path))
        assert (result.returncode, result.stdout.strip()) == (0, loaded), result.stderr


def test_a_full_disk_costs_the_cache_alone(monkeypatch, tmp_path):
    made = lengths(monkeypatch, tmp_path)

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device", path)

    kernel = made()
    monkeypatch.setattr(kernel.compiled._cache._cache_file, "_open_for_write", full)
    with pytest.warns(RuntimeWarning, match="compiled code cannot be kept .*No space left.*NUMBA_CACHE_DIR"):
        assert kernel() == 4
    assert cache_files(tmp_path) == []


TWO = "import fastvec; print(fastvec.normalize([[3.0, 4.0]]))"


@pytest.mark.slow
def test_processes_that_begin_together_with_no_cache(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    started = [
        subprocess.Popen([sys.executable, "-c", TWO], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate(timeout=100)[0] for process in started] == ["[[0.6 0.8]]\n"] * 3
    assert all(map(compile._intact, cache_files(tmp_path)))


def test_a_cache_of_an_unknown_kind_is_not_used():
    def jit(**options):
        return lambda function: SimpleNamespace(function=function, options=options)

    with pytest.warns(RuntimeWarning, match="SimpleNamespace keeps its cache in a way fastvec does not know"):
        compiled = compile.cached(jit, one_score, nogil=True)
    assert (compiled.function, compiled.options) == (one_score, {"nogil": True})


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    print_statistics()
