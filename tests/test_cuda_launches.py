"""From a search to the driver, against numba-cuda itself, without a device (see ``pretended_device.py``).

Run as a program, this file prints what is handed to the driver.
"""

import itertools
import json
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import test_cuda_compile
from pretended_device import believe, kernel_of, react_to_launches

pytestmark = test_cuda_compile.pytestmark
THIS = Path(__file__).resolve()

BEFORE = ["tighten.empty", "encode.encode", "terms.lane_terms"]
SCAN = ["scan.scan_kernel", "tighten.tighten"]
AFTER = ["exact.score_lists", "exact.rank"]


def print_arguments():
    """Pairs of launches: ours and numba-cuda's own, for arguments of all kinds."""
    from cuda.bindings import driver
    from numba import types as numba_types
    from numba.cuda.cudadrv import devicearray

    handed, allowed = believe(9, 0), []
    driver.cuKernelSetAttribute = lambda _, *values: allowed.append(values) or (driver.CUresult.CUDA_SUCCESS,)

    def array(type_of, place):
        host = np.zeros(3 + place, str(type_of.dtype))
        memory = SimpleNamespace(
            device_pointer_value=place << 12, device_ctypes_pointer=SimpleNamespace(value=place << 12)
        )
        return devicearray.DeviceNDArray(host.shape, host.strides, host.dtype, gpu_data=memory)

    numbers = {"int64": 5, "float64": 0.5, "bool": True}
    for name in ("rank", "row_terms dot"):
        kernel, types = test_cuda_compile.kernel_and_types(name)
        places = itertools.count(1)

        def argument(kind, places=places):
            if isinstance(kind, numba_types.BaseTuple):
                return kind.instance_class(*map(argument, kind))
            return array(kind, next(places)) if hasattr(kind, "dtype") else numbers[str(kind)]

        arguments = [*map(argument, types)]
        for launching in (kernel, kernel.dispatcher):
            launching[(50, 3), 32, 0, 64](*arguments)
        kernel[1, 32, 0, 50_000](*arguments)
        assert allowed.pop() == (50_000, "handle", 0)
        assert not allowed
        handed.pop()
        assert kernel.dispatcher.overloads.keys() == {types}
    print(json.dumps(handed))


def print_searches():
    """Of some searches, by name: the kernels that are launched."""
    handed = believe(9, 0)
    from numba import cuda

    import fastvec
    from fastvec.kernels.cuda import device, layout, rows

    device._missing = lambda: None
    overflowing, tightened = [], []

    def done_on_the_device(kernel, arguments):
        """What the host reads of it later."""
        if kernel == "empty":
            arguments["wrong"].copy_to_device(np.full(2, layout.NONE, np.int32))
            tightened.clear()
        if kernel == "tighten":
            tightened.append(arguments["marks"])
            if overflowing and len(tightened) > 1:  # the last of two chunks, whenever it is scanned
                assert arguments["lists"].capacity == 8192
                arguments["marks"].copy_to_device(np.ones(1, np.int32))

    react_to_launches(done_on_the_device)
    vectors = np.random.default_rng(0).standard_normal((3000, 70)).astype(np.float32)
    kinds = {}

    def note(name, call):
        handed.clear()
        answer = call()
        kinds[name] = [kernel_of(kernel) for kernel, *_ in handed], np.shape(answer.indices)
        return list(handed)

    handed.clear()
    index = fastvec.Index(vectors, device="cuda")
    kinds["encoding"] = [kernel_of(kernel) for kernel, *_ in handed], [len(index), index.dims]
    note("first", lambda: index.search(vectors[:2], 3))
    recorded = note("like it", lambda: index.search(vectors[5:7], 3))
    again = note("again", lambda: index.search(vectors[5:7], 3))
    assert recorded == again
    note("other batch", lambda: index.search(vectors[:40], 3))
    note("narrow", lambda: index.search(vectors[:2], 3, dims=33))
    note("where", lambda: index.search(vectors[:2], 3, where=[1, 2]))
    note("exclude", lambda: index.search(vectors[:2], 3, exclude=[[1], []], where=np.ones((2, 3000), bool)))
    on_device = cuda.to_device(vectors)
    note("on the device", lambda: fastvec.Index(on_device, device="cuda").search(on_device, 3))
    overflowing.append(True)
    note("left", lambda: index.search(vectors[:1], 3))
    overflowing.clear()
    rows._PASSING_BYTES = 1 << 18
    device.free_bytes = lambda: rows._SPARE + 3008 * (96 + 25) + (1 << 18)
    note("here", lambda: fastvec.knn(vectors[:2], vectors, 3, device="cuda"))
    print(json.dumps(kinds))


