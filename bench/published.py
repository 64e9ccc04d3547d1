"""The records of the pictures and of the README's table: chosen races at full size, in fixed rounds.

python bench/published.py --json bench/records.jsonl     about twelve minutes
python bench/published.py --small --json small.jsonl     the same, smaller and in one round: a rehearsal
python bench/pictures.py bench/records.jsonl             draws the pictures; prints the table
"""

from __future__ import annotations

import argparse
import gc
import time
from pathlib import Path
from typing import Any

import all as everything
from suite import Case, missing, plan_of, run, show

from fastvec.benchmark import limits, record, report

ROUNDS = {
    **{f"search: batch {m}": rounds for m, rounds in ((1, 7), (8, 7), (64, 7), (1024, 3))},
    "search: one by one, decaying": 3,
    "search: one by one, nomic tokens": 5,
    "search: one by one, static texts": 3,
    "search: euclidean": 7,
    "search: half of the rows pass a filter": 7,
    "search: 1 % of the rows pass a filter": 15,
    "search: k 100": 7,
    "search: k 1000": 5,
    "search: recall": 5,
    **dict.fromkeys(
        ("search: n 1,000 short, 1,000 full", "search: n 4,000 short, 10,000 full", "search: dims 64"), 15
    ),
    **dict.fromkeys(("search: n 16,000 short, 100,000 full", "search: dims 256", "search: dims 1024"), 9),
    **dict.fromkeys(("search: n 64,000 short, 1,000,000 full", "search: dims 3072"), 5),
    "search: isotropic noise": 5,
    "search: a rogue dimension": 5,
    "search: all rows equal": 5,
    "search: nomic tokens, batch 1": 15,
    "search: nomic tokens, batch 1024": 3,
    "search: static texts, batch 1": 7,
    "search: static texts, batch 1024": 3,
    "search: GloVe, batch 1": 15,
    "search: GloVe, batch 1024": 3,
    "search: 1,000,000 x 256, batch 1": 5,
    "search: 1,000,000 x 256, batch 64": 3,
    "selection: k 10": 3,
    "selection: k 100": 3,
    "similarity: 256 queries": 5,
    "similarity: 256 queries, given output": 5,
    "similarity: 1,024 queries": 3,
    "rows: normalize": 5,
    "rows: normalize, given output": 5,
    "rows: truncate 768 to 256": 5,
    "analogy: Google's questions over GloVe": 3,
    "start: import": 5,
    "start: first answer": 5,
    "memory: search": 1,
    "audit: certified recall": 5,
    "audit: certified recall on nomic tokens": 5,
}
"""Each race, and its rounds. Their order is that of the benchmarks' files, so that data is made once."""


def chosen() -> list[Case]:
    """The cases of these names, in the order of their files.

    Raises:
        SystemExit: a name is no case.
    """
    cases = {case.name: case for case in everything.cases() if case.name in ROUNDS}
    if unknown := [name for name in ROUNDS if name not in cases]:
        raise SystemExit(f"there is no case {', '.join(unknown)}")
    return list(cases.values())


def main() -> None:
    """Run them all, and write the records."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "words",
        nargs="*",
        help="only the cases whose name holds one of these; records of others in FILE stay, so that a run "
        "may be done in parts",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", required=True, help="the file of records")
    parser.add_argument(
        "--small", action="store_true", help="small data, one round: the records prove nothing"
    )
    parser.add_argument("--threads", type=int, help="of every library; without it, the processors there are")
    options = parser.parse_args()
    cases = [c for c in chosen() if not options.words or any(word in c.name for word in options.words)]
    plan = plan_of(
        argparse.Namespace(
            full=not options.small, peers=None, threads=options.threads, rounds=None, seconds=None
        )
    )
    print(report.machine(record.machine()))
    taken = {"roofline", *(case.name for case in cases)}
    kept = record.read(options.json) if options.words and options.json.exists() else []
    records: list[dict[str, Any]] = [record.roofline(limits.measure())]
    records += [one for one in kept if one["case"] not in taken]
    began = time.monotonic()
    for case in cases:
        if reason := missing(case):
            print(f"\n{reason}")
            continue
        start = time.monotonic()
        found = run(case, plan._replace(rounds=1 if options.small else ROUNDS[case.name]))[1]
        gc.collect()
        show(found)
        print(f"{time.monotonic() - start:.0f} s, {time.monotonic() - began:.0f} s in all", flush=True)
        records.append(found)
        record.write(options.json, records)  # what is done is kept, whatever comes next
    print(f"\n{len(records)} records: {options.json}")


if __name__ == "__main__":
    main()
