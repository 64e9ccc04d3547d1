"""Environment variables that the HTTP client obeys: an error names the one that is wrong."""

import asyncio
import http.server
import shutil
import ssl
import subprocess
import sys
import threading
import traceback
from contextlib import contextmanager
from pathlib import Path

import click.testing
import numpy as np
import openai
import pytest
from embedding_server import KEY, OTHER, OTHER_WIDTH, WORDS, EmbeddingServer, hashed_rows

from fastvec import Vocabulary, cli
from fastvec.openai import EmbeddingError, OpenAIEmbedder

SECRET = "pass-word"
PROXIES = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"]
VARIABLES = [
    *PROXIES,
    *(name.lower() for name in PROXIES),
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSLKEYLOGFILE",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
    "OPENAI_CUSTOM_HEADERS",
]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def ask(url, awaited=False, **arguments):
    embedder = OpenAIEmbedder(OTHER, base_url=url, api_key=KEY, **{"max_retries": 0, **arguments})
    return asyncio.run(embedder.aembed(WORDS)) if awaited else embedder.embed(WORDS)


def bad_settings(folder):
    """The name, the value, and a part of the message."""
    for name in ("HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        for address in (
            ":::",
            f"ftp://user:{SECRET}@host:1",
            f"http://user:{SECRET}@host:port",
            f"http://user:{SECRET}@[::1",
        ):
            yield name, address, "is not the address of a proxy, such as http://host:3128"
    for name in ("HTTP_PROXY", "ALL_PROXY"):  # for the server's scheme, a client is made before it fails
        for address in (f"http://user:{SECRET}@", f"http://user:{SECRET}@host:99999"):
            yield name, address, "is not the address of a proxy, such as http://host:3128"
    yield "SSL_CERT_FILE", str(folder / "nowhere"), "names .*nowhere.*, which cannot be used: No such file"
    yield "SSL_CERT_FILE", str(folder), "which cannot be used: Is a directory"
    yield "SSL_CERT_FILE", str(folder / "junk.pem"), "junk.pem', which holds no certificates"
    yield "SSLKEYLOGFILE", str(folder / "nowhere" / "keys"), "which cannot be used: No such file"
    yield "SSLKEYLOGFILE", str(folder), "which cannot be used: Is a directory"
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        yield name, f"{SECRET}\n", "begins or ends with a space, or holds a line end or non-ASCII characters"
        yield name, f"é{SECRET}", "begins or ends with a space, or holds a line end or non-ASCII characters"
    yield "OPENAI_CUSTOM_HEADERS", f": {SECRET}", "has a line whose name no header can have"
    yield "OPENAI_CUSTOM_HEADERS", f"X-One: 1\na b: {SECRET}", "has a line whose name no header can have"
    yield "OPENAI_CUSTOM_HEADERS", f"X-One: é{SECRET}", "begins or ends with a space, or holds a line end"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a file that holds no certificates."""
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("folder", "junk.pem").write_text("junk")


@pytest.mark.parametrize(("name", "value", "said"), list(bad_settings(Path("folder"))))
def test_a_setting_with_which_no_client_can_be_made_is_named(server, folder, monkeypatch, name, value, said):
    embedder = OpenAIEmbedder(OTHER, base_url=server.url, api_key=KEY, max_retries=0)
    monkeypatch.setenv(name, value)
    if name == "SSLKEYLOGFILE":  # some clients heed it together with this one only
        monkeypatch.setenv("SSL_CERT_DIR", "folder")
    with pytest.raises(EmbeddingError, match=said) as caught:
        ask(server.url)
    with pytest.raises(EmbeddingError, match=said) as awaited:
        asyncio.run(embedder.aembed(WORDS))  # which makes a client for itself
    for error in (caught.value, awaited.value):
        assert error.setting == name
        assert str(error).startswith(f"{name} ")
        assert "\n" not in str(error)
        assert SECRET not in "".join(traceback.format_exception(error))
    assert server.requests == []


def test_a_good_setting_beside_a_bad_one_is_not_blamed(folder, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://host:3128")
    monkeypatch.setenv("SSL_CERT_FILE", certifi_like(Path("folder")))
    monkeypatch.setenv("SSLKEYLOGFILE", "folder/nowhere/keys")
    with pytest.raises(EmbeddingError, match=r"^SSLKEYLOGFILE names"):
        OpenAIEmbedder(OTHER, api_key=KEY)


def certifi_like(folder):
    """A file with a self-signed certificate, and a file with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "own.pem")]
    subprocess.run([*command.split(), *names.split(), *files], check=True, capture_output=True)
    return str(folder / "own.pem")


