"""Some cases of every target of ``fuzz.py``, always the same ones; with -m fuzz, more of them, always others.

FASTVEC_FUZZ_SECONDS says how long each target runs then; a fault prints the command that runs its case again.
"""

import os
import random
import time
import warnings
from types import SimpleNamespace

import fuzz
import fuzz_tools
import numpy as np
import pytest

TARGETS = fuzz.targets()


@pytest.mark.parametrize("name", TARGETS)
def test_some_cases(name, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    target = TARGETS[name]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        prepared = target.prepare(tmp_path)
        for seed in range(target.cases):
            try:
                target.case(prepared, random.Random(seed))
            except Exception as error:
                error.add_note(f"again: python tests/fuzz.py {name} --seed {seed} --cases 1")
                raise


@pytest.mark.fuzz
@pytest.mark.parametrize("name", TARGETS)
def test_many_cases(name):
    seconds = float(os.environ.get("FASTVEC_FUZZ_SECONDS", "60"))
    seed = int(time.time()) * 1_000_000
    arguments = SimpleNamespace(cases=1 << 60, seconds=seconds, seed=seed, patience=90, guided=False)
    assert fuzz.run(name, arguments) == 0


@pytest.mark.parametrize(
    ("act", "complaint"),
    [
        (lambda: np.zeros(3).reshape(2), "raised by accident"),
        (lambda: int("x"), "raised by accident"),
        (lambda: fuzz_tools.fastvec.knn([[1.0]], [[1.0]], 0), None),
        (lambda: fuzz_tools.fastvec.knn([[1.0]], [[1.0]], 10**30), None),
    ],
)
def test_an_error_that_happens_is_told_from_one_that_is_raised(act, complaint):
    if complaint is None:
        with fuzz_tools.documented(ValueError, MemoryError):
            act()
    else:
        with pytest.raises(AssertionError, match=complaint), fuzz_tools.documented(ValueError):
            act()


def test_crashes_hangs_and_faults_are_found(tmp_path, monkeypatch, capsys):
    """Each ends its process or its case, is named by its seed, and the next process goes on behind it."""
    (tmp_path / "fuzz_planted.py").write_text(PLANTED)
    monkeypatch.setattr(fuzz, "NOTES", tmp_path / "notes")
    monkeypatch.setattr(fuzz, "WORKER", [*fuzz.WORKER, "--modules=fuzz_planted"])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    arguments = SimpleNamespace(cases=9, seconds=60, seed=0, patience=0.5, guided=False)
    assert fuzz.run("planted", arguments) == 3
    said = capsys.readouterr().out
    assert "case 2 is a fault:\nTraceback" in said
    assert "case 4 is a fault:\nstatus -11" in said
    assert "case 6 is a fault:\ndid not end within 0.5 s" in said
    assert "planted: 9 cases" in said


PLANTED = """
import ctypes, random, time
from fuzz_tools import Target

SEEDS = {random.Random(seed).random(): seed for seed in range(9)}

def case(_, rng):
    seed = SEEDS[rng.random()]
    if seed == 2:
        raise ValueError("a fault")
    if seed == 4:
        ctypes.string_at(0)
    if seed == 6:
        time.sleep(60)

TARGETS = {"planted": Target(lambda place: None, case, 9)}
"""
