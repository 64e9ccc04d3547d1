"""Settings of Numba: errors name those that prevent computing; the others do not change a bit."""

import pytest
from numba.core import config

from fastvec.kernels import cpu, surroundings

USE = "import numpy, fastvec; print(fastvec.normalize([[3.0, 4.0]]))"


@pytest.mark.parametrize(
    ("switch", "value", "said"),
    [
        ("NUMBA_DISABLE_JIT", "1", "kernels exist in compiled form only"),
        ("NUMBA_NUM_THREADS", "0", "is 0, with which Numba does not load"),
        ("NUMBA_CPU_FEATURES", "+sse2,+nonsense,-avx", "nonsense, which this processor does not have"),
    ],
)
def test_what_stands_in_the_way_is_one_error(run_python, tmp_path, switch, value, said):
    result = run_python("-c", USE, **{switch: value})
    error = result.stderr.splitlines()[-1]
    assert result.returncode == 1
    assert error.startswith(f"RuntimeError: {switch} ")
    assert said in error
    assert "Unset it" in error
    (tmp_path / "words.txt").write_text("man 1 0\nking 1 1\n")
    command = run_python("-m", "fastvec", "search", tmp_path / "words.txt", "king", **{switch: value})
    assert (command.returncode, command.stdout) == (2, "")
    assert command.stderr == f"fastvec: {error.removeprefix('RuntimeError: ')}\n"


def test_nothing_stands_in_the_way_here(monkeypatch):
    assert surroundings.obstacles() == []
    most_features = ",".join(f"+{name}" for name in sorted(cpu.features() - {"dotprod"}))
    for features in ("", "-avx512f", most_features):
        monkeypatch.setattr(config, "CPU_FEATURES", features)
        assert surroundings.obstacles() == []


ANSWERS = """
import sys
import numpy as np
import fastvec

rows = (np.arange(120 * 37) * 7919 % 1013 - 500).astype(np.float32).reshape(120, 37)
rows[3], rows[5], rows[7] = 0, rows[6], rows[7] * np.float32(1e30)
print(fastvec.normalize(rows).tobytes().hex(), fastvec.truncate(rows.astype(np.float64), 9).tobytes().hex())
"""
ACCEPTED = (
    {"NUMBA_OPT": "0", "NUMBA_BOUNDSCHECK": "1", "NUMBA_EXTEND_VARIABLE_LIFETIMES": "1"},
    {
        **{
            "NUMBA_OPT": "2",
            "NUMBA_SLP_VECTORIZE": "1",
            "NUMBA_LOOP_VECTORIZE": "0",
            "PYTHONOPTIMIZE": "2",
        },
        **{"NUMBA_LLVM_REFPRUNE_PASS": "0", "NUMBA_ENABLE_AVX": "0", "NUMBA_CPU_NAME": "generic"},
    },
)


@pytest.mark.slow
@pytest.mark.parametrize("switches", ACCEPTED, ids=" ".join)
def test_the_other_switches_change_no_bit(run_python, tmp_path, switches):
    """Code is compiled again under each setting, because cached code would hide its effect."""
    plain = run_python("-c", ANSWERS)
    result = run_python("-c", ANSWERS, NUMBA_CACHE_DIR=str(tmp_path), **switches)
    assert (plain.returncode, result.returncode) == (0, 0), result.stderr
    assert result.stdout == plain.stdout
