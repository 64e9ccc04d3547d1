"""Keeps keys and passwords out of logs, errors and tracebacks, also those that show local variables.

An address may hold a user, a password and a query. HTTP clients print the addresses of requests, and their
exceptions hold requests, headers and answers, in which a server may quote what it was sent.
"""

from __future__ import annotations

import base64
import functools
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

if TYPE_CHECKING:
    import openai

Value = TypeVar("Value")
SHORTEST_SECRET = 6
"""The least length of a key that is treated as secret: shorter ones, such as "none", are placeholders."""

OF_THE_TRANSFER = ("content-encoding", "content-length", "transfer-encoding")
"""Headers of an answer that do not describe its content."""


class Hidden(str):
    """A text that its repr does not show, nor that of a piece of it."""

    def __repr__(self) -> str:
        return "'[hidden]'"

    def __getitem__(self, part: Any) -> Hidden:
        return Hidden(super().__getitem__(part))


def hide(value: Value) -> Value:
    """A text as one that its repr does not show; anything else as it is."""
    return Hidden(value) if isinstance(value, str) else value  # type: ignore[return-value]


def hide_address(value: Value) -> Value:
    """``hide`` for an address, if it has a user or a query."""
    return hide(value) if isinstance(value, str) and ("@" in value or "?" in value) else value


def without_secrets(address: str) -> str:
    """A server's address without user, password, query and fragment."""
    url = urlsplit(address)
    host = url.netloc.rpartition("@")[2]
    return f"{url.scheme}://{host}{url.path.rstrip('/')}"


def _without_login(place: str) -> str:
    """Where a redirect leads, without user, password and query."""
    try:
        url = urlsplit(place)
    except ValueError:
        return ""
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))


def secrets_of(client: openai.OpenAI | openai.AsyncOpenAI) -> dict[str, str]:
    """The secrets with which a client asks, each with what stands for it in messages."""
    url = urlsplit(str(client.base_url))
    user, password = url.username or "", url.password or ""
    login = f"{unquote(user)}:{unquote(password)}".encode()
    query = [str(value) for name, value in client.default_query.items() if name != "api-version"]
    others = [base64.b64encode(login).decode(), password, unquote(password), *query, url.query]
    secrets = {**dict.fromkeys(others, "[hidden]"), client.api_key or "": "[API key]"}
    longest_first = sorted(secrets.items(), key=lambda pair: -len(pair[0]))
    return {secret: name for secret, name in longest_first if len(secret) >= SHORTEST_SECRET}


@functools.cache
def _quiet(kind: type[Any]) -> type[Any]:
    """The class of addresses of an HTTP package, which requests go to, and which print no secrets."""

    class Quiet(kind):  # type: ignore[misc]
        def __str__(self) -> str:
            return without_secrets(super().__str__())

        def __repr__(self) -> str:
            return f"URL({str(self)!r})"

    return Quiet


def quiet(request: Any) -> Any:
    """A request whose address is printed without secrets, by logs and errors of the HTTP package."""
    if type(request.url).__name__ != "Quiet":
        kind: Any = type(request.url)
        request.url = _quiet(kind)(request.url)
    return request


def clean(error: BaseException, clean_text: Callable[[str], str]) -> None:
    """Take secrets out of an exception of the client, and of those that led to it."""
    for each in _chain(error):
        traceback.clear_frames(each.__traceback__)  # they hold headers as they were sent
        each.args = tuple(clean_text(part) if isinstance(part, str) else part for part in each.args)
        for name in ("message", "body"):
            value = None if isinstance(each, BaseExceptionGroup) else getattr(each, name, None)
            if value:  # the message of a group cannot be set; it is one of its arguments
                setattr(each, name, _cleaned(value, clean_text))
        _clean_exchange(each, clean_text)


def _cleaned(value: Any, clean_text: Callable[[str], str]) -> Any:
    """A value of JSON with its texts cleaned."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {_cleaned(key, clean_text): _cleaned(part, clean_text) for key, part in value.items()}
    return [_cleaned(part, clean_text) for part in value] if isinstance(value, list) else value


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and each not in seen:
            seen.append(each)
            yield each
            waiting += [each.__context__, each.__cause__, *getattr(each, "exceptions", ())]


def _clean_exchange(error: Any, clean_text: Callable[[str], str]) -> None:
    """Take secrets out of the request and the answer that an exception holds."""
    try:
        request = error.request
    except (AttributeError, RuntimeError):  # httpx raises if there is none
        return
    request.headers.clear()
    plain: Any = type(quiet(request).url).__base__
    request.url = plain(str(request.url))
    response = getattr(error, "response", None)
    if response is not None:
        headers = [
            (name, clean_text(_without_login(value) if name.lower() == "location" else value))
            for name, value in response.headers.multi_items()
            if name.lower() not in OF_THE_TRANSFER
        ]
        content = clean_text(response.content.decode("utf-8", "surrogateescape"))
        error.response = type(response)(
            response.status_code,
            headers=headers,
            content=content.encode("utf-8", "surrogateescape"),
            request=request,
        )
