"""Layer one of four: the device's kernels in Numba's simulator (``cuda_cases.py``); what is missing here."""

import importlib.util
import re
from pathlib import Path

import pytest

import fastvec
from fastvec.kernels.cuda import device, operations

SCRIPT = Path(__file__).with_name("cuda_cases.py")
NAMES = re.findall(r"^def case_(\w+)", SCRIPT.read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def lines():
    """What the script said, by case; filled by the first test that asks."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_in_the_simulator(name, lines, run_python):
    if not lines:
        result = run_python("-W", "error", SCRIPT, timeout=600, NUMBA_ENABLE_CUDASIM="1")
        assert result.returncode == 0, result.stderr
        parts = re.split(r"^(\w+): ", result.stdout, flags=re.MULTILINE)[1:]
        lines.update(zip(parts[::2], parts[1::2], strict=True))
    assert lines[name].startswith("passed"), lines[name]


def test_an_unknown_device_is_refused():
    for call in (lambda: fastvec.Index([[1.0]], device="gpu"), lambda: fastvec.knn([1], [[1]], 1, device=0)):
        with pytest.raises(ValueError, match=r"device is .* 'cpu', 'cuda'"):
            call()


@pytest.mark.skipif(device.why_not() is None, reason="there is a device")
def test_what_is_missing_is_named():
    record = fastvec.machine.devices()[1]
    assert (record.name, record.available) == ("cuda", False)
    for call in (
        lambda: fastvec.Index([[1.0]], device="cuda"),
        lambda: fastvec.knn([1.0], [[1.0]], 1, device="cuda"),
        lambda: fastvec.analogy([[1.0]], [0], [], device="cuda"),
    ):
        with pytest.raises(RuntimeError, match=r"device='cuda'.*'cpu'") as caught:
            call()
        assert record.why_not in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is not None, reason="numba-cuda is installed")
def test_the_extra_is_named():
    with pytest.raises(RuntimeError, match=r"pip install 'fastvec\[cuda\]'"):
        fastvec.Index([[1.0]], device="cuda")


def test_reasons(monkeypatch):
    """Driver, device, toolkit and compute capability, each told apart."""
    from numba import cuda

    monkeypatch.setattr(device, "simulated", lambda: False)
    monkeypatch.setattr(device, "installed", lambda: True)
    facts = {"cuda_error": None, "gpus": [0], "is_available": True, "capability": (9, 0)}

    class Current:
        @property
        def compute_capability(self):
            return facts["capability"]

    monkeypatch.setattr(cuda, "cuda_error", lambda: facts["cuda_error"])
    monkeypatch.setattr(cuda, "is_available", lambda: facts["is_available"])
    monkeypatch.setattr(cuda, "get_current_device", Current)
    monkeypatch.setattr(cuda, "gpus", facts["gpus"])
    missing = device._missing.__wrapped__
    assert missing() is None
    facts["capability"] = (7, 5)
    assert re.search(r"7\.5.*8\.0", missing())
    facts["is_available"] = False
    assert "toolkit" in missing()
    monkeypatch.setattr(cuda, "gpus", [])
    assert "no device" in missing()
    facts["cuda_error"] = "no\n  libcuda"
    assert missing().endswith("no libcuda")


def test_what_only_tests_need_is_not_installed():
    """The simulator's operations and replaced functions of other packages are in tests/."""
    package = Path(fastvec.__file__).parent
    sources = [*package.rglob("*.py"), *(package / "kernels").rglob("*.py")]
    assert len(sources) > 100
    words = re.compile(r"\bunittest\b|\bgreenlet\b|cuda\.simulator|\bsimulator\.py")
    assert [path for path in sources if words.search(path.read_text(encoding="utf-8"))] == []


WITHOUT_OPERATIONS = """
import sys, fastvec
from fastvec.commands import compiled_code
(reason,) = [place.why_not for place in fastvec.machine.devices() if place.name == "cuda"]
print(reason)
def said(call, kind):
    try:
        call()
    except kind as error:
        print(error)
said(lambda: fastvec.Index([[1.0]], device="cuda"), RuntimeError)
said(lambda: fastvec.knn([1.0], [[1.0]], 1, device="cuda"), RuntimeError)
from fastvec.kernels.cuda import layout
def load():
    import fastvec.kernels.cuda.scan
said(load, RuntimeError)
print(len(compiled_code.caches()) >= 0, fastvec.knn([1.0], [[1.0], [2.0]], 1).indices.tolist())
"""


def test_numbas_simulator_without_operations_is_refused(run_python):
    """In a user's process, which does not have the tests: a reason, never a crash; the processor computes."""
    result = run_python("-W", "error", "-c", WITHOUT_OPERATIONS, NUMBA_ENABLE_CUDASIM="1")
    assert result.returncode == 0, result.stderr
    reason, *errors, loading, processor = result.stdout.splitlines()
    assert reason == loading
    assert "NUMBA_ENABLE_CUDASIM" in reason
    assert "unset" in reason
    assert errors == [f"device='cuda' cannot be used here ({reason}); available: 'cpu'"] * 2
    assert processor == "True [0]"


def test_a_stand_in_is_registered_once_and_for_the_simulator_only(monkeypatch):
    shared = device.SharedMemory(1, 2)
    one = device.StandIn("one", 3, shared, {"multiply": abs})
    monkeypatch.setattr(device, "_stand_in", None)
    monkeypatch.setattr(device, "simulated", lambda: False)
    with pytest.raises(RuntimeError, match="NUMBA_ENABLE_CUDASIM=1"):
        device.register(one)
    monkeypatch.setattr(device, "simulated", lambda: True)
    assert "tests/cuda_simulator.py" in device.why_not()
    device.register(one)
    assert device.why_not() is None
    assert (device.name(), device.processors(), device.shared_memory()) == ("one", 3, shared)
    assert operations.multiply is abs
    with pytest.raises(AttributeError, match="pick"):
        _ = operations.pick
    with pytest.raises(RuntimeError, match="one is registered already"):
        device.register(one)


def test_importing_asks_for_no_device(run_python):
    """Neither the package nor its list of devices loads numba-cuda where it is not installed."""
    code = (
        "import importlib.util, sys, fastvec; fastvec.machine.devices(); import fastvec._stores.cuda; "
        "fastvec.knn([1.0], [[1.0]], 1); "
        "assert importlib.util.find_spec('numba_cuda') or 'numba.cuda' not in sys.modules"
    )
    result = run_python("-W", "error", "-c", code)
    assert result.returncode == 0, result.stderr


class OnDevice:
    """What CuPy's and torch's arrays have."""

    def __init__(self, array):
        self.array, self.__cuda_array_interface__ = array, {}


class DLPackOnDevice:
    """An exporter without the interface: NumPy asks it for a copy in this computer's memory."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, **options):
        assert options.pop("copy") is True
        return self.array.__dlpack__(**options)


class Adopted:
    """What Numba makes of an array there."""

    def __init__(self, array):
        self.array, self.dtype, self.ndim, self.size = array, array.dtype, array.ndim, array.size
        self.is_c_contiguous, self.copy_to_host = lambda: array.flags.c_contiguous, lambda: array


def test_arrays_on_the_device_are_used_in_place_or_copied(monkeypatch):
    import numpy as np

    from fastvec._stores.cuda import array_of

    monkeypatch.setattr(device, "of_interface", lambda value: Adopted(value.array))
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    foreign = OnDevice(array)
    assert array_of(array) is array
    assert isinstance(array_of(foreign), Adopted)
    for other in (array.astype(np.float16), np.asfortranarray(array), array[:0]):
        assert array_of(OnDevice(other)) is other
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        np.testing.assert_array_equal(array_of(DLPackOnDevice(array)), array)
