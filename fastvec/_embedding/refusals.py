"""Interprets an exception of the client: the kind of refusal, how long to wait, and the server's own reason.

The kind depends on the status, the headers and the state of the connection, never on words.
"""

from __future__ import annotations

import email.utils
import enum
import html
import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from .hidden import without_secrets

if TYPE_CHECKING:
    import openai

_ACCOUNT = {401, 402, 403, 404, 405, 407, 410}
_BUSY = {429, 503, 529}
_PASSING = {408, 409, 425}
_NOT_TEXTS = {"ConnectError", "ConnectTimeout", "ProxyError", "DecodingError", "TooManyRedirects"}
_NOT_TEXTS |= {"UnsupportedProtocol", "LocalProtocolError"}
_QUOTA = "insufficient_quota"
_LONGEST = 300  # characters of a reason
# The keys under which servers put their reason; FastAPI sends a list of places (loc) and messages (msg).
_REASONS = ("error", "message", "detail", "details", "errors", "msg", "title", "reason", "error_message")
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.I | re.S)
_HINTS = {
    400: "does the model take these texts and this width?",
    401: "is OPENAI_API_KEY (or api_key=) right?",
    403: "may this key use the model?",
    404: "are the name of the model and base_url (it usually ends in /v1) right?",
    413: "are the texts too long?",
    422: "does the model take these texts and this width?",
    429: "the rate limit held after all retries; wait, or raise patience or max_retries",
}


class Kind(enum.Enum):
    """The kind of a refusal, by what may help against it."""

    ACCOUNT = "nothing: the key, the address or the model is refused"
    TRANSFER = "asking again: nothing was transferred, or in a wrong form"
    CONTENT = "fewer texts in a request"
    PASSING = "asking again, and fewer texts in a request"
    SLOW = "fewer texts in a request; the same request would take as long again"
    BUSY = "waiting, and fewer texts in a request"


@dataclass(frozen=True)
class Refusal:
    """Why a request brought no answer."""

    kind: Kind
    message: str  # for users: the server, the status, its reason, what to try
    retry_after: float | None  # seconds
    answered: bool  # whether the server sent a status
    error: openai.OpenAIError | None = None


def read(error: openai.OpenAIError, where: str, clean: Callable[[str], str]) -> Refusal:
    """Interpret an exception of the client; ``clean`` removes secrets from the server's words."""
    seconds = _retry_after(error)
    answered = hasattr(error, "status_code")
    return Refusal(_kind(error, seconds), explain(error, where, clean), seconds, answered, error)


def _kind(error: openai.OpenAIError, retry_after: float | None) -> Kind:
    import openai

    status = getattr(error, "status_code", None)
    if status is None:
        if not isinstance(error, openai.APIConnectionError):
            return Kind.ACCOUNT
        causes = {kind.__name__ for cause in _causes(error) for kind in type(cause).__mro__}
        if causes & _NOT_TEXTS:
            return Kind.TRANSFER
        return Kind.SLOW if isinstance(error, openai.APITimeoutError) else Kind.PASSING
    if status in _ACCOUNT or status < 400 or (status == 429 and _no_quota(error)):
        return Kind.ACCOUNT
    again = error.response.headers.get("x-should-retry")  # type: ignore[attr-defined]
    if again == "false" or (again != "true" and status not in _BUSY | _PASSING and status < 500):
        return Kind.CONTENT
    if status == 501:
        return Kind.CONTENT
    return Kind.BUSY if status in _BUSY or retry_after is not None else Kind.PASSING


def _causes(error: BaseException) -> list[BaseException]:
    causes: list[BaseException] = []
    cause = error.__cause__
    while cause is not None and len(causes) < 8:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return causes


def _no_quota(error: openai.OpenAIError) -> bool:
    return _QUOTA in (getattr(error, "code", None), getattr(error, "type", None))


def _retry_after(error: openai.OpenAIError) -> float | None:
    """The seconds for which the server asks to wait, or None."""
    response = getattr(error, "response", None)
    if response is None:
        return None
    headers = response.headers
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        until = email.utils.parsedate_to_datetime(headers.get("retry-after", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, until - time.time())


def explain(error: openai.OpenAIError, where: str, clean: Callable[[str], str]) -> str:
    """A message that says what an exception of the client means and what to try."""
    status = getattr(error, "status_code", None)
    if status is None:
        cause = f": {error.__cause__}" if error.__cause__ is not None else ""
        return _line(clean(f"{where} could not be reached: {str(error).rstrip('.')}{cause}"))
    if 300 <= status < 400:
        return clean(f"{where} redirects with status {status} to {_target(error)}")
    reason = reason_in(error.response.content, clean) or "it gives no reason"  # type: ignore[attr-defined]
    hint = _HINTS.get(status, "the server failed after all retries" if status >= 500 else "")
    if _no_quota(error):
        hint = "the account has no quota left; see its plan and billing"
    return f"{where} refused with status {status}: {reason}" + (f" ({hint})" if hint else "")


def reason_in(body: bytes, clean: Callable[[str], str]) -> str:
    """The server's own reason, in one line of printable characters; JSON and HTML around it are dropped."""
    text = body.decode(errors="replace")
    try:
        reasons = _reasons(json.loads(text), 0)
    except (ValueError, RecursionError):
        title = _TITLE.search(text)
        reasons = [html.unescape(title[1])] if title else [] if text.lstrip()[:1] == "<" else [text]
    return _line(clean("; ".join(dict.fromkeys(filter(None, map(_line_of, reasons))))))


def _reasons(value: Any, depth: int) -> list[str]:
    """The texts in an answer that give a reason, outermost first."""
    if isinstance(value, str):
        return [value]
    if depth > 4:
        return []
    if isinstance(value, list):
        return [reason for item in value[:3] for reason in _reasons(item, depth + 1)]
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("msg"), str) and isinstance(value.get("loc"), list):
        return [f"{'.'.join(map(str, value['loc']))}: {value['msg']}"]
    return [reason for key in _REASONS for reason in _reasons(value.get(key), depth + 1)]


def _line_of(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text[:20_000]).split())


def _line(text: str) -> str:
    text = _line_of(text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _target(error: openai.OpenAIError) -> str:
    """A message that says where a redirect leads, and what to do about it."""
    response = error.response  # type: ignore[attr-defined]
    try:
        place = without_secrets(urljoin(str(response.request.url), response.headers.get("location", "")))
    except ValueError:
        return "something that is not an address"
    return (
        f"{place[:300]}: texts and key are sent only to the server of base_url, and resent only after a "
        "307 or 308; if that address is the right one, set base_url to it"
    )
