"""The committed digests hold for every micro-kernel, thread count, split of a batch and home of the rows.

Here, every two of these choices meet in some case; `python tests/reproducibility.py` combines all.
"""

import itertools

import pytest
import ways
from corpus import FUNCTIONS, cases, digest, expected, inputs, table

import fastvec

CASES = cases()
COVERING = [some for some in ways.covering(CASES) if ways.WAYS[some.way].needs is None]
"""Of Dask's ways, `test_integrations_dask.py` takes care."""


def test_the_table_is_complete_and_the_inputs_are_those_it_was_made_from():
    assert {name: digest(*inputs(case)) for name, case in CASES.items()} == {
        name: row["inputs"] for name, row in table().items()
    }


@pytest.mark.parametrize("name", CASES)
def test_the_oracle_agrees(name):
    assert digest(*expected(CASES[name])) == table()[name]["answer"]


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ways.KERNELS)
def test_every_way_gives_the_same_bits(kernel, tmp_path):
    wrong = []
    with ways.forced(kernel):
        for number, chosen in enumerate(some for some in COVERING if some.kernel == kernel):
            case, folder = CASES[chosen.case], tmp_path / str(number)
            folder.mkdir()
            rows = ways.WAYS[chosen.way].make(case, folder)
            if ways.answer(case, rows, chosen.threads, chosen.split) != table()[chosen.case]["answer"]:
                wrong.append(chosen)
    assert wrong == []


@pytest.mark.parametrize("threads", ways.THREADS)
def test_functions_of_rows_alone(threads):
    before, rows = fastvec.get_num_threads(), table()
    fastvec.set_num_threads(threads)
    try:
        answers = {
            name: digest(*ways.function(case)) for name, case in CASES.items() if case.ask in FUNCTIONS
        }
    finally:
        fastvec.set_num_threads(before)
    assert answers == {name: rows[name]["answer"] for name in answers}


def test_every_pair_of_choices_meets():
    asked = {name: case.ask for name, case in CASES.items()}
    assert {(some.case, some.way) for some in COVERING} == {
        (name, way)
        for name, case in CASES.items()
        for way in ways.serving(case)
        if ways.WAYS[way].needs is None
    }
    names = sorted({some.way for some in COVERING})
    for left, right in (
        (names, ways.KERNELS),
        (names, ways.THREADS),
        (names, ways.SPLITS),
        (ways.KERNELS, ways.THREADS),
        (ways.KERNELS, ways.SPLITS),
        (ways.THREADS, ways.SPLITS),
    ):
        assert set(itertools.product(left, right)) <= {
            pair for some in COVERING for pair in itertools.permutations(some[1:], 2)
        }
    for kernel in ways.KERNELS:
        assert {asked[some.case] for some in COVERING if some.kernel == kernel} == ways.EVERY
