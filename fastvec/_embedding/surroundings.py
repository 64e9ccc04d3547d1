"""Settings outside the program that the HTTP client obeys: which of them is at fault when it fails.

The client reads variables of the environment deep inside, and what it raises about them names neither the
variable nor what to do. So when something has failed, each is tried by itself. A message shows no user,
password or header, as these are often secret.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import string
import urllib.request
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import NamedTuple
from urllib.parse import urlsplit

from .errors import EmbeddingError

_LETTERS = frozenset(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~")  # of a header's name
_NO_PROXY = "is not the address of a proxy, such as http://host:3128 or socks5://host:1080"
_NO_HEADER = "holds a space at an end, a line end, or other characters than ASCII, which no header can carry"


@contextlib.contextmanager
def making(http: ModuleType) -> Iterator[None]:
    """Make a client within; if that fails, an EmbeddingError names the setting that is at fault."""
    _check_headers()
    try:
        yield
    except (EmbeddingError, MemoryError):
        raise
    except Exception as error:
        _find(http)
        raise EmbeddingError(f"the openai client cannot be made here: {_kind_of(error)}") from error


@contextlib.contextmanager
def asking(http: ModuleType, address: str, *, own: bool) -> Iterator[None]:
    """Send a request to ``address`` within; what fails because of a setting is an EmbeddingError.

    A failure that may pass stays the client's own exception, and says by which proxy the request went. Of a
    client that was given (not ``own``) it is not known whether it obeys the environment.
    """
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        if error.status_code == 407:
            raise _refused(_proxy_of(address, own=own)) from None
        raise
    except openai.APIConnectionError as error:
        causes = list(_causes(error))
        for cause in causes:
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise _distrusted(address, cause, own=own) from None
        proxy = _proxy_of(address, own=own)
        answered = next((str(cause) for cause in causes if isinstance(cause, http.ProxyError)), None)
        if answered is not None and answered.startswith("407"):
            raise _refused(proxy) from None
        if answered is not None:
            raise error from _Passing(error, f"{proxy.name or 'a proxy'} answered {answered}")
        if proxy.name:
            _find(http)
            unreached = any(isinstance(cause, http.ConnectError) for cause in causes)
            message = f"by way of {proxy.name}: {error.__cause__}"
            raise error from _Passing(error, message, proxy.setting if unreached else None)
        raise
    except (openai.OpenAIError, EmbeddingError, MemoryError):
        raise
    except Exception as error:
        if own:
            _find(http)
        raise EmbeddingError(f"the openai client failed: {_kind_of(error)}") from error


class _Passing(ConnectionError):
    """Between a failure that may pass and its cause: the proxy, and its setting if it was not reached."""

    def __init__(self, failure: Exception, message: str, setting: str | None = None) -> None:
        super().__init__(message)
        self.setting, self.__cause__ = setting, failure.__cause__


def setting_of(error: EmbeddingError) -> str | None:
    """The setting that a failure is due to, also if it was hoped to pass."""
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
    """Raise for the first setting with which no client can be made."""
    for scheme, address in _proxies().items():
        try:
            if not urlsplit(address).hostname or urlsplit(address).port == 0:
                raise ValueError("no host, or no port")
            http.HTTPTransport(proxy=http.Proxy(url=address), verify=False, trust_env=False).close()
        except ImportError:
            missing = "is a SOCKS proxy, for which a package is missing: pip install socksio"
            raise _fault(_name_of(scheme), missing) from None
        except Exception:  # it would show the proxy's password
            raise _fault(_name_of(scheme), _NO_PROXY) from None
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


def _check_headers() -> None:
    """Raise for a variable that no header can carry."""
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
    """A proxy, as messages name it, and the setting that chooses it; empty where there is none."""

    name: str
    setting: str


def _proxies() -> dict[str, str]:
    """Addresses of proxies by the scheme that they are for, as the clients read them."""
    found = urllib.request.getproxies()
    return {
        scheme: found[scheme] if "://" in found[scheme] else f"http://{found[scheme]}"
        for scheme in ("http", "https", "all")
        if found.get(scheme)
    }


def _name_of(scheme: str) -> str:
    """Where the proxy for a scheme is set: a variable, in small letters if it is set so too."""
    names = [name for name in os.environ if name.lower() == f"{scheme}_proxy"]
    return max(names, key=str.islower, default="the proxy in the system's settings")


def _proxy_of(address: str, *, own: bool) -> _Proxy:
    """The proxy by which requests to an address go."""
    url, proxies = urlsplit(address), _proxies()
    scheme = next((scheme for scheme in (url.scheme, "all") if scheme in proxies), None)
    if not own or scheme is None or urllib.request.proxy_bypass(url.hostname or ""):
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


def _distrusted(address: str, error: ssl.SSLCertVerificationError, *, own: bool) -> EmbeddingError:
    """Which certificates are trusted, and what is wrong with that of the server."""
    message = f"the certificate of {address} is not trusted: {error.verify_message}"
    if not own:
        return EmbeddingError(message)
    setting = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)), None)
    if setting is None:
        message += "; if it is right, set SSL_CERT_FILE to a file with the certificate of its issuer"
    else:
        path = os.environ[setting]
        message += f"; trusted are those in {path!r}, as {setting} says"
        message += "" if os.path.exists(path) else ", which is not there"
    found = EmbeddingError(message)
    found.setting = setting or "SSL_CERT_FILE"
    return found
