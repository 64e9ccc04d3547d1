"""Many texts through a server that fails at random, in a job that is killed again and again.

`python tests/embedding_soak.py --texts 200000 --kills 3` runs it at full size; a test runs it smaller.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from embedding_server import BODY_FAULTS, ROW_FAULTS, EmbeddingServer, hashed_rows

import fastvec

WIDTH, CONCURRENCY = 64, 4
RIGHT = {"", "shuffled", "no index", "lists", "no usage"}
WHOLE_ANSWER = {"missing row", "extra row", "repeated index", "index out of range", *BODY_FAULTS}
ONE_ROW = ROW_FAULTS.keys() - RIGHT - WHOLE_ANSWER
PASSING = {"rate limited", "rate limited for now", "server error", "unavailable", "half body", "reset"}

JOB = """
import sys
import numpy as np
from fastvec.models import Model, register
from fastvec.openai import OpenAIEmbedder
url, folder, count, width, in_a_request, concurrency = sys.argv[1:]
register(Model("soak", dims=int(width), max_texts_per_request=int(in_a_request)))
embedder = OpenAIEmbedder(
    "soak", base_url=url, api_key="none", cache=folder + "/cache", max_retries=8, concurrency=int(concurrency)
)
out = np.lib.format.open_memmap(folder + "/rows.npy", "w+", np.float32, (int(count), int(width)))
embedder.embed((f"text {number}" for number in range(int(count))), out=out)
out.flush()
"""


def start(url: str, folder: str, count: int, in_a_request: int) -> subprocess.Popen[bytes]:
    arguments = map(str, (url, folder, count, WIDTH, in_a_request, CONCURRENCY))
    root = str(Path(fastvec.__file__).resolve().parents[1])
    return subprocess.Popen([sys.executable, "-c", JOB, *arguments], env={**os.environ, "PYTHONPATH": root})


def kept_rows(folder: str) -> set[bytes]:
    """The digests of the texts whose answers were accepted."""
    with contextlib.closing(sqlite3.connect(folder + "/cache")) as connection:
        return {digest for (digest,) in connection.execute("select sha256 from vectors")}


def check_none_again(requests: list[dict[str, Any]], kept: set[bytes]) -> None:
    for request in requests:
        for text in request["input"]:
            assert hashlib.sha256(text.encode()).digest() not in kept, f"{text!r} was sent again"


def soak(count: int, in_a_request: int, kills: int, seed: int) -> str:
    """Run and check; returns a summary."""
    choose = random.Random(seed)
    requests = -(-count // in_a_request)
    moments = sorted(choose.sample(range(requests // 10, requests * 9 // 10), kills))
    started = time.monotonic()
    with EmbeddingServer(widths={"soak": WIDTH}) as server, tempfile.TemporaryDirectory() as folder:
        server.random = random.Random(seed)
        server.fault_rate = 0.05
        server.random_faults = sorted((RIGHT - {""}) | WHOLE_ANSWER | ONE_ROW | PASSING)
        kept: set[bytes] = set()
        sent = 0
        for moment in [*moments, None]:
            job = start(server.url, folder, count, in_a_request)
            while job.poll() is None:
                if moment is not None and len(server.requests) >= moment:
                    job.send_signal(signal.SIGKILL)
                time.sleep(0.002)
            assert job.returncode == (0 if moment is None else -signal.SIGKILL)
            check_none_again(server.requests[sent:], kept)
            kept, sent = kept_rows(folder), len(server.requests)
        rows = np.load(folder + "/rows.npy")
        received: Counter[str] = Counter()
        for request, fault in zip(server.requests, server.faults, strict=True):
            asked = request["input"]
            # Of a single row, the index cannot be another's.
            if fault in RIGHT or (fault == "repeated index" and len(asked) == 1):
                received.update(asked)
            elif fault in ONE_ROW:
                received.update(asked[:-1])
        given = Counter(server.faults)
    texts = [f"text {number}" for number in range(count)]
    np.testing.assert_array_equal(rows, hashed_rows(texts, WIDTH))
    assert received.keys() == set(texts)
    most_requests = requests * 1.15 + (kills + 1) * (
        CONCURRENCY + 1
    )  # with 5 % of faults, and what is in flight
    assert len(server.requests) <= most_requests, f"{len(server.requests)} requests, not about {requests}"
    again = sum(times - 1 for times in received.values())
    in_flight = kills * CONCURRENCY * in_a_request
    assert again <= in_flight, f"{again} texts with an accepted answer were sent again, {in_flight} allowed"
    faults = sum(given.values()) - given[""]
    return (
        f"{count:,} texts, {sum(given.values()):,} requests, {faults} faults of {len(given) - 1} kinds, "
        f"{kills} kills at requests {moments}: equal; {again} texts paid again, in flight at a kill "
        f"(at most {in_flight}); {time.monotonic() - started:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--texts-per-request", type=int, default=50)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(soak(options.texts, options.texts_per_request, options.kills, options.seed))


if __name__ == "__main__":
    main()
