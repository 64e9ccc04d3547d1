"""The device's compiled code on disk, without a device: used by the next process, never stale, not needed.

Run as a program, this file compiles or loads kernels for a device that numba-cuda is made to believe in,
and prints what became of each.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import pytest
import test_cuda_compile
from pretended_device import believe
from test_cache import cache_files, copy_package, without_cache_folders
from test_cuda_compile import NAMES, kernel_and_types

pytestmark = test_cuda_compile.pytestmark
THIS = Path(__file__).resolve()
SOME = [*NAMES[:2], NAMES[-1]]
"""Two kernels of one function, closed over different numbers, and one that is closed over nothing."""

KNOWN = """
from fastvec.commands import compiled_code
from fastvec.kernels.cuda import device
device.why_not = lambda: None
for folder in compiled_code.caches():
    print(folder, compiled_code.compiled(folder))
"""
"""What `fastvec doctor` says of compiled code where there is a device."""


class Compiled(Exception):
    """Something was compiled that should have been loaded."""


def forbid_compilers():
    """From Python to NVVM's code, from there to PTX, and from there to the device's code."""
    from numba.cuda import dispatcher
    from numba.cuda.cudadrv import driver, nvvm

    def refuse(*_, **__):
        raise Compiled

    dispatcher.compile_cuda = nvvm.compile_ir = driver._Linker.__init__ = refuse


def compile_or_load(name):
    """[name, hits, misses, digest of the device's code or None, cache's folder] and processor seconds."""
    start = time.process_time()  # as other work may run beside it
    kernel, types = kernel_and_types(name)
    kernel = kernel.dispatcher
    try:
        library = kernel.compile(types).library
    except Compiled:
        digest = None
    else:
        library.get_cufunc()  # as a launch does
        digest = hashlib.sha256(library.get_cubin().code).hexdigest()
    seconds = time.process_time() - start
    stats = kernel.stats
    hits, misses = (sum(counts.values()) for counts in (stats.cache_hits, stats.cache_misses))
    return (name, hits, misses, digest, stats.cache_path), seconds


def print_outcomes(what, capability):
    believe(*map(int, capability.split(".")))
    if what == "load":
        forbid_compilers()
    outcomes, seconds = zip(*map(compile_or_load, SOME), strict=True)
    print(json.dumps([outcomes, sum(seconds)]))


def outcomes_of(run_python, *arguments, **environment):
    """What a fresh process prints."""
    result = run_python("-W", "error", THIS, *arguments, **environment)
    assert result.returncode == 0, result.stderr
    outcomes, seconds = json.loads(result.stdout)
    return {name: rest for name, *rest in outcomes}, seconds


def test_one_process_compiles_and_all_others_load(run_python, tmp_path):
    """Each kernel its own code; none of it on another device, nor after an edit of what it consists of."""
    environment = copy_package(tmp_path) | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    first, _ = outcomes_of(run_python, "compile", "9.0", **environment)
    assert [(hits, misses) for hits, misses, *_ in first.values()] == [(0, 1)] * len(SOME)
    assert len({digest for *_, digest, _ in first.values()}) == len(SOME)
    files = cache_files(tmp_path)
    assert len(files) == 2 * len(SOME), "an index and its code for each, shared by none"
    assert {str(file.parent) for file in files} == {folder for *_, folder in first.values()}

    later, seconds = outcomes_of(run_python, "load", "9.0", **environment)
    assert [(hits, misses) for hits, misses, *_ in later.values()] == [(1, 0)] * len(SOME)
    assert [digest for *_, digest, _ in later.values()] == [digest for *_, digest, _ in first.values()]
    assert seconds < 3

    nothing_loaded = [[0, 1, None, folder] for *_, folder in first.values()]
    other, _ = outcomes_of(run_python, "load", "8.0", **environment)
    assert list(other.values()) == nothing_loaded

    known = run_python("-W", "error", "-c", KNOWN, cwd=tmp_path, **environment)
    entries = [file for file in files if file.suffix == ".nbi"]
    assert known.stdout.splitlines()[-1] == f"{entries[0].parent} ({len(entries)}, 0)", known.stderr

    source = tmp_path / "fastvec" / "kernels" / "cuda" / "arithmetic.py"
    source.write_text(source.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    edited, _ = outcomes_of(run_python, "load", "9.0", **environment)
    assert list(edited.values()) == nothing_loaded
    assert cache_files(tmp_path) == files


@pytest.mark.skipif(sys.platform == "win32", reason="the user's folders are not set by the environment")
def test_without_any_folder_for_the_cache(run_python, tmp_path):
    outcomes, _ = outcomes_of(run_python, "load", "9.0", **without_cache_folders(tmp_path))
    assert list(outcomes.values()) == [[0, 1, None, None]] * len(SOME)
    assert cache_files(tmp_path) == []


if __name__ == "__main__":
    print_outcomes(*sys.argv[1:])