@pytest.fixture
def encrypted(folder):
    """The address and the certificate of a TLS server whose certificate is not trusted."""
    certificate = certifi_like(Path("folder"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, "folder/key.pem")
    with EmbeddingServer() as server:
        server._http.socket = context.wrap_socket(server._http.socket, server_side=True)
        yield server.url.replace("http:", "https:"), certificate


@pytest.mark.parametrize("awaited", [False, True])
def test_a_certificate_that_is_not_trusted(encrypted, monkeypatch, tmp_path, awaited):
    url, certificate = encrypted
    monkeypatch.setenv("SSL_CERT_FILE", certificate)
    np.testing.assert_array_equal(ask(url, awaited), hashed_rows(WORDS, OTHER_WIDTH))
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(
        EmbeddingError, match="not trusted: self-signed certificate; if you trust it, set SSL"
    ) as caught:
        ask(url, awaited)
    assert caught.value.setting == "SSL_CERT_FILE"
    for folder, said in (
        ("folder", r"'folder' \(SSL_CERT_DIR\)$"),
        ("nowhere", r"\(SSL_CERT_DIR\), which does not exist$"),
    ):
        monkeypatch.setenv("SSL_CERT_DIR", folder)
        with pytest.raises(EmbeddingError, match=said) as caught:
            ask(url, awaited)
        assert caught.value.setting == "SSL_CERT_DIR"
    assert caught.value.received.sum() == 0


@contextmanager
def proxy(status, headers=()):
    """The address, with user and password, of a proxy that gives this answer to every request."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            for header in headers:
                self.send_header(*header)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_CONNECT = answer

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://user:{SECRET}@127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_another_password(monkeypatch, awaited, scheme):
    name = f"{scheme.upper()}_PROXY"
    with proxy(407) as address:
        monkeypatch.setenv(name, address)
        with pytest.raises(
            EmbeddingError, match=rf"^the proxy 127.0.0.1:\d+ \({name}\) asks for another"
        ) as caught:
            ask(f"{scheme}://host.invalid/v1", awaited)
    assert caught.value.setting == name
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("awaited", [False, True])
def test_a_proxy_that_does_not_reach_the_server(monkeypatch, awaited):
    with proxy(502) as address:
        monkeypatch.setenv("ALL_PROXY", address)
        said = r"the proxy 127.0.0.1:\d+ \(ALL_PROXY\) answered 502 Bad Gateway"
        with pytest.raises(EmbeddingError, match=said) as caught:
            ask("https://host.invalid/v1", awaited)
    assert caught.value.setting is None  # it may pass
    assert caught.value.positions == list(range(len(WORDS)))
    assert not caught.value.finished  # no text is to blame


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("address", ["127.0.0.1:9", f"http://user:{SECRET}@127.0.0.1:99999"])
def test_a_proxy_that_does_not_exist(monkeypatch, awaited, address):
    monkeypatch.setenv("http_proxy", address)
    with pytest.raises(EmbeddingError, match="http_proxy") as caught:
        ask("http://host.invalid/v1", awaited)
    assert caught.value.setting == "http_proxy"
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_server_that_needs_no_proxy(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert ask(server.url).shape == (len(WORDS), OTHER_WIDTH)
    with pytest.raises(EmbeddingError, match="could not be reached") as caught:
        ask("http://127.0.0.1:9/v1")
    assert "proxy" not in str(caught.value).lower()


def test_socks_needs_a_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", f"socks5://user:{SECRET}@host:1080")
    with pytest.raises(EmbeddingError, match=r"^ALL_PROXY is a SOCKS proxy.*pip install socksio$"):
        ask("http://host.invalid/v1")


def test_a_passed_client_is_not_said_to_obey_the_environment(monkeypatch):
    with proxy(407) as address:
        monkeypatch.setenv("HTTP_PROXY", address)
        client = openai.OpenAI(base_url="http://host.invalid/v1", api_key=KEY, max_retries=0)
        with client, pytest.raises(EmbeddingError, match=r"^a proxy asks for another user") as caught:
            OpenAIEmbedder(OTHER, client=client).embed(WORDS)
    assert caught.value.setting is None


def test_what_nothing_explains_is_an_error_of_embedding_too(server, make, monkeypatch):
    embedder = make()

    def fail(*arguments, **options):
        raise RuntimeError("deep inside")

    monkeypatch.setattr(type(embedder._connections.client().embeddings), "create", fail)
    with pytest.raises(EmbeddingError, match="the openai client failed: RuntimeError: deep inside"):
        embedder.embed(WORDS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSL_CERT_FILE", "folder/nowhere"),
        ("HTTP_PROXY", f"http://u:{SECRET}@:"),
        ("http_proxy", "127.0.0.1:9"),
    ],
)
@pytest.mark.parametrize(
    "arguments",
    [
        ["embed", "in.txt", "-o", "out.npy", "--max-retries", "0"],
        ["quickstart", "--live"],
        ["search", "rows.npy", "a text that is not in the file"],
    ],
)
def test_commands_say_it_in_one_line_with_status_2(folder, monkeypatch, name, value, arguments):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://host.invalid/v1")
    monkeypatch.setenv(name, value)
    monkeypatch.setattr("fastvec._embedding.exchange._BACKOFF_S", 0.001)
    Path("in.txt").write_text("king\nqueen\n")
    Vocabulary(WORDS, hashed_rows(WORDS, OTHER_WIDTH)).save("rows.npy")
    result = click.testing.CliRunner().invoke(cli.group(), [*arguments, "--model", OTHER])
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line and not line.startswith("embedding ")]
    assert len(lines) == 1, lines
    assert name in lines[0]
    assert SECRET not in result.output
    assert not Path("out.npy").exists()
