"""The work of `fastvec embed`: check all texts, embed them into a matrix on disk, write OUT as one thing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from . import places
from .embed_failures import explained
from .embed_report import Counted, Done
from .failures import misuse
from .output import Progress, working
from .records import Columns
from .text_input import TextInput, is_ordinary, spool

if TYPE_CHECKING:
    import numpy as np

    from .._embedding.errors import Usage
    from ..errors import EmbeddingError
    from ..models import Model

_SEVERAL = 512  # texts, some of which may be refused


@dataclass(frozen=True)
class Job:
    """The options of a command line."""

    source: BinaryIO
    output: Path | None
    model: str
    dims: int | None
    prefix: str | None
    query_prefix: str | None
    column: str | None
    form: str | None
    quoting: str
    keep: tuple[str, ...]
    skip_empty: bool
    skip_failed: bool
    force: bool
    quiet: bool
    asking: Mapping[str, Any]
    """Arguments of the embedder that say how the server is asked."""

    @property
    def offline(self) -> bool:
        """Whether the offline encoder is used, and no server."""
        from .._embedders import OFFLINE

        return self.model == OFFLINE

    def count(self) -> Counted:
        """Count what the work would take; nothing is sent, and no file is made."""
        if self.output is not None:
            with misuse():
                places.format_of_output(self.output, self.keep)
                if self._cache is None:
                    places.check_partial(self.output)
        with self._texts(spool_in=None) as texts:
            counted = Counted(self._facts, len(texts), len(texts.blank) + len(texts.too_long))
            if self.offline:
                return counted
            rows_file = self._cache or (None if self.output is None else places.partial_of(self.output))
            if rows_file is not None and not rows_file.exists():
                rows_file = None  # opening it to look would make it
            with self._progress("counting", "texts") as progress:
                embedder = self._embedder(rows_file, api_key="none")
                plan = embedder._plan(self._sent(texts, progress))
                asks_width = "dims" not in embedder.provenance and plan.unique > 1  # see _width
        return replace(counted, plan=plan, asks_width=asks_width)

    def run(self) -> Done:
        """Embed and write."""
        started = time.monotonic()
        assert self.output is not None
        with misuse():
            form = places.format_of_output(self.output, self.keep)
            if self._cache is None:
                places.check_partial(self.output)
            places.check_places(self.source, self.output, form, self._cache, self.force)
        done = Done(str(self.output), form, self._facts, self._prefix)
        rows_file = self._cache or places.partial_of(self.output)
        with self._texts(spool_in=self.output) as texts:
            done.blank, done.too_long = texts.blank, texts.too_long
            with explained(texts, rows_file, offline=self.offline), places.alone(self.output):
                # Another process may have written it since it was checked.
                places.check_places(self.source, self.output, form, self._cache, self.force)
                embedder = self._embedder(rows_file)
                _Work(self, embedder, texts, self.output, done).do()
                if self._cache is None:
                    embedder._close()
                    for suffix in ("", "-wal", "-shm"):
                        rows_file.with_name(rows_file.name + suffix).unlink(missing_ok=True)
            done.texts = len(texts)
        done.seconds = time.monotonic() - started
        return done

    @property
    def _cache(self) -> Path | None:
        return self.asking.get("cache")

    @property
    def _facts(self) -> Model:
        """What is known about the model."""
        from ..models import describe

        return describe(self.model)

    @property
    def _prefixes(self) -> Mapping[str, str]:
        """The prefixes of texts and queries: those of the options, else those of the model."""
        from .._embedding import roles

        prefixes = {"document": self.prefix, "query": self.query_prefix}
        known = roles.checked(None, self._facts)
        return roles.checked(
            {**known, **{role: prefix for role, prefix in prefixes.items() if prefix is not None}},
            self._facts,
        )

    @property
    def _prefix(self) -> str:
        return self._prefixes.get("document", "")

    def _sent(self, texts: TextInput, progress: Progress | None = None) -> Iterator[str]:
        """The texts as they are embedded, with their prefix."""
        prefix = self._prefix
        return (prefix + text for text in texts.texts(progress))

    @contextmanager
    def _texts(self, *, spool_in: Path | None) -> Iterator[TextInput]:
        """The input, checked, so that nothing is sent or made if a text is wrong."""
        name = getattr(self.source, "name", None)
        name = Path(name).name if isinstance(name, str) else "<stdin>"
        with self._readable(spool_in) as file:
            with misuse(), self._progress(f"reading {name}", "MB") as progress:
                texts = TextInput(file, name, self.form, Columns(self.column, self.quoting, self.keep))
                texts.check(
                    self._facts,
                    self._prefix,
                    skip_empty=self.skip_empty,
                    skip_too_long=self.skip_failed,
                    progress=progress,
                )
            yield texts

    @contextmanager
    def _readable(self, spool_in: Path | None) -> Iterator[IO[bytes]]:
        """The input as a file that can be read more than once."""
        from ..files.atomic import staged

        if is_ordinary(self.source):
            yield self.source
            return
        if spool_in is None:
            with tempfile.TemporaryFile() as file:
                spool(self.source, file)
                yield file
            return
        with staged(spool_in) as place, open(place, "xb+") as file:
            with places.naming(place):
                spool(self.source, file)
            yield file

    def _embedder(self, rows_file: Path | None, **more: Any) -> Any:
        from .. import _embedders

        far = {} if self.offline else {"prefixes": self._prefixes, "cache": rows_file}
        with misuse():  # no client, a wrong option, no key
            embedder = _embedders.make(self.model, **{**self.asking, **more, **far}, dims=self.dims)
            if isinstance(embedder, _embedders.OfflineEmbedder) and rows_file is not None:
                embedder._keep_in(rows_file)
        return embedder

    def _progress(self, what: str, unit: str = "") -> AbstractContextManager[Progress]:
        return nullcontext(lambda _done, _total: None) if self.quiet else working(what, unit)


class _Work:
    """From checked texts to OUT."""

    def __init__(self, job: Job, embedder: Any, texts: TextInput, output: Path, done: Done) -> None:
        self.job, self.embedder, self.texts, self.output, self.done = job, embedder, texts, output, done

    def do(self) -> None:
        """Embed and write, whole or not at all."""
        from .. import files
        from ..files import json_lines, npy
        from ..files.atomic import staged
        from ..files.ordinary import destination

        width = self.done.dims = self._width()
        metadata = {**self.embedder.provenance, "dims": str(width)}
        writing = f"writing {self.output.name}"
        if self.done.format == "npy":  # the matrix itself becomes OUT
            with npy.replacing(self.output, metadata) as (matrix_file, words_file):
                matrix = self._filled(matrix_file, width)
                with places.naming(self.output):
                    matrix.flush()
                del matrix  # some systems cannot rename a file that is mapped
                with self.job._progress(writing), places.naming(self.output), open(words_file, "xb") as file:
                    file.writelines(json_lines.blocks_of(self.texts.texts()))
            return
        place = self.output if self.done.format == "index" else destination(self.output)
        with staged(place) as matrix_file:
            matrix = self._filled(matrix_file, width)
            with self.job._progress(writing):
                files.write(
                    self.output,
                    self.texts.texts(),
                    matrix,
                    format=self.done.format,
                    metadata=metadata,
                    columns=self.texts.columns() or None,
                    repeated=True,
                )
            del matrix

    def _width(self) -> int:
        """The width of all rows. If it is unknown, the first texts are embedded to find it."""
        from ..errors import EmbeddingError

        known = self.embedder.provenance.get("dims")
        if known is not None:
            return int(known)
        for count in (1, _SEVERAL):
            first = list(islice(self.job._sent(self.texts), count))
            try:
                vectors = self.embedder.embed(first)
            except EmbeddingError as error:
                vectors = error.vectors
                if vectors is None and (not error.finished or len(first) in (_SEVERAL, len(self.texts))):
                    raise
            if vectors is not None:
                break
        width: int = vectors.shape[1]
        return width

    def _filled(self, place: Path, width: int) -> np.memmap[Any, np.dtype[np.float32]]:
        """A new ``.npy`` file of the rows of all texts; --skip-failed leaves out those that are refused."""
        while True:
            with places.naming(self.output):
                matrix = places.allocated(place, (len(self.texts), width))
            failure = self._failure_of_filling(matrix)
            if failure is None:
                return matrix
            if not (self.job.skip_failed and failure.finished):
                raise failure
            # Try again, as a server that fails now and then may have failed on each try of one text.
            again = self._failure_of_filling(matrix, again=True)
            if again is None:
                return matrix
            failure = again if again.finished else failure
            refused = frozenset(failure.positions)
            if len(refused) == len(self.texts):
                raise failure
            self.done.refused.append((self.texts.lines_of(refused), failure.reason))
            self.texts.leave_out(refused)
            del matrix, failure, again  # what was received is kept, and comes from there into a smaller one
            place.unlink()

    def _failure_of_filling(
        self, matrix: np.memmap[Any, np.dtype[np.float32]], *, again: bool = False
    ) -> EmbeddingError | None:
        from ..errors import EmbeddingError

        stored, received = self._rows_received(), self._used().texts
        try:
            with self.job._progress("embedding", "texts") as progress:
                self.embedder.embed(self.job._sent(self.texts), out=matrix, progress=progress)
        except EmbeddingError as error:
            return error
        finally:
            if not (again or self.done.refused):  # then most rows come from this run
                # Those received before the filling, to learn the width, are found again.
                self.done.stored = self._rows_received() - stored - received
            used = self._used()
            self.done.requests, self.done.tokens = used.requests, used.tokens
        return None

    def _rows_received(self) -> int:
        """The number of rows that were received before."""
        count: int = self.embedder._received_before()
        return count

    def _used(self) -> Usage:
        from ..openai import Usage

        return Usage() if self.job.offline else self.embedder.usage
