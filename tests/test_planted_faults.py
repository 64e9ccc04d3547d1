"""The faults that ``planted_faults.py`` plants fit the code as it is; the script itself takes an hour."""

import ast
import os
import re
from collections import Counter

import pytest
from generated_faults import ROOT, Planted, baseline, changes, put, survivors
from planted_faults import FAULTS

from fastvec._once import once


def _cases(*scripts):
    texts = [(ROOT / "tests" / script).read_text("utf-8") for script in scripts]
    return {name for text in texts for name in re.findall(r"^def case_(\w+)", text, re.MULTILINE)}


CASES = {
    "case": _cases("interpreted_cases.py", "interpreted_parts.py", "interpreted_units.py"),
    "cuda": _cases("cuda_cases.py"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_one_place(name):
    fault = FAULTS[name]
    text = (ROOT / fault.file).read_text("utf-8")
    assert text.count(fault.right) == 1
    assert fault.right != fault.wrong
    compile(text.replace(fault.right, fault.wrong), fault.file, "exec")
    for test in fault.tests.split():
        kind, _, case = test.rpartition(":")
        if kind in CASES:
            assert case in CASES[kind], test
        else:
            file, *within = test.split("::")
            function = within[-1].partition("[")[0] if within else ""
            assert f"def {function}" in (ROOT / file).read_text("utf-8"), test


CODE = """
def function(rows, k, least=0):
    best = np.full(k, -np.inf, np.float64)
    for row in range(len(rows)):
        if rows[row] < least and not best[k]:
            continue
        least = max(least, np.nextafter(rows[row], 0.0))
        put(best, rows, at=row + 1)
    return best[:k]
"""
MADE = """
    rows[row] < least → rows[row] <= least
    rows[row] < least → rows[row] >= least
    rows[row] < least and (not best[k]) → rows[row] < least or not best[k]
    rows[row] < least and (not best[k]) → rows[row] < least
    not best[k] → best[k]
    rows[row] → rows[k]
    continue → nothing
    continue → break
    range(len(rows)) → range(0 + 1, len(rows))
    range(len(rows)) → range(0, len(rows) - 1)
    max → min
    np.nextafter(rows[row], 0.0) → rows[row]
    np.float64 → np.float32
    -np.inf → np.inf
    row + 1 → row - 1
    1 → 0
    1 → 2
    put(best, rows, at=row + 1) → put(rows, best, at=row + 1)
    put(best, rows, at=row + 1) → put(best, rows)
    put(best, rows, at=row + 1) → nothing
    :k → :
    :k → :k - 1
"""


def test_faults_are_made_of_code():
    made = {change.said for change in changes(ast.parse(CODE))}
    assert {line.strip() for line in MADE.strip().splitlines()} <= made


@pytest.mark.parametrize("file", ["kernels/topk.py", "fastvec/_living.py"])
def test_made_faults_are_code(file):
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    right = ast.dump(tree)
    for change in changes(tree)[::11]:
        assert change.line in change.lines or change.lines.start <= change.line
        put(change, change.wrong)
        assert ast.dump(tree) != right
        compile(tree, file, "exec")
        put(change, change.right)
        assert ast.dump(tree) == right


@pytest.mark.skipif(not hasattr(os, "fork"), reason="faults are planted in forks")
def test_made_faults_are_noticed_in_forks(capsys, monkeypatch):
    file = "fastvec/_once.py"

    class Holder:
        made = ()

        @once
        def value(self):
            self.made += (1,)
            return len(self.made)

    def right():
        assert Holder().value == 1
        assert isinstance(Holder.value, once)

    def wrong():
        Holder().value  # noqa: B018
        assert os.environ.get("CHECKED") == str(os.getpid())

    planted = Planted([file])
    monkeypatch.setenv("CHECKED", str(os.getpid()))
    checks = {"right": right, "of nothing": lambda: None}
    ran = baseline(planted, checks)
    assert not ran["of nothing"].lines
    assert {line for _, line in ran["right"].lines} < set(range(1, 41))
    checks["wrong"], ran["wrong"] = wrong, ran["right"]
    said = Counter()
    chosen = [(file, change) for change in changes(planted.trees[file])]
    left = {change.said for _, change in survivors(planted, checks, ran, chosen, said, Counter())}
    assert "self.__doc__ = work.__doc__ → nothing" in left
    assert "holder is None → holder is not None" not in left
    assert said["noticed"] >= 5
    assert said["tried"] == sum(said.values()) // 2 == len(chosen)
    assert list(checks) == ["right", "of nothing"]
    assert "wrong fails without a fault" in capsys.readouterr().out
    right()
