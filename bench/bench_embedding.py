"""The OpenAI adapter against a local server: what it costs beside the exchange itself, and usual loops.

The server runs in a process of its own and answers from memory, so that the client's side is what is timed.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import multiprocessing
import sys
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from suite import Case, Plan, main, test_races

from fastvec.benchmark import Competitor, Limit, Race
from fastvec.benchmark.truth import Values

__all__ = ["CASES", "test_races"]

MODEL = "bench"


def row(dims: int) -> Any:
    """What the server answers to every text."""
    return np.random.default_rng(0).normal(size=dims).astype("<f4")


def serve(dims: int, delay_s: float, address: Any) -> None:
    """Answer embeddings requests until the process ends; `address` gets the port."""
    encoded = base64.b64encode(row(dims).tobytes()).decode()

    @cache
    def body(count: int) -> bytes:
        data = [{"object": "embedding", "index": index, "embedding": encoded} for index in range(count)]
        usage = {"prompt_tokens": count, "total_tokens": count}
        return json.dumps({"object": "list", "data": data, "model": MODEL, "usage": usage}).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = body(len(request["input"]))
            time.sleep(delay_s)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            """Keep quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address.send(f"http://127.0.0.1:{http.server_address[1]}/v1")
    http.serve_forever()


def server(dims: int, delay_s: float = 0.0) -> str:
    """Start a server that lives as long as this process; return its address."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    spawn.Process(target=serve, args=(dims, delay_s, theirs), daemon=True).start()
    return str(ours.recv())


def one_request(plan: Plan) -> Race:
    """One request; the limit is the exchange with its base64 decoded into nothing."""
    import openai
    from jiter import from_json

    from fastvec.openai import OpenAIEmbedder

    count, dims = plan.size(512, 2048), plan.size(1536, 3072)
    texts = [f"text {number}" for number in range(count)]
    client = openai.OpenAI(base_url=server(dims), api_key="none")
    embedder = OpenAIEmbedder(MODEL, client=client, dims=dims)
    out = np.empty((count, dims), np.float32)

    def exchange() -> None:
        answer = client.embeddings.with_raw_response.create(
            model=MODEL, input=texts, encoding_format="base64"
        )
        for item in from_json(answer.http_response.content)["data"]:
            binascii.a2b_base64(item["embedding"])

    def by_the_client() -> Any:
        answer = client.embeddings.create(model=MODEL, input=texts)
        return np.array([item.embedding for item in answer.data], np.float32)

    competitors = [
        Competitor("embed", lambda: embedder.embed(texts, out=out), "exact", True, setting="out="),
        Competitor("openai", by_the_client, "exact", setting="embeddings.create, np.array"),
    ]
    facts = {"task": "embedding", "n": count, "dims": dims}
    truth = Values(np.tile(row(dims).astype(np.float64), (count, 1)), 0.0)
    return Race(facts, competitors, truth, [Limit("exchange", exchange, ["embed"])], {})


def latency(plan: Plan) -> Race:
    """Many texts from a server that takes 20 ms: one text a request, as people write the loop."""
    import openai

    from fastvec.openai import OpenAIEmbedder

    count, dims = 100, 256
    texts = [f"text {number}" for number in range(count)]
    client = openai.OpenAI(base_url=server(dims, 0.02), api_key="none")
    embedder = OpenAIEmbedder(MODEL, client=client, dims=dims)

    def loop() -> Any:
        found = [client.embeddings.create(model=MODEL, input=text).data[0].embedding for text in texts]
        return np.array(found, np.float32)

    competitors = [
        Competitor("embed", functools.partial(embedder.embed, texts), "exact", True),
        Competitor("a loop over texts", loop, "exact", setting="embeddings.create(input=text)"),
    ]
    truth = Values(np.tile(row(dims).astype(np.float64), (count, 1)), 0.0)
    return Race({"task": "embedding", "n": count, "dims": dims, "delay_ms": 20}, competitors, truth, (), {})


def memory(plan: Plan) -> Race:
    """MiB above the output while eight requests' worth of texts is embedded, by requests in flight."""
    count, dims = plan.size(512, 2048), plan.size(1536, 3072)
    url = server(dims)

    def run(concurrency: int) -> tuple[float, Any]:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_peak, args=(url, count, dims, concurrency, theirs))
        process.start()
        found = ours.recv()
        process.join()
        return found

    competitors = [
        Competitor(f"embed, {number} in flight", functools.partial(run, number), "exact", True)
        for number in (4, 1)
    ]
    truth = Values(np.tile(row(dims).astype(np.float64), (2, 1)), 0.0)
    # An answer with its parsed form: the body, its strings, its rows.
    answer = count * (2 * -(-dims * 16 // 3) + 4 * dims) / 2**20
    facts = {"task": "embedding memory", "n": 8 * count, "dims": dims, "answer_mib": answer}
    return Race(facts, competitors, truth, (), {}, unit="MiB")


def _peak(url: str, count: int, dims: int, concurrency: int, found: Any) -> None:
    from fastvec.openai import OpenAIEmbedder

    embedder = OpenAIEmbedder(MODEL, base_url=url, api_key="none", dims=dims, concurrency=concurrency)
    embedder.embed(["warm up"])
    texts = [f"text {number}" for number in range(8 * count)]
    out = np.zeros((len(texts), dims), np.float32)
    out[:, ::1024] = 1  # touch every page
    before = _high_water()
    embedder.embed(texts, out=out)
    found.send((_high_water() - before, out[[0, -1]]))


def _high_water() -> float:
    """The most memory that this process has held, in MiB (getrusage would count what ran before exec)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


NEEDS = ("openai",)
CASES = [
    Case("embedding: one request", one_request, needs=NEEDS),
    Case("embedding: 20 ms of latency", latency, needs=NEEDS),
]
if sys.platform == "linux":
    CASES.append(Case("embedding: memory", memory, full=True, needs=NEEDS))

if __name__ == "__main__":
    main(CASES)
