"""Kernels as plain Python, with buffers of some dozens of entries: the cases of ``interpreted_cases.py``."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCRIPTS = ("interpreted_parts.py", "interpreted_units.py", "interpreted_twins.py", "interpreted_cases.py")
NAMES = [
    name
    for script in SCRIPTS
    for name in re.findall(r"^def case_(\w+)", (HERE / script).read_text("utf-8"), re.MULTILINE)
]


@pytest.fixture(scope="module")
def said():
    """What the script said, by case; filled by the first test that asks."""
    return {}


@pytest.mark.parametrize("name", NAMES)
def test_interpreted(name, said, run_python):
    if not said:
        result = run_python(HERE / SCRIPTS[-1])
        parts = re.split(r"^(\w+): ", result.stdout, flags=re.MULTILINE)[1:]
        said.update(zip(parts[::2], parts[1::2], strict=True))
        assert set(said) == set(NAMES), result.stderr
    assert said[name].startswith("passed"), said[name]
