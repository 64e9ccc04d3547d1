"""A job of many texts that is killed repeatedly, with a server that fails at random and refuses some texts.

`python tests/embedding_soak.py --texts 200000 --kills 3` runs it at full size; a test runs it smaller.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from embedding_server import BODY_FAULTS, ROW_FAULTS, EmbeddingServer, hashed_rows

import fastvec

WIDTH, CONCURRENCY = 64, 4
RIGHT = {"", "shuffled", "no index", "no index of 0", "no index of 0, shuffled", "null index", "some indices"}
RIGHT |= {"lists", "no usage"}
WHOLE_ANSWER = {"missing row", "extra row", "repeated index", "index out of range", *BODY_FAULTS}
# Of a few rows in the wrong order, indices that are left out do not tell.
ONE_ROW = ROW_FAULTS.keys() - RIGHT - WHOLE_ANSWER - {"some indices, shuffled"}
PASSING = {"rate limited", "rate limited for now", "server error", "unavailable", "half body", "reset"}
POISON = (400, 422, 500, 503, "reset", "nan", "html page")

JOB = """
import json, sys
import numpy as np
from fastvec._embedding import exchange
from fastvec.models import Model, register
from fastvec.openai import EmbeddingError, OpenAIEmbedder
url, folder, count, width, in_a_request, concurrency = sys.argv[1:]
exchange._BACKOFF_S = 0.02
register(Model("soak", dims=int(width), max_texts_per_request=int(in_a_request)))
embedder = OpenAIEmbedder(
    "soak", base_url=url, api_key="none", cache=folder + "/cache", max_retries=4, concurrency=int(concurrency)
)
out = np.lib.format.open_memmap(folder + "/rows.npy", "w+", np.float32, (int(count), int(width)))
refused = []
try:
    embedder.embed((f"text {number}" for number in range(int(count))), out=out)
except EmbeddingError as error:
    refused = error.positions
    assert not error.received[refused].any() and error.received.sum() == int(count) - len(refused)
out.flush()
with open(folder + "/refused.json", "w") as file:
    json.dump(refused, file)
"""


def poison_at(in_a_request: int) -> Callable[[str], int | str | None]:
    """Of a twentieth of all requests, one text that cannot be embedded; each kind in turn."""

    def poison(text: str) -> int | str | None:
        block, place = divmod(int(text.split()[1]), 20 * in_a_request)
        return POISON[block % len(POISON)] if place == block * 7 % (20 * in_a_request) else None

    return poison


def start(url: str, folder: str, count: int, in_a_request: int) -> subprocess.Popen[bytes]:
    arguments = map(str, (url, folder, count, WIDTH, in_a_request, CONCURRENCY))
    root = str(Path(fastvec.__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    return subprocess.Popen(
        [sys.executable, "-c", JOB, *arguments], env=environment, stderr=subprocess.DEVNULL
    )


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
    poison = poison_at(in_a_request)
    with EmbeddingServer(widths={"soak": WIDTH}) as server, tempfile.TemporaryDirectory() as folder:
        server.random = random.Random(seed)
        server.fault_rate = 0.05
        server.random_faults = sorted((RIGHT - {""}) | WHOLE_ANSWER | ONE_ROW | PASSING)
        server.poison, server.envelope = poison, "detail[].msg"
        server.max_texts, server.limit_status = in_a_request * 4 // 5, 422
        server.base64 = 400
        server.rate, server.retry_after = (40, 0.1), "0.05"
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
        refused = json.loads(Path(folder, "refused.json").read_text())
        received: Counter[str] = Counter()
        for asked, fault in server.answers:
            good = [text for text in asked if poison(text) is None]
            # Of a single row, the index cannot be another's.
            if fault in RIGHT or (fault == "repeated index" and len(asked) == 1):
                received.update(good)
            elif fault in ONE_ROW:
                received.update(text for text in good if text != asked[-1])
        counts = Counter(server.faults)
    texts = [f"text {number}" for number in range(count)]
    bad = [number for number, text in enumerate(texts) if poison(text) is not None]
    wrong = sorted(set(refused) ^ set(bad))
    assert not wrong, f"{len(wrong)} texts named wrongly or not at all: {wrong[:9]}"
    good_rows = np.setdiff1d(np.arange(count), bad)
    np.testing.assert_array_equal(rows[good_rows], hashed_rows(texts, WIDTH)[good_rows])
    assert received.keys() == {texts[number] for number in good_rows}
    again = sum(times - 1 for times in received.values())
    in_flight = kills * CONCURRENCY * in_a_request
    assert again <= in_flight, f"{again} texts with an accepted answer were sent again, {in_flight} allowed"
    faults = sum(counts.values()) - counts[""]
    return (
        f"{count:,} texts, {sum(counts.values()):,} requests, {faults} faults of {len(counts) - 1} kinds, "
        f"{kills} kills at requests {moments}: equal; all {len(bad)} bad texts named; "
        f"{again} texts paid again, in flight at a kill (at most {in_flight}); "
        f"{time.monotonic() - started:.0f} s"
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
