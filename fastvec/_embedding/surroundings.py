"""Settings outside the program that the HTTP client obeys, and which of them is wrong if it fails.

The client reads environment variables, and its errors about them name neither the variable nor a remedy. So
after a failure, each variable is tried by itself. Messages show no user, password or header, because these
are often secret.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import string
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import NamedTuple
from urllib.parse import urlsplit

from .errors import EmbeddingError

_LETTERS = frozenset(
    string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"
)  # allowed in the name of a header
_NO_PROXY = "is not the address of a proxy, such as http://host:3128 or socks5://host:1080"
_NO_HEADER = (
    "begins or ends with a space, or holds a line end or non-ASCII characters, which no header can carry"
)


@contextlib.contextmanager
def making(http: ModuleType) -> Iterator[None]:
    """If the block fails to make a client, raise an EmbeddingError that names the faulty setting."""
    _check_headers()
    try:
        yield
    except (EmbeddingError, MemoryError):
        raise
    except Exception as error:
        traceback.clear_frames(error.__traceback__)  # they hold the passwords of proxies
        _find(http)
        raise EmbeddingError(f"the openai client cannot be made here: {_kind_of(error)}") from error


@contextlib.contextmanager
def asking(http: ModuleType, address: str, *, made_here: bool) -> Iterator[None]:
    """If the block fails to send a request to ``address`` because of a setting, raise an EmbeddingError.

    A failure that may pass stays the client's own exception, whose cause names the proxy of the request. It
    is not known whether a client that the caller passed (not ``made_here``) obeys the environment.
    """
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        if error.status_code == 407:
            raise _refused(_proxy_of(address, made_here=made_here)) from None
        raise
    except openai.APIConnectionError as error:
        causes = list(_causes(error))
        for cause in causes:
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise _distrusted(address, cause, made_here=made_here) from None
        proxy = _proxy_of(address, made_here=made_here)
        answered = next((str(cause) for cause in causes if isinstance(cause, http.ProxyError)), None)
        if answered is not None and answered.startswith("407"):
            raise _refused(proxy) from None
        if answered is not None:
            raise error from _Passing(error, f"{proxy.name or 'a proxy'} answered {answered}")
        if proxy.name:
            _find(http)
            unreached = any(isinstance(cause, http.ConnectError) for cause in causes)
            message = f"through {proxy.name}: {error.__cause__}"
            raise error from _Passing(error, message, proxy.setting if unreached else None)
        raise
    except (openai.OpenAIError, EmbeddingError, MemoryError):
        raise
    except Exception as error:
        if made_here:
            _find(http)
        raise EmbeddingError(f"the openai client failed: {_kind_of(error)}") from error


class _Passing(ConnectionError):
    """The cause of a failure that may pass: it names the proxy, and its setting if it was not reached."""

    def __init__(self, failure: Exception, message: str, setting: str | None = None) -> None:
        super().__init__(message)
        self.setting, self.__cause__ = setting, failure.__cause__


def setting_of(error: EmbeddingError) -> str | None:
    """The setting that caused a failure, also one that might have passed."""
    blamed = (cause.setting for cause in _causes(error) if isinstance(cause, _Passing))
    return error.setting or next(blamed, None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__ or error.__context__
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _kind_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _fault(setting: str, problem: str) -> EmbeddingError:
    error = EmbeddingError(f"{setting} {problem}")
    error.setting = setting
    return error


def _find(http: ModuleType) -> None:
    """Raise an error for the first setting with which no client can be made."""
    for scheme in _proxies():
        if problem := _problem_of_proxy(http, scheme):
            raise _fault(_name_of(scheme), problem)
    trials: tuple[tuple[str, Callable[[str], object]], ...] = (
        ("SSL_CERT_FILE", lambda path: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)),
        ("SSLKEYLOGFILE", lambda path: open(path, "ab").close()),
    )
    for setting, use in trials:
        path = os.environ.get(setting)
        try:
            if path:
                use(path)
        except ssl.SSLError:
            raise _fault(setting, f"names {path!r}, which holds no certificates (PEM)") from None
        except OSError as error:
            raise _fault(setting, f"names {path!r}, which cannot be used: {error.strerror}") from None


def _problem_of_proxy(http: ModuleType, scheme: str) -> str:
    """What is wrong with a proxy; empty if nothing is. An exception would show the proxy's password."""
    address = _proxies()[scheme]
    try:
        if not urlsplit(address).hostname or urlsplit(address).port == 0:
            return _NO_PROXY
        http.HTTPTransport(proxy=http.Proxy(url=address), verify=False, trust_env=False).close()
    except ImportError:
        return "is a SOCKS proxy, for which a package is missing: pip install socksio"
    except Exception:
        return _NO_PROXY
    return ""