def print_holding():
    """How long launches hold their arrays, and what a layout of numba-cuda's that is another one does."""
    believe(9, 0)
    from numba import cuda
    from numba.cuda import dispatcher
    from numba.cuda.cudadrv import driver

    from fastvec.kernels.cuda import launches, tighten

    waits = []
    driver.driver.cuStreamSynchronize = lambda _: waits.append("stream")
    cuda.synchronize = lambda: waits.append("device")

    def array():
        made = cuda.device_array(4, np.int32)
        return made, weakref.ref(made)

    made, alive = array()
    launching = tighten.empty.prepare(1, 32, 0, 0, made, made)
    del made
    assert alive() is not None
    launching()
    assert alive() is not None
    del launching
    assert alive() is None

    with launches.queued() as queue:
        made, alive = array()
        queue(tighten.empty, 1, 32, made, made)
        del made
        assert alive() is not None
        assert not waits
    assert waits.pop() == "device"
    del queue
    assert alive() is None

    for change in (lambda values: values.append(0), lambda values: values.insert(0, 0), interrupted):
        prepare = dispatcher._Kernel._prepare_args

        def other(self, kind, value, stream, written, values, prepare=prepare, change=change):
            prepare(self, kind, value, stream, written, values)
            change(values)

        dispatcher._Kernel._prepare_args = other
        tighten.empty._loaded.clear()
        made, _ = array()
        try:
            tighten.empty[1, 32, 0, 0](made, made)
        except (RuntimeError, KeyboardInterrupt) as error:
            print(type(error).__name__, error)
        dispatcher._Kernel._prepare_args = prepare
    del dispatcher._Kernel._prepare_args
    try:
        tighten.empty[1, 32, 0, 0](made, made)
    except RuntimeError as error:
        print(type(error).__name__, error)


def interrupted(_values):
    raise KeyboardInterrupt("as it is")


def print_interrupted():
    """What a search that is interrupted has waited for when it ends."""
    believe(9, 0)
    from numba.cuda.cudadrv import driver

    import fastvec
    from fastvec.kernels.cuda import device, walk

    device._missing = lambda: None
    index = fastvec.Index(np.ones((300, 40), np.float32), device="cuda")
    waits = []
    driver.driver.cuStreamSynchronize = lambda _: waits.append("stream")
    walk.Walk.repeat = lambda *_: interrupted(None)
    try:
        index.search(np.ones(40, np.float32), 3)
    except KeyboardInterrupt:
        print(*waits)


def printed(run_python, what, tmp_path):
    result = run_python("-W", "error", THIS, what, NUMBA_CACHE_DIR=str(tmp_path))
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def said(run_python, what, tmp_path):
    result = run_python("-W", "error", THIS, what, NUMBA_CACHE_DIR=str(tmp_path))
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_launches_hold_their_arrays_and_are_compared_with_those_of_numba(run_python, tmp_path):
    *others, as_it_is, unknown = said(run_python, "holding", tmp_path)
    assert len(others) == 2
    assert as_it_is == "KeyboardInterrupt as it is"
    for line in (*others, unknown):
        assert line.startswith("RuntimeError numba-cuda ")
        assert line.endswith("install a version that fastvec knows: pip install 'fastvec[cuda]'")


def test_an_interrupted_search_waits_for_the_device(run_python, tmp_path):
    assert said(run_python, "interrupted", tmp_path) == ["stream"]


def test_launches_are_those_of_numba(run_python, tmp_path):
    """Same kernel, configuration and values: only asked for less."""
    for ours, theirs in zip(*[iter(printed(run_python, "arguments", tmp_path))] * 2, strict=True):
        assert ours == theirs
        assert kernel_of(ours[0]) in ("exact.rank", "terms.row_terms")
        assert len(ours[-1]) > 40


@pytest.mark.slow
def test_what_a_search_launches(run_python, tmp_path):
    actual = printed(run_python, "searches", tmp_path)
    kernels, shapes = ({name: pair[i] for name, pair in actual.items()} for i in range(2))
    plain = [*BEFORE, *SCAN, *SCAN, *AFTER]  # a chunk of 1,024 rows, and one of the rest
    assert kernels["encoding"] == ["encode.encode"]
    assert kernels["first"] == ["terms.row_terms", *plain]
    assert kernels["like it"] == kernels["again"] == kernels["other batch"] == plain
    assert kernels["narrow"] == ["encode.measure_prefix", "terms.row_terms", *plain]
    assert kernels["where"] == ["terms.close_rows", *plain]
    assert kernels["exclude"] == plain
    assert kernels["on the device"] == ["encode.encode", "terms.row_terms", *plain, *plain, *plain]
    assert kernels["left"] == [*plain, *[*SCAN, *AFTER] * 3, "exact.pass_rows", "exact.rank"]
    assert kernels["here"] == [*["encode.encode"] * 4, "terms.row_terms", *plain[:-2], "tighten.collect"]
    assert shapes["encoding"] == [3000, 70]
    assert (shapes["other batch"], shapes["on the device"]) == ([40, 3], [3000, 3])


if __name__ == "__main__":
    {
        "arguments": print_arguments,
        "holding": print_holding,
        "interrupted": print_interrupted,
        "searches": print_searches,
    }[sys.argv[1]]()
