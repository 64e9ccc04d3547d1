"""The ``openai`` clients: making, checking and calling them."""

from __future__ import annotations

import hashlib
import os
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from .. import _forks
from . import surroundings, transfer
from .errors import EmbeddingError
from .hidden import SHORTEST_SECRET, hide, hide_address, without_secrets

if TYPE_CHECKING:
    import openai

Encoding = Literal["base64", "float"]
"""How the numbers of an answer are written; "float" means lists, which every server knows."""


class EmbeddingRequest(NamedTuple):
    """A request to send."""

    texts: list[str]
    encoding: Encoding


def import_client() -> ModuleType:
    """The ``openai`` package; raises an error that says how to install it."""
    try:
        openai = _forks.load("openai", __package__)
        _forks.load("openai.resources.embeddings", __package__)  # now, not in the thread of the first request
    except ModuleNotFoundError as error:
        raise ImportError(
            "OpenAIEmbedder needs the openai package: pip install 'fastvec[openai]'", name="openai"
        ) from error
    return openai


def http_package() -> ModuleType:
    """The package of HTTP clients that ``openai`` uses: httpx or httpx2."""
    return transfer.http_package(import_client().DefaultHttpxClient)


def settings(
    base_url: str | None, api_key: str | None, max_retries: int, timeout: float | None
) -> dict[str, Any]:
    """Checked arguments for a client that fastvec makes."""
    import_client()
    where = "OPENAI_BASE_URL" if base_url is None else "base_url"
    for name, value in (("base_url", base_url), ("api_key", api_key)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    base_url = hide_address(base_url or os.environ.get("OPENAI_BASE_URL") or None)
    if base_url is not None:
        _check_address(base_url, where)
    if timeout is not None:
        _check_timeout(timeout)
    # A key read from a file often ends in a line break, which no HTTP header can carry.
    key = hide((os.environ.get("OPENAI_API_KEY", "") if api_key is None else api_key).strip())
    if not key:
        raise EmbeddingError(
            "no API key: set OPENAI_API_KEY or pass api_key= (any text will do for a server without keys)"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise EmbeddingError(
            "the API key (OPENAI_API_KEY or api_key=) holds spaces or characters other than ASCII"
        )
    chosen: dict[str, Any] = {"api_key": key, "base_url": base_url, "max_retries": max_retries}
    query = hide(urlsplit(base_url or "").query)
    pairs = [(name, hide(value)) for name, value in parse_qsl(query, keep_blank_values=True)]
    if base_url and len(dict(pairs)) == len(pairs) > 0:
        # If the query stayed in the address, the client would append its paths to the query.
        plain = hide_address(base_url.replace("?" + query, "", 1))
        chosen |= {"base_url": plain, "default_query": dict(pairs)}
    return chosen if timeout is None else {**chosen, "timeout": timeout}


def _check_timeout(seconds: float) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"timeout must be a number of seconds, not {type(seconds).__name__}")
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        raise ValueError(f"timeout must be more than 0 seconds, and finite, not {seconds}")


def _check_address(url: str, name: str) -> None:
    """Raise if no request can go to an address; messages do not show it, as it may hold a password."""
    if not url.isprintable():
        raise ValueError(f"{name} holds a character that no address has, such as a line end; remove it")
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{name} must start with http:// or https://, not {url[:8]!r}")
    try:
        host, port = urlsplit(url).hostname, urlsplit(url).port  # no variable holds the password
    except ValueError:
        raise ValueError(f"{name} must be an address with a port from 0 to 65535, or none") from None
    if not host or port == 0 or any(letter.isspace() for letter in url):
        raise ValueError(f"{name} must be an address like https://host:8000/v1")


def portable(chosen: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments, without secrets, that make the same client in another process.

    A key, or an address with a user or a query, must be in the environment there; otherwise this raises.
    """
    key, address = arguments["api_key"], chosen["base_url"] or ""
    if key is not None and len(key) >= SHORTEST_SECRET and key != os.environ.get("OPENAI_API_KEY"):
        raise TypeError(
            "an embedder with an api_key= cannot be pickled, as the pickle would show the key: set "
            "OPENAI_API_KEY instead, here and where the embedder is used"
        )
    if key is not None and len(key) >= SHORTEST_SECRET:
        key = None
    secret = "default_query" in chosen or any((urlsplit(address).username, urlsplit(address).query))
    if secret and arguments["base_url"] not in (None, os.environ.get("OPENAI_BASE_URL")):
        raise TypeError(
            "an embedder whose base_url= has a user or a query cannot be pickled, as the pickle would show "
            "them: set OPENAI_BASE_URL instead, here and where the embedder is used"
        )
    return {"api_key": key and str(key), "base_url": None if secret else chosen["base_url"]}


def name_of(client: openai.OpenAI | openai.AsyncOpenAI) -> str:
    """A name of a client's server, the same for the same address; secrets in it are hashed.

    The user and the query, of the address or of every request, may choose between servers at one address.
    """
    address = str(client.base_url)
    url = urlsplit(address)
    # The version of the API, which clients for Azure have, changes the form of requests, not the answers.
    always = sorted((key, str(value)) for key, value in client.default_query.items() if key != "api-version")
    hidden = [url.username or "", url.query.rstrip("/"), *map("=".join, always)]
    plain = without_secrets(address)
    if not any(hidden):
        return plain
    return f"{plain}#{hashlib.sha256(repr(hidden).encode()).hexdigest()}"


def make(chosen: dict[str, Any]) -> openai.OpenAI:
    """A client with the limits of ``transfer``."""
    package = import_client()
    with surroundings.making(http_package()):
        http = transfer.limited(package.DefaultHttpxClient)(headers=transfer.ACCEPTED)
        client: openai.OpenAI = package.OpenAI(**chosen, http_client=http)
    return client


def make_async(chosen: dict[str, Any]) -> openai.AsyncOpenAI:
    """``make`` for an event loop."""
    package = import_client()
    with surroundings.making(http_package()):
        http = transfer.limited_async(package.DefaultAsyncHttpxClient)(headers=transfer.ACCEPTED)
        client: openai.AsyncOpenAI = package.AsyncOpenAI(**chosen, http_client=http)
    return client


def checked(client: Any) -> openai.OpenAI | openai.AsyncOpenAI:
    """The client that the caller passed, synchronous or not; raises if it is not a client."""
    package = import_client()
    if not isinstance(client, (package.OpenAI, package.AsyncOpenAI)):
        raise TypeError(
            "client must be an openai.OpenAI, AzureOpenAI, AsyncOpenAI or AsyncAzureOpenAI client, "
            f"not {type(client).__name__}"
        )
    return client  # type: ignore[no-any-return, unused-ignore]


def is_async(client: object) -> bool:
    """Whether a client must be awaited."""
    return isinstance(client, import_client().AsyncOpenAI)


def ask(
    client: openai.OpenAI,
    request: EmbeddingRequest,
    model: str,
    extra: dict[str, Any],
    most_bytes: int,
) -> bytes:
    """Send one request and return the body of its answer, of which at most ``most_bytes`` + 1 bytes are read.

    The raw body is used because the client's own parsing is many times slower than the transfer, and fails
    without naming the cause if the body is not what it expects.
    """
    with transfer.most_bytes(most_bytes):
        answer = client.embeddings.with_raw_response.create(
            model=model, input=list(request.texts), encoding_format=request.encoding, **extra
        )
    return answer.http_response.content


async def ask_async(
    client: openai.AsyncOpenAI,
    request: EmbeddingRequest,
    model: str,
    extra: dict[str, Any],
    most_bytes: int,
) -> bytes:
    """``ask`` for an event loop."""
    with transfer.most_bytes(most_bytes):
        answer = await client.embeddings.with_raw_response.create(
            model=model, input=list(request.texts), encoding_format=request.encoding, **extra
        )
    return answer.http_response.content
