"""The ``openai`` clients: made, checked, asked, and their exceptions explained."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .errors import EmbeddingError

if TYPE_CHECKING:
    import openai

_HINTS = {
    400: "does the model take these texts and this width?",
    401: "is OPENAI_API_KEY (or api_key=) right?",
    403: "may this key use the model?",
    404: "are the name of the model and base_url (it usually ends in /v1) right?",
    413: "are the texts too long?",
    422: "does the model take these texts and this width?",
    429: "the rate limit held after all retries; wait, or raise max_retries",
}


def import_client() -> ModuleType:
    """The ``openai`` package, or an error that says how to get it."""
    try:
        import openai
    except ModuleNotFoundError as error:
        raise ImportError(
            "OpenAIEmbedder needs the openai package: pip install 'fastvec[openai]'", name="openai"
        ) from error
    return openai


def settings(
    base_url: str | None, api_key: str | None, max_retries: int, timeout: float | None
) -> dict[str, Any]:
    """Checked arguments for a client of our own."""
    import_client()
    where = "OPENAI_BASE_URL" if base_url is None else "base_url"
    base_url = base_url or os.environ.get("OPENAI_BASE_URL") or None
    if base_url is not None:
        _check_address(base_url, where)
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout must be more than 0 seconds, not {timeout}")
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
    return chosen if timeout is None else {**chosen, "timeout": timeout}


def _check_address(url: str, name: str) -> None:
    """Raise for an address that no request can go to; it may hold a password, so it is not shown."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{name} must start with http:// or https://, not {url[:8]!r}")
    try:
        address = urlsplit(url)
        host, port = address.hostname, address.port
    except ValueError:
        raise ValueError(f"{name} must be an address with a port from 0 to 65535, or none") from None
    if not host or port == 0 or any(letter.isspace() for letter in url):
        raise ValueError(f"{name} must be an address like https://host:8000/v1")


def make(chosen: dict[str, Any]) -> openai.OpenAI:
    """A client that does not ask again when the account has no quota left."""
    package = import_client()
    http = package.DefaultHttpxClient(event_hooks={"response": [_stop_without_quota]})
    client: openai.OpenAI = package.OpenAI(**chosen, http_client=http)
    return client


def make_async(chosen: dict[str, Any]) -> openai.AsyncOpenAI:
    """The same for an event loop."""
    package = import_client()
    http = package.DefaultAsyncHttpxClient(event_hooks={"response": [_stop_without_quota_async]})
    client: openai.AsyncOpenAI = package.AsyncOpenAI(**chosen, http_client=http)
    return client


def _stop_without_quota(response: Any) -> None:
    if response.status_code == 429:
        response.read()
        _mark(response)


async def _stop_without_quota_async(response: Any) -> None:
    if response.status_code == 429:
        await response.aread()
        _mark(response)


def _mark(response: Any) -> None:
    if b'"insufficient_quota"' in response.content:
        response.headers["x-should-retry"] = "false"  # the client's own sign; by status alone it would retry


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


def ask(client: openai.OpenAI, model: str, texts: Sequence[str], extra: dict[str, Any]) -> bytes:
    """Send one request and return the body of its answer.

    The raw body is taken because the client's own model building is many times slower than the transfer
    and fails without naming the cause when the body is not what it expects.
    """
    answer = client.embeddings.with_raw_response.create(
        model=model, input=list(texts), encoding_format="base64", **extra
    )
    return answer.http_response.content


async def ask_async(
    client: openai.AsyncOpenAI, model: str, texts: Sequence[str], extra: dict[str, Any]
) -> bytes:
    """The same for an event loop."""
    answer = await client.embeddings.with_raw_response.create(
        model=model, input=list(texts), encoding_format="base64", **extra
    )
    return answer.http_response.content


def explain(error: openai.OpenAIError, where: str) -> str:
    """Say what an exception of the client means and what to try."""
    status = getattr(error, "status_code", None)
    if status is None:
        cause = f": {error.__cause__}" if error.__cause__ is not None else ""
        return f"{where} could not be reached: {str(error).rstrip('.')}{cause}"
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    hint = _HINTS.get(status, "the server failed after all retries" if status >= 500 else "")
    if "insufficient_quota" in (getattr(error, "code", None), getattr(error, "type", None)):
        hint = "the account has no quota left; see its plan and billing"
    return f"{where} refused with status {status}: {str(said or error)[:300]}" + (
        f" ({hint})" if hint else ""
    )