def _check_headers() -> None:
    """Raise if an environment variable holds what no header can carry."""
    for setting in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        value = os.environ.get(setting, "")
        if not _fits_header(value) or value != value.strip():
            raise _fault(setting, _NO_HEADER)
    for line in os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n"):
        name, colon, value = line.partition(":")
        if colon and not (name.strip() and _LETTERS.issuperset(name.strip())):
            raise _fault(
                "OPENAI_CUSTOM_HEADERS", "has a line whose name no header can have; write name: value"
            )
        if colon and not _fits_header(value.strip()):
            raise _fault("OPENAI_CUSTOM_HEADERS", _NO_HEADER)


def _fits_header(value: str) -> bool:
    return value.isascii() and value.isprintable()


class _Proxy(NamedTuple):
    """A proxy, as messages name it, and the setting that chooses it; both are empty if there is no proxy."""

    name: str
    setting: str


def _proxies() -> dict[str, str]:
    """The addresses of proxies by scheme, as the clients read them."""
    addresses = urllib.request.getproxies()
    return {
        scheme: addresses[scheme] if "://" in addresses[scheme] else f"http://{addresses[scheme]}"
        for scheme in ("http", "https", "all")
        if addresses.get(scheme)
    }


def _name_of(scheme: str) -> str:
    """The variable that sets the proxy for a scheme; the one in small letters, if both are set."""
    names = [name for name in os.environ if name.lower() == f"{scheme}_proxy"]
    return max(names, key=str.islower, default="the proxy in the system's settings")


def _proxy_of(address: str, *, made_here: bool) -> _Proxy:
    """The proxy through which requests to an address go."""
    url, proxies = urlsplit(address), _proxies()
    scheme = next((scheme for scheme in (url.scheme, "all") if scheme in proxies), None)
    if not made_here or scheme is None or urllib.request.proxy_bypass(url.hostname or ""):
        return _Proxy("", "")
    setting, host = _name_of(scheme), proxies[scheme].partition("://")[2].rpartition("@")[2]
    return _Proxy(f"the proxy {host} ({setting})", setting)


def _refused(proxy: _Proxy) -> EmbeddingError:
    problem = "asks for another user and password (status 407)"
    if not proxy.setting:
        return EmbeddingError(f"a proxy {problem}")
    error = EmbeddingError(f"{proxy.name} {problem}; write them as in http://user:password@host:3128")
    error.setting = proxy.setting
    return error


def _distrusted(address: str, error: ssl.SSLCertVerificationError, *, made_here: bool) -> EmbeddingError:
    """An error that says what is wrong with the server's certificate, and which certificates are trusted."""
    message = f"the certificate of {address} is not trusted: {error.verify_message}"
    if not made_here:
        return EmbeddingError(message)
    setting = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)), None)
    if setting is None:
        message += "; if you trust it, set SSL_CERT_FILE to a file with the certificate of its issuer"
    else:
        path = os.environ[setting]
        message += f"; the trusted certificates are those in {path!r} ({setting})"
        message += "" if os.path.exists(path) else ", which does not exist"
    failure = EmbeddingError(message)
    failure.setting = setting or "SSL_CERT_FILE"
    return failure
