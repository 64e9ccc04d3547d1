"""The faults that ``planted_faults.py`` plants fit the code as it is; the script itself takes an hour."""

import re

import pytest
from faults import FAULTS
from planted_faults import ROOT, generated

CASES = {
    name
    for script in ("interpreted_cases.py", "interpreted_parts.py")
    for name in re.findall(r"^def case_(\w+)", (ROOT / "tests" / script).read_text("utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_one_place(name):
    fault = FAULTS[name]
    text = (ROOT / fault.file).read_text("utf-8")
    assert text.count(fault.right) == 1
    assert fault.right != fault.wrong
    compile(text.replace(fault.right, fault.wrong), fault.file, "exec")
    for test in fault.tests.split():
        case = test.removeprefix("case:")
        assert case in CASES if case != test else (ROOT / test).exists(), test


def test_faults_are_made_of_code():
    made = dict(generated("kernels/topk.py", 12, 3, "case:heaps"))
    assert len(made) == 12
    assert made == dict(generated("kernels/topk.py", 12, 3, "case:heaps"))
    assert len({fault.wrong for fault in made.values()}) == 12
    for fault in made.values():
        compile(fault.wrong, fault.file, "exec")
