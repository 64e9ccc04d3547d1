"""Search the corpus in every way, and compare the digests of the answers with the committed ones.

    python tests/reproducibility.py                       all combinations: some minutes
    python tests/reproducibility.py --covering            some of them, in which every pair of choices occurs
    python tests/reproducibility.py --ways screen --kernels avx2 --cases nasty "near ties"

It prints what ran where, a table with a line for each way, and each combination whose answer differs. The
exit status is 1 if there is one. It needs NumPy and Numba; without Dask, Dask's ways are left out.
"""

import argparse
import collections
import itertools
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import llvmlite
import numba
import numpy as np
import ways
from corpus import FUNCTIONS, METRICS, cases, digest, table

import fastvec


def surroundings() -> str:
    """What the answers come from: versions, processor, and the settings that say what of it is used."""
    free = not getattr(sys, "_is_gil_enabled", lambda: True)()
    python = f"{platform.python_implementation()} {platform.python_version()}{' without GIL' * free}"
    packages = f"NumPy {np.__version__}, Numba {numba.__version__}, llvmlite {llvmlite.__version__}"
    prefixes = ("NUMBA_CPU", "NPY_DISABLE", "OPENBLAS_CORETYPE")
    settings = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(prefixes)]
    kernels = f"micro-kernels: {', '.join(ways.KERNELS[1:])}"
    return "; ".join([f"{python} on {platform.machine()}, {packages}", kernels, *settings])


def groups(combinations):
    """Combinations with the same rows, which are made once."""
    for (name, way), some in itertools.groupby(combinations, key=lambda one: one[:2]):
        yield name, way, sorted(some, key=lambda one: one.kernel)


def run(combinations, corpus) -> tuple[collections.Counter, list]:
    """How many answers of each way and micro-kernel were compared, and the combinations that differ."""
    answers, counts, wrong = table(), collections.Counter(), []
    for name, way, some in groups(combinations):
        with tempfile.TemporaryDirectory() as folder:
            rows = ways.WAYS[way].make(corpus[name], Path(folder))
            for one in some:
                with ways.forced(one.kernel):
                    found = ways.answer(corpus[name], rows, one.threads, one.split)
                counts[way, one.kernel] += 1
                if found != answers[name]["answer"]:
                    wrong.append(one)
                    print("differs:", *one, sep="  ", flush=True)
            del rows
    for name, case in corpus.items():
        for threads in ways.THREADS if case.ask in FUNCTIONS else ():
            fastvec.set_num_threads(threads)
            counts["functions", ways.CHOSEN] += 1
            if digest(*ways.function(case)) != answers[name]["answer"]:
                wrong.append(ways.Combination(name, "functions", ways.CHOSEN, threads, "whole"))
                print("differs:", *wrong[-1], sep="  ", flush=True)
    return counts, wrong


def lines(counts, wrong) -> list[str]:
    """A table: how many answers of each way by each micro-kernel are right, or how many differ."""
    bad = collections.Counter((one.way, one.kernel) for one in wrong)
    kernels = [kernel for kernel in ways.KERNELS if any(kernel == other for _, other in counts)]
    made = [f"{'answers compared':<18}" + "".join(f"{kernel:>16}" for kernel in kernels)]
    for way in dict.fromkeys(way for way, _ in counts):
        cells = [
            (f"{bad[way, k]} DIFFER of " if bad[way, k] else "") + f"{counts[way, k]:,}" for k in kernels
        ]
        made.append(f"{way:<18}" + "".join(f"{cell:>16}" for cell in cells))
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--covering", action="store_true", help="not all combinations; see above")
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=ways.WAYS,
        default=ways.WAYS,
        metavar="WAY",
        help="of " + ", ".join(ways.WAYS),
    )
    parser.add_argument("--kernels", nargs="+", choices=ways.KERNELS, default=ways.KERNELS)
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=METRICS)
    parser.add_argument("--cases", nargs="+", metavar="CASE", help="names in digests.json")
    asked = parser.parse_args()
    if unknown := {*(asked.cases or ())} - {*table()}:
        parser.error(f"digests.json has no case {', '.join(map(repr, sorted(unknown)))}")
    corpus = {
        name: case
        for name, case in cases().items()
        if case.metric in asked.metrics and name in (asked.cases or table())
    }
    print(surroundings())
    for package in sorted({way.needs for way in ways.WAYS.values() if not way.available}):
        print(
            f"left out, as {package} is not here:",
            *(n for n, way in ways.WAYS.items() if way.needs == package),
        )
    combine = ways.covering if asked.covering else ways.every
    combinations = [one for one in combine(corpus, asked.kernels) if one.way in asked.ways]
    began = time.perf_counter()
    counts, wrong = run(combinations, corpus)
    print(*lines(counts, wrong), sep="\n")
    print(f"{counts.total():,} answers in {time.perf_counter() - began:.0f} s, {len(wrong)} of which differ")
    return 1 if wrong or not counts else 0


if __name__ == "__main__":
    sys.exit(main())
