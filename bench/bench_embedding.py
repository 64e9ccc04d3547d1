"""The OpenAI adapter against a local server: what it costs beside the exchange itself.

    python bench/bench_embedding.py [--texts 2048] [--dims 3072] [--repeat 5]

Prints ratios: to the same exchange with its base64 decoded into nothing, to `client.embeddings.create` and
`np.array`, to one text at a time from a server that takes 20 ms; and, on Linux, the memory above the output.
The server runs in a process of its own and answers from memory, so that the client's side is what is timed.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import openai
from jiter import from_json

from fastvec.openai import OpenAIEmbedder

MODEL = "bench"
MIB = 2**20


def serve(dims: int, delay_s: float, address: Any) -> None:
    """Answer embeddings requests until the process ends; `address` gets the port."""
    row = base64.b64encode(np.random.default_rng(0).normal(size=dims).astype("<f4").tobytes()).decode()

    @cache
    def body(count: int) -> bytes:
        data = [{"object": "embedding", "index": index, "embedding": row} for index in range(count)]
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


class Server:
    """A server process for the duration of a `with` block."""

    def __init__(self, dims: int, delay_s: float = 0.0) -> None:
        ours, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=serve, args=(dims, delay_s, theirs), daemon=True)
        self._process.start()
        self.url: str = ours.recv()

    def __enter__(self) -> str:
        return self.url

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.join()


def times(repeat: int, *functions: Callable[[], object]) -> list[float]:
    """Median seconds of each function, run in turns after one turn to warm up."""
    seconds: list[list[float]] = [[] for _ in functions]
    for turn in range(repeat + 1):
        for function, taken in zip(functions, seconds, strict=True):
            started = time.perf_counter()
            function()
            if turn:
                taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in seconds]


def transfer(count: int, dims: int, repeat: int) -> None:
    texts = [f"text {number}" for number in range(count)]
    with Server(dims) as url, openai.OpenAI(base_url=url, api_key="none") as client:
        embedder = OpenAIEmbedder(MODEL, client=client, dims=dims)
        out = np.empty((count, dims), np.float32)

        def exchange() -> None:
            answer = client.embeddings.with_raw_response.create(
                model=MODEL, input=texts, encoding_format="base64"
            )
            for item in from_json(answer.http_response.content)["data"]:
                binascii.a2b_base64(item["embedding"])

        def by_the_client() -> None:
            answer = client.embeddings.create(model=MODEL, input=texts)
            np.array([item.embedding for item in answer.data], np.float32)

        floor, ours, plain = times(repeat, exchange, lambda: embedder.embed(texts, out=out), by_the_client)
    print(f"one request of {count:,} texts, {dims:,} dims: {ours * 1e3:.0f} ms")
    print(f"  the exchange alone {floor * 1e3:.0f} ms: ratio {ours / floor:.2f} (target: at most 1.3)")
    print(f"  embeddings.create + np.array {plain * 1e3:.0f} ms: ratio {plain / ours:.2f} (at least 2)")


def latency(count: int, dims: int) -> None:
    texts = [f"text {number}" for number in range(count)]
    with Server(dims, 0.02) as url, openai.OpenAI(base_url=url, api_key="none") as client:
        embedder = OpenAIEmbedder(MODEL, client=client, dims=dims)
        ours, single = times(
            1,
            lambda: embedder.embed(texts),
            lambda: [client.embeddings.create(model=MODEL, input=[text]) for text in texts[:50]],
        )
    ratio = single / 50 * count / ours
    print(f"{count:,} texts at 20 ms of latency: {ours * 1e3:.0f} ms")
    print(f"  one text at a time {single / 50 * count:.1f} s: ratio {ratio:.0f} (at least 20)")


def peak_memory() -> float:
    """The most memory that this process has held, in MiB (getrusage would count what ran before exec)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def memory(url: str, count: int, dims: int, concurrency: int, found: Any) -> None:
    """Send by `found` the memory, in MiB, above what there was before and the output."""
    embedder = OpenAIEmbedder(MODEL, base_url=url, api_key="none", dims=dims, concurrency=concurrency)
    embedder.embed(["warm up"])
    texts = [f"text {number}" for number in range(8 * count)]
    out = np.zeros((len(texts), dims), np.float32)
    out[:, ::1024] = 1  # touch every page
    before = peak_memory()
    embedder.embed(texts, out=out)
    found.send(peak_memory() - before)


def peak(count: int, dims: int, concurrency: int) -> None:
    with Server(dims) as url:
        ours, theirs = multiprocessing.Pipe()
        arguments = (url, count, dims, concurrency, theirs)
        process = multiprocessing.get_context("spawn").Process(target=memory, args=arguments)
        process.start()
        used = ours.recv()
        process.join()
    text = count * 4 * -(-dims * 4 // 3) / MIB  # base64
    answer = 2 * text + count * dims * 4 / MIB  # the body, its strings, its rows
    allowed = (concurrency + 2) * answer
    print(f"memory above the output, {concurrency} requests in flight: {used:.0f} MiB")
    print(f"  an answer with its parsed form {answer:.0f} MiB: {used / answer:.1f} of them")
    print(f"  (target: at most {concurrency + 2}, {allowed:.0f} MiB)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--texts", type=int, default=2048, help="texts of a request, at most 2048")
    parser.add_argument("--dims", type=int, default=3072)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    transfer(options.texts, options.dims, options.repeat)
    latency(options.texts, options.dims)
    for concurrency in (1, 4):
        peak(options.texts, options.dims, concurrency)


if __name__ == "__main__":
    main()
