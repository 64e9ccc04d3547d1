"""Several Index folders as the rows of one file, searched in this process or by a cluster."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import one_line_warnings, working
from .rows import Rows, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..files import Labeled
    from ..index import Index

_CONNECT_S = 10


def is_folder(path: Path) -> bool:
    """Whether a path is that of an Index folder."""
    from ..files.layout import MANIFEST

    return (path / MANIFEST).is_file()


class FolderRows(Rows):
    """The rows of several folders, one folder after another."""

    def __init__(self, parts: Sequence[Labeled], index: Index) -> None:
        from ..files.columns import Columns

        first = parts[0]
        for part in parts[1:]:
            for what, other, one in (
                ("the columns", part.column_names, first.column_names),
                ("vectors of the model", part.metadata.get("model"), first.metadata.get("model")),
            ):
                if other != one:
                    raise click.ClickException(
                        f"{part.path} has {what} {_shown(other)}, and {first.path} {_shown(one)}; "
                        "search folders that agree"
                    )

        def column(name: str) -> tuple[Value, ...]:
            return tuple(value for part in parts for value in part.columns[name])

        self.path, self.metadata, self.dims = first.path, first.metadata, index.dims
        self.texts = tuple(text for part in parts for text in part.words)
        self.column_names = first.column_names
        self.columns = Columns(first.column_names, column)
        self.index = index

    def vectors_of(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """The vectors of rows, from where they are."""
        import numpy as np

        return self.index._rows.now().fetch(np.array(rows, np.int64))


def _shown(value: Any) -> str:
    return "none" if not value else value if isinstance(value, str) else ", ".join(value)


@contextmanager
def open_folders(
    folders: Sequence[Path], cluster: str | None, file: Path, form: str | None, limit: int | None, errors: str
) -> Iterator[FolderRows]:
    """The rows of ``file`` and of more folders, for a ``with`` block, at whose end a local cluster ends."""
    from .. import files

    paths = [file, *folders]
    if not is_folder(file):
        raise click.UsageError(
            f"--cluster searches Index folders, and {file} is none; fastvec convert {file} FOLDER makes one"
        )
    for option, given in (
        ("--limit", limit is not None),
        ("--format", form not in (None, "index")),
        ("--errors", errors != "strict"),
    ):
        if given:
            raise click.UsageError(
                f"{option} is not for Index folders that are searched as one; leave it out"
            )
    with ExitStack() as stack:
        with working("opening the folders"), one_line_warnings():
            index = _index(paths, stack.enter_context(_client(cluster)) if cluster else None)
            parts = [files.read(path, repeated=True) for path in paths]
        yield FolderRows(parts, index)


def _index(paths: Sequence[Path], client: Any) -> Index:
    names = [str(path.absolute()) for path in paths]
    if client is not None:
        from ..integrations import dask

        return dask.Index.open(names, client=client)
    from .._snapshot import Snapshot
    from .._stores import shards
    from ..index import Index

    store, metric = shards.opened_here(names)
    return Index._of(Snapshot(store), metric)  # type: ignore[arg-type]


@contextmanager
def _client(cluster: str) -> Iterator[Any]:
    """A client of the cluster that --cluster names."""
    from ..integrations.dask import distributed
    from ..kernels.threads import processors

    local = re.fullmatch(r"local:(\d+)", cluster)
    if (local and int(local[1]) < 1) or (cluster.startswith("local:") and not local):
        raise click.UsageError(
            f"--cluster is {cluster!r}; it must be local:N, N at least 1, or the address of a scheduler, "
            "such as tcp://host:8786"
        )
    host = distributed()
    with ExitStack() as stack:
        if local:
            count = int(local[1])
            address = stack.enter_context(
                host.LocalCluster(
                    n_workers=count,
                    threads_per_worker=max(1, processors() // count),
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.ERROR,
                )
            )
        else:
            address = cluster
        try:
            client = stack.enter_context(host.Client(address, timeout=_CONNECT_S))
        except (OSError, ValueError) as error:
            raise click.ClickException(
                f"--cluster {cluster}: no scheduler of Dask answers there ({error!s:.200}); start one with "
                "dask scheduler, and workers with dask worker, or use local:N"
            ) from error
        yield client
