"""Whatever stops a write, the old or the new is left, whole, and the write can be repeated.

Some faults of each kind, chosen by fixed seeds; ``python tests/writes_soak.py`` tries all.
"""

import itertools
import os

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
