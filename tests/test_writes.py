"""Whatever stops a write, the old or the new is left, whole, and the write can be repeated.

Some faults of each kind, chosen by fixed seeds; ``python tests/writes_soak.py`` tries all.
"""

import itertools
import os
import stat

import pytest
from writes import CASES
from writes_soak import FAULTS, attacked, small_parts

pytestmark = pytest.mark.skipif(os.name == "nt", reason="names and limits of POSIX")


def tried(tmp_path, monkeypatch, name, fault):
    small_parts(monkeypatch.setattr)
    count, problems = attacked(name, fault, tmp_path, share=0.0, least=1)
    assert count == 2
    assert not problems


@pytest.mark.parametrize("name", CASES)
def test_a_power_cut_leaves_the_old_or_the_new(tmp_path, monkeypatch, name):
    tried(tmp_path, monkeypatch, name, "power cuts")


# Python closes a file whose opening is interrupted, and warns of it.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize(
    ("name", "fault"),
    [*zip(CASES, itertools.cycle(fault for fault in FAULTS if fault != "power cuts"), strict=False)],
)
def test_a_failure_leaves_the_old_or_the_new(tmp_path, monkeypatch, name, fault):
    tried(tmp_path, monkeypatch, name, fault)


FORCED = {
    "first save": (6, 3),
    "first save below new folders": (6, 5),
    "save over another": (6, 3),
    "save of added rows": (6, 3),
    "save of so many rows that parts are joined": (6, 3),
    "save of removed rows": (2, 3),
    "save of replaced rows": (8, 3),
    "save of a compacted index": (6, 3),
    "save of words": (8, 3),
    "build": (20, 14),
    "a .npy file": (4, 7),
    "a new .npy file": (3, 5),
    "a .npy file and metadata": (5, 9),
    "right answers in .ivecs": (4, 7),
}
"""Files and folders that a write forces to the disk; without any of them, a power cut may lose rows."""


@pytest.mark.parametrize("name", CASES)
def test_all_that_counts_is_forced_to_the_disk(tmp_path, monkeypatch, name):
    small_parts(monkeypatch.setattr)
    act, _ = CASES[name](tmp_path)
    forced = [0, 0]

    def force(descriptor):
        forced[stat.S_ISDIR(os.fstat(descriptor).st_mode)] += 1

    monkeypatch.setattr(os, "fsync", force)
    act()
    assert tuple(forced) == FORCED.get(name, (1, 1))  # a file, and the folder that names it
