"""The faults that ``planted_faults.py`` plants fit the code as it is; the script itself takes hours."""

import pytest
from planted_faults import FAULTS, ROOT


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_one_place(name):
    fault = FAULTS[name]
    assert (ROOT / fault.file).read_text("utf-8").count(fault.right) == 1
    assert all((ROOT / test).exists() for test in fault.tests.split())
