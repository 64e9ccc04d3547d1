"""Plant a small fault in the code, one at a time, and say whether a test notices.

    python tests/planted_faults.py            all of them, some hours on two cores
    python tests/planted_faults.py NAME …     only these
    python tests/planted_faults.py --list

Each fault is planted in a copy of the working tree, with a cache of compiled code of its own. The exit status
is 1 if a fault survives its tests.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Fault(NamedTuple):
    """A fault, and the tests that are to notice it."""

    file: str
    right: str
    """Text that stands in the file once."""
    wrong: str
    """What is put in its place."""
    tests: str
    """Arguments of pytest."""


FAULTS = {
    "weights are set for the first chunk alone": Fault(
        "kernels/log.py",
        "state.threshold[q], state.weight[q] = _theta(metric, q, queries, state.root[q], limits)",
        "state.threshold[q], weight = _theta(metric, q, queries, state.root[q], limits)\n"
        "        state.weight[q] = weight if state.weight[q] == 1.0 else state.weight[q]",
        "tests/test_bound.py tests/test_search.py",
    ),
    "only the last part says which queries left": Fault(
        "kernels/log.py",
        "left[first : first + len(state.left)] |= state.left",
        "left[first : first + len(state.left)] = state.left",
        "tests/test_threads.py tests/test_search.py tests/test_seeds.py",
    ),
    "hits below the threshold are dropped, and those at it": Fault(
        "kernels/log.py",
        "if upper < state.root[q] or excluded(exclusions, q, row):",
        "if upper <= state.root[q] or excluded(exclusions, q, row):",
        "tests/test_bound.py tests/test_search.py",
    ),
    "entries at the threshold are dropped from the log": Fault(
        "kernels/log.py",
        "if state.upper[z] >= state.root[q]:",
        "if state.upper[z] > state.root[q]:",
        "tests/test_seeds.py tests/test_threads.py tests/test_search.py",
    ),
    "no slack for float32": Fault(
        "kernels/bound.py", "FLOAT32_SLACK = 2.0**-19", "FLOAT32_SLACK = 0.0", "tests/test_bound.py"
    ),
    "no slack for squared distances": Fault(
        "kernels/bound.py", "EUCLIDEAN_SLACK = 2.0**-36", "EUCLIDEAN_SLACK = 0.0", "tests/test_bound.py"
    ),
    "no slack for measured errors": Fault(
        "kernels/bound.py", "MEASURED_SLACK = 2.0**-20", "MEASURED_SLACK = 0.0", "tests/test_bound.py"
    ),
    "errors without their product": Fault(
        "kernels/bound.py",
        "return x_error + q_error * (1.0 + x_error)",
        "return x_error + q_error",
        "tests/test_bound.py",
    ),
    "the largest error but for the last rows": Fault(
        "kernels/tiles.py",
        "largest = simd.maximum(simd.load_first(error + 4 * j, min(32, count - j)), largest)",
        "largest = simd.maximum(simd.load_first(error + 4 * j, 32 if count - j >= 32 else 0), largest)",
        "tests/test_bound.py tests/test_search.py",
    ),
    "the largest norm but for the last rows": Fault(
        "kernels/tiles.py",
        "largest = simd.maximum_wide(simd.load_first_wide(norm + 8 * j, min(32, count - j)), largest)",
        "largest = simd.maximum_wide("
        "simd.load_first_wide(norm + 8 * j, 32 if count - j >= 32 else 0), largest)",
        "tests/test_bound.py tests/test_search.py",
    ),
    "heaps of the direct pass are merged in float32": Fault(
        "kernels/topk.py",
        "size = push(best, ranked, size, heaps.scores[z], heaps.rows[z])",
        "size = push(best, ranked, size, np.float64(np.float32(heaps.scores[z])), heaps.rows[z])",
        "tests/test_search.py tests/test_invariance.py tests/test_similarity.py",
    ),
    "equal scores in the order of falling rows": Fault(
        "kernels/topk.py",
        "return score < other_score or (score == other_score and row > other_row)",
        "return score < other_score or (score == other_score and row < other_row)",
        "tests/test_search.py",
    ),
    "the root of 3CosMul is not lowered": Fault(
        "kernels/cosmul.py",
        "np.float32(max(0.0, worst * (1.0 - (factors + 4) * 2.0**-22)))",
        "np.float32(max(0.0, worst))",
        "tests/test_analogy.py",
    ),
    "no guard for small roots of 3CosMul": Fault(
        "kernels/cosmul.py",
        "if worst < 2.0**-90:",
        "if worst < -1.0:",
        "tests/test_analogy.py",
    ),
    "no margin for the halves of 3CosMul": Fault(
        "kernels/cosmul.py",
        "error = np.float32((1.01 * dims + 16) * 2.0**-25)",
        "error = np.float32(0.0)",
        "tests/test_analogy.py",
    ),
    "a call does not wait for its helpers": Fault(
        "kernels/threads.py",
        "                        while number not in self._left:\n"
        "                            bell.acquire(timeout=1.0)\n",
        "                        pass\n",
        "tests/test_threads.py tests/test_interruption.py tests/test_callers.py",
    ),
    "a forked child keeps the pool of its parent": Fault(
        "kernels/threads.py",
        "    _pool, _lock = None, threading.Lock()\n    _at_work.clear()\n",
        "    pass\n",
        "tests/test_threads.py",
    ),
    "a forked child keeps the count of threads at work": Fault(
        "kernels/threads.py", "    _at_work.clear()\n", "", "tests/test_threads.py tests/test_callers.py"
    ),
    "no slack for the float32 product of the direct pass": Fault(
        "kernels/direct.py",
        "return (dims / 32 + 10) * 1.01 * 2.0**-24",
        "return 0.0",
        "tests/test_bound.py tests/test_similarity.py tests/test_search.py",
    ),
    "the direct pass passes over rows at the worst score": Fault(
        "kernels/direct.py",
        "                                    < worst[i + z]\n",
        "                                    <= worst[i + z]\n",
        "tests/test_search.py tests/test_bound.py tests/test_invariance.py",
    ),
    "the last excluded row is returned": Fault(
        "kernels/filters.py",
        "for z in range(first, last):  # noqa: SIM110",
        "for z in range(first, last - 1):  # noqa: SIM110",
        "tests/test_search.py",
    ),
}


def main() -> int:
    """Plant the faults that were asked for; report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="a fault; all by default")
    parser.add_argument("--list", action="store_true", help="print the names")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in FAULTS]
    if unknown:
        parser.error(f"unknown fault {unknown[0]!r}; --list prints them")
    chosen = arguments.names or list(FAULTS)
    if arguments.list:
        print("\n".join(chosen))
        return 0
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        for name in chosen:
            started = time.monotonic()
            noticed = _noticed_by(FAULTS[name], Path(folder))
            survivors += not noticed
            print(f"{name}: {noticed or 'SURVIVES'} ({time.monotonic() - started:.0f} s)", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} faults noticed")
    return min(1, survivors)


def _noticed_by(fault: Fault, folder: Path) -> str:
    """The test that notices a fault; nothing if none does."""
    copy = folder / "tree"
    shutil.rmtree(copy, ignore_errors=True)
    hidden = shutil.ignore_patterns(
        ".git", ".venv*", "__pycache__", "*.egg-info", "build", "dist", ".*_cache"
    )
    shutil.copytree(ROOT, copy, symlinks=True, ignore=hidden)
    path = copy / fault.file
    text = path.read_text()
    if text.count(fault.right) != 1:
        raise SystemExit(
            f"{fault.file} does not hold this text once, so the fault must be stated anew:\n{fault.right}"
        )
    path.write_text(text.replace(fault.right, fault.wrong))
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            *fault.tests.split(),
        ],
        cwd=copy,
        env={**os.environ, "NUMBA_CACHE_DIR": str(copy / "cache"), "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if run.returncode not in (0, 1) or (run.returncode == 1) != bool(failed):
        raise SystemExit(f"pytest ended with status {run.returncode}:\n{run.stdout}{run.stderr}")
    return failed[0].split(" - ")[0] if failed else ""


if __name__ == "__main__":
    sys.exit(main())
