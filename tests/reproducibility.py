"""Search the corpus in every way, and compare the digests of the answers with the committed ones.

    python tests/reproducibility.py                       all combinations, some 86,000
    python tests/reproducibility.py --covering            some of them, in which every pair of choices occurs
    python tests/reproducibility.py --ways screen --kernels avx2 --cases nasty "near ties"
    python tests/reproducibility.py --done FILE --seconds 150      a part, where the run before it ended

It prints what ran where, a table with a line for each way, and each combination whose answer differs. The
exit status is 1 if there is one. It needs NumPy and Numba; without Dask, Dask's ways are left out.
"""

import argparse
import collections
import hashlib
import itertools
import json
import math
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


class Record:
    """The combinations that were compared, and whether they differ: in a file, if one is named.

    What another processor or other versions answered does not count.
    """

    def __init__(self, path: Path | None) -> None:
        self.path, self.differs = path, {}
        self.here = hashlib.sha256(surroundings().encode()).hexdigest()[:12]
        for line in path.read_text().splitlines() if path and path.exists() else ():
            where, differs, *combination = json.loads(line)
            if where == self.here:
                self.differs[ways.Combination(*combination)] = differs

    def add(self, one: ways.Combination, found: str) -> None:
        self.differs[one] = found != table()[one.case]["answer"]
        if self.differs[one]:
            print("differs:", *one, sep="  ", flush=True)
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps([self.here, self.differs[one], *one]) + "\n")


def run(combinations, corpus, record, end) -> None:
    """Compare the answers of combinations that the record does not have, until it is time to end."""
    for name, way, some in groups(one for one in combinations if one not in record.differs):
        with tempfile.TemporaryDirectory() as folder:
            rows = None if way == FUNCTIONS_ALONE else ways.WAYS[way].make(corpus[name], Path(folder))
            for one in some:
                if time.monotonic() > end:
                    return
                with ways.forced(one.kernel):
                    record.add(one, answer(corpus[name], rows, one))
            del rows


def answer(case, rows, one) -> str:
    if rows is not None:
        return ways.answer(case, rows, one.threads, one.split)
    fastvec.set_num_threads(one.threads)
    return digest(*ways.function(case))


FUNCTIONS_ALONE = "functions"
"""The way of functions that need no rows to search."""


def of_functions(corpus):
    for name, case in corpus.items():
        for threads in ways.THREADS if case.ask in FUNCTIONS else ():
            yield ways.Combination(name, FUNCTIONS_ALONE, ways.CHOSEN, threads, "whole")


def lines(differs) -> list[str]:
    """A table: how many answers of each way by each micro-kernel are right, or how many differ."""
    counts = collections.Counter((one.way, one.kernel) for one in differs)
    bad = collections.Counter((one.way, one.kernel) for one in differs if differs[one])
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
    parser.add_argument(
        "--done",
        type=Path,
        metavar="FILE",
        help="leave out what earlier runs with this file compared; after a change of code, begin a new one",
    )
    parser.add_argument("--seconds", type=float, default=math.inf, help="the most, but for one answer")
    asked = parser.parse_args()
    end = time.monotonic() + asked.seconds
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
    combinations += of_functions(corpus)
    record = Record(asked.done)
    began, before = time.monotonic(), len(record.differs)
    run(combinations, corpus, record, end)
    print(*lines(record.differs), sep="\n")
    compared, wrong = len(record.differs), sum(record.differs.values())
    left = len([one for one in combinations if one not in record.differs])
    spent = f"{compared - before:,} of them in {time.monotonic() - began:.0f} s"
    print(f"{compared:,} answers compared, {spent}; {wrong:,} differ; {left:,} are left")
    return 1 if wrong or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
