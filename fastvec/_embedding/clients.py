"""The ``openai`` clients: made, checked and asked."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from .. import _forks
from . import surroundings, transfer
from .errors import EmbeddingError

if TYPE_CHECKING:
    import openai

SHORTEST_SECRET = 6
"""Letters of a key; shorter ones are dummies for servers without keys ("none"), and parts of many words."""

Encoding = Literal["base64", "float"]
"""How the numbers of an answer are written: "float" are lists, which every server knows."""


def import_client() -> ModuleType:
    """The ``openai`` package, or an error that says how to get it."""
    try:
        openai = _forks.load("openai", __package__)
        _forks.load("openai.resources.embeddings", __package__)  # now, not in the thread of the first request
    except ModuleNotFoundError as error:
        raise ImportError(
            "OpenAIEmbedder needs the openai package: pip install 'fastvec[openai]'", name="openai"
        ) from error
    return openai


def http_package() -> ModuleType:
    """The package of the HTTP clients below: httpx, or httpx2."""
    return transfer.http_package(import_client().DefaultHttpxClient)


def settings(
    base_url: str | None, api_key: str | None, max_retries: int, timeout: float | None
) -> dict[str, Any]:
    """Checked arguments for a client of our own."""
    import_client()
    where = "OPENAI_BASE_URL" if base_url is None else "base_url"
    for name, value in (("base_url", base_url), ("api_key", api_key)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    base_url = base_url or os.environ.get("OPENAI_BASE_URL") or None
    if base_url is not None:
        _check_address(base_url, where)
    if timeout is not None:
        _check_timeout(timeout)
    # A key read from a file often ends in a line break, which no HTTP header can carry.
    key = (os.environ.get("OPENAI_API_KEY", "") if api_key is None else api_key).strip()
    if not key:
        raise EmbeddingError(
            "no API key: set OPENAI_API_KEY or pass api_key= (any text will do for a server without keys)"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise EmbeddingError(
            "the API key (OPENAI_API_KEY or api_key=) holds spaces or characters other than ASCII"
        )
    chosen: dict[str, Any] = {"api_key": key, "base_url": base_url, "max_retries": max_retries}
    query = urlsplit(base_url or "").query
    pairs = parse_qsl(query, keep_blank_values=True)
    if base_url and len(dict(pairs)) == len(pairs) > 0:
        # Left in the address, the client would add its paths behind the query.
        chosen |= {"base_url": base_url.replace("?" + query, "", 1), "default_query": dict(pairs)}
    return chosen if timeout is None else {**chosen, "timeout": timeout}


def _check_timeout(seconds: float) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"timeout must be a number of seconds, not {type(seconds).__name__}")
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        raise ValueError(f"timeout must be more than 0 seconds, and finite, not {seconds}")


def _check_address(url: str, name: str) -> None:
    """Raise for an address that no request can go to; it may hold a password, so it is not shown."""
    if not url.isprintable():
        raise ValueError(f"{name} holds a character that no address has, such as a line end; drop it")
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{name} must start with http:// or https://, not {url[:8]!r}")
    try:
        address = urlsplit(url)
        host, port = address.hostname, address.port
    except ValueError:
        raise ValueError(f"{name} must be an address with a port from 0 to 65535, or none") from None
    if not host or port == 0 or any(letter.isspace() for letter in url):
        raise ValueError(f"{name} must be an address like https://host:8000/v1")


def portable(chosen: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Arguments that give the same client in another process, with nothing secret among them.

    A key or an address with a user or a query is found there in the environment, or it raises.
    """
    key, address = given["api_key"], chosen["base_url"] or ""
    if key is not None and len(key) >= SHORTEST_SECRET and key != os.environ.get("OPENAI_API_KEY"):
        raise TypeError(
            "an embedder with an api_key= cannot be pickled, as the pickle would show the key: set "
            "OPENAI_API_KEY instead, here and where the embedder is used"
        )
    if key is not None and len(key) >= SHORTEST_SECRET:
        key = None
    secret = "default_query" in chosen or any((urlsplit(address).username, urlsplit(address).query))
    if secret and given["base_url"] not in (None, os.environ.get("OPENAI_BASE_URL")):
        raise TypeError(
            "an embedder whose base_url= has a user or a query cannot be pickled, as the pickle would show "
            "them: set OPENAI_BASE_URL instead, here and where the embedder is used"
        )
    return {"api_key": key, "base_url": None if secret else chosen["base_url"]}


def without_secrets(address: str) -> str:
    """A server's address without user, password, query and fragment."""
    url = urlsplit(address)
    host = url.netloc.rpartition("@")[2]
    return f"{url.scheme}://{host}{url.path.rstrip('/')}"


def name_of(client: openai.OpenAI | openai.AsyncOpenAI) -> str:
    """A name for the server of a client, the same for the same address, with nothing secret in clear.

    A user and a query, of the address or for every request, may choose between servers behind one address.
    """
    address = str(client.base_url)
    url = urlsplit(address)
    # The version of the API (a client for Azure has one) changes how is asked, and not what is answered.
    always = sorted((key, str(value)) for key, value in client.default_query.items() if key != "api-version")
    hidden = [url.username or "", url.query.rstrip("/"), *map("=".join, always)]
    plain = without_secrets(address)
    if not any(hidden):
        return plain
    return f"{plain}#{hashlib.sha256(repr(hidden).encode()).hexdigest()}"


def make(chosen: dict[str, Any]) -> openai.OpenAI:
    """A client with the bounds of ``transfer``."""
    package = import_client()
    with surroundings.making(http_package()):
        http = transfer.bounded(package.DefaultHttpxClient)(headers=transfer.ACCEPTED)
        client: openai.OpenAI = package.OpenAI(**chosen, http_client=http)
    return client


def make_async(chosen: dict[str, Any]) -> openai.AsyncOpenAI:
    """The same for an event loop."""
    package = import_client()
    with surroundings.making(http_package()):
        http = transfer.bounded_async(package.DefaultAsyncHttpxClient)(headers=transfer.ACCEPTED)
        client: openai.AsyncOpenAI = package.AsyncOpenAI(**chosen, http_client=http)
    return client


def checked(client: Any) -> openai.OpenAI | openai.AsyncOpenAI:
    """A given client, which may be synchronous or not."""
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
    model: str,
    texts: Sequence[str],
    encoding: Encoding,
    extra: dict[str, Any],
    most_bytes: int,
) -> bytes:
    """Send one request and return the body of its answer, cut off behind ``most_bytes`` and one more.

    The raw body is taken because the client's own model building is many times slower than the transfer
    and fails without naming the cause when the body is not what it expects.
    """
    with transfer.most_bytes(most_bytes):
        answer = client.embeddings.with_raw_response.create(
            model=model, input=list(texts), encoding_format=encoding, **extra
        )
    return answer.http_response.content


async def ask_async(
    client: openai.AsyncOpenAI,
    model: str,
    texts: Sequence[str],
    encoding: Encoding,
    extra: dict[str, Any],
    most_bytes: int,
) -> bytes:
    """The same for an event loop."""
    with transfer.most_bytes(most_bytes):
        answer = await client.embeddings.with_raw_response.create(
            model=model, input=list(texts), encoding_format=encoding, **extra
        )
    return answer.http_response.content
