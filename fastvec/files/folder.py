"""An Index as a folder: arrays to map into memory, labels as JSON lines, and ``index.json``.

    index.json          format, version, facts (metric, rows, dims), and the parts; for every file below its
                        bytes and SHA-256; for every array its dtype, shape and offset; and
                        at the end the SHA-256 of all this
    3f9a11c2/           a part: the rows that one save wrote; index.json names the folders that count
        vectors.npy  codes.npy  scale.npy  error.npy  norm.npy
        basis.npy  pivots.npy  neighbors.npy  screen_codes.npy  screen_scale.npy  screen_tail.npy
        screen_slack.npy    only if the Index has a screen
        leading_codes.npy  leading_words.npy    only if it has leading codes
        direction.npy   only if its codes have a direction
        numbers.npy     numbers of the rows, if they do not rise by one
        labels.jsonl    words of a Vocabulary, or texts; index.json says whether some may be equal
        columns.jsonl   further columns, if any: an object for each row
    80c5d17e/           another part; basis, pivots, neighbors and direction are in the first alone
        vectors.npy  ...
        closed.npy      a bit for each row of the Index: whether it was removed; in any inner folder

A save writes a new inner folder and then replaces index.json in one step, so that an interrupted save leaves
either the old index or the new one. The new folder holds only what no other part holds already
(``parts.py``), and every row if nothing is known of them. Then files are removed that the old index.json
names and the new one does not, and those that the notes of a killed save name; but only the files above, and
anything else in a folder stays. Opening reads index.json, and compares sizes and the arrays' headers with it.
``verify`` compares the checksums of the files; those of labels are compared when the labels are read. Links
are followed when reading, and never when removing.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _logs
from .._checks import file_path
from .._once import once
from . import columns, json_lines, manifest, npy, part_arrays, parts
from .atomic import clear, force, force_names, is_stage, like, naming, only_writer, put, staged
from .columns import Value
from .errors import FileError
from .layout import CLOSED, COLUMNS, INNER, LABELS, MANIFEST, NAMES, NUMBERS
from .manifest import AGAIN, Closed, Part, State
from .ordinary import Held, open_ordinary, refuse_special
from .parts import Content, Saved, Saves
from .streams import Rows

if TYPE_CHECKING:
    from .._stores.base import Pieces

Array = NDArray[Any]


def save(path: str | os.PathLike[str], content: Content, saves: Saves) -> None:
    """Write a folder, or replace the index in one; one save of a folder at a time.

    ``saves`` is what the Index knows of the folders that it was saved to; it learns of this one.
    """
    if content.columns:
        content = content._replace(facts={**content.facts, "columns": list(content.columns)})
    target = file_path(path, "path")
    refuse_special(target)
    if os.path.islink(target):
        target = Path(os.path.realpath(target))
    key = os.path.realpath(path)
    with _logs.timed("the folder %s was saved", path):
        if not os.path.lexists(target):
            _save_first(target, content, saves, key)
            return
        if not target.is_dir():
            raise _not_ours(target)
        with only_writer(target):
            _save_again(target, content, saves, key)


def _save_first(target: Path, content: Content, saves: Saves, key: str) -> None:
    """Make a complete new folder, and then give it its name."""
    with _parents(target), staged(target) as made:
        inner = made / secrets.token_hex(4)
        inner.mkdir(parents=True)
        state = _written(target, inner, inner.name, content)
        data, seal = manifest.dump(state)
        with open(made / MANIFEST, "xb") as file:
            file.write(data)
            force(file)
        force_names(made)
        saves[key] = (_saved(state._replace(seal=seal), content, None),)
        try:
            made.rename(target)
        except OSError as error:
            if not os.path.lexists(target):
                raise
            raise BlockingIOError(
                errno.EAGAIN, "another process is saving here; try again later", str(target)
            ) from error
        force_names(target.parent)


@contextmanager
def _parents(target: Path) -> Iterator[None]:
    """Make missing parent folders, and remove them again if the block fails."""
    missing = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with naming(target):
            for folder in missing:
                force_names(folder.parent)
        yield
    except BaseException:
        for folder in missing:
            with suppress(OSError):  # it was not made, or something else was put there
                folder.rmdir()
        raise


def _save_again(target: Path, content: Content, saves: Saves, key: str) -> None:
    """Write what is new into an existing folder, and then the index.json that names it."""
    old, known = _named(target), saves.get(key, ())
    clear(target.parent)
    clear(target, _removal(target))
    if old is None and any(target.iterdir()):
        raise _not_ours(target)
    before = next((saved for saved in known if old is not None and saved.state.seal == old.seal), None)
    if old is not None and before is None:
        _refuse_loss(target, known, old)
    kept = () if before is None else parts.staying(content, before, target)
    inner = _free(target)
    notes = [inner.name] if old is None else [inner.name, *_leaving(old, kept)]
    with staged(target, folder=target, notes=notes, finish=_removal(target)) as made:
        made.mkdir()
        state = _written(target, made, inner.name, content, before, kept)
        if before is not None and state == before.state._replace(seal=""):
            return
        data, seal = manifest.dump(state)
        names = os.listdir(made)
        if old is not None:
            place = target / old.parts[0].folder
            for name in ("", *names):
                like(made / name, place / name if (place / name).exists() else place / "vectors.npy")
        if names:
            made.rename(inner)
            force_names(target)  # before index.json names it
        saved = _saved(state._replace(seal=seal), content, before)
        saves[key] = (saved,) if before is None else (before, saved)  # until it is certain which one is there
        # If index.json is a link, it is replaced, not followed: it may lead to another index.
        with staged(target, folder=target) as written:
            with open(written, "xb") as file:
                file.write(data)
                force(file)
            put(written, target / MANIFEST)
        saves[key] = (saved,)


def _refuse_loss(target: Path, known: Sequence[Saved], old: State) -> None:
    """Raise FileExistsError if an Index saw an earlier state of what is in the folder now."""
    if any(saved.opened or saved.state.origin == old.origin for saved in known):
        raise FileExistsError(
            f"{target} was saved by another Index since this one was opened or saved there, and its changes "
            "would be lost; save under another name, or open it again and repeat your own changes"
        )


def _leaving(old: State, kept: Sequence[Part]) -> list[str]:
    """The inner folders whose files, or some of them, may not be needed any more."""
    folders = [part.folder for part in old.parts if part not in kept]
    return folders if old.closed is None else [*folders, old.closed.folder]


def _written(
    target: Path,
    made: Path,
    name: str,
    content: Content,
    before: Saved | None = None,
    kept: tuple[Part, ...] = (),
) -> State:
    """Write the files of an inner folder, which will have this name; return the state of the whole.

    Parts that are ``kept`` are in the folder already, as they were in the state ``before``.
    """
    start = sum(part.rows for part in kept)
    if not kept or start < content.rows:
        first = start if content.numbers is None else parts.consecutive(content.numbers[start:])
        kept = (*kept, Part(name, content.rows - start, first, _write(made, content, start)))
    mask = content.mask()
    closed = before and before.state.closed
    if len(mask) == 0:
        closed = None
    elif not (
        before is not None
        and closed is not None
        and np.array_equal(mask, before.mask)
        and parts.same_size(target / closed.folder / CLOSED, closed.entry)
    ):
        closed = Closed(name, _write_array(made / CLOSED, [mask]))
    force_names(made)
    return State(content.facts, kept, closed, content.top, before.state.origin if before else name)


def _saved(state: State, content: Content, before: Saved | None) -> Saved:
    """What an Index remembers of a state that it wrote."""
    words = content.words
    return parts.saved(
        state,
        content,
        lambda: words,
        opened_words=False,
        opened=before is not None and before.opened,
        memory=before is not None and before.memory,
    )


def _named(target: Path) -> State | None:
    """What index.json says; None without one; raises if it is not fastvec's."""
    if not os.path.lexists(target / MANIFEST):
        return None
    try:
        return manifest.read(target)
    except FileError as error:
        raise _not_ours(target, f" ({MANIFEST}: {error.problem.partition(';')[0]})") from error


def refuse_foreign(path: str | os.PathLike[str]) -> None:
    """Raise the FileExistsError that ``save`` would raise, before the content is made."""
    target = Path(os.path.realpath(path))
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise _not_ours(target)
    if _named(target) is None and any(not is_stage(entry) for entry in target.iterdir()):
        raise _not_ours(target)


def _not_ours(target: Path, why: str = "") -> FileExistsError:
    return FileExistsError(
        f"{target} exists and is not a fastvec index{why}, so it is not replaced; "
        "choose another name, or remove it first"
    )


def _free(target: Path) -> Path:
    while True:
        inner = target / secrets.token_hex(4)
        if not os.path.lexists(inner):
            return inner


def _removal(target: Path) -> Callable[[Sequence[str]], None]:
    """A function that removes files of inner folders, given by name, except those that index.json names.

    It raises OSError for other notes, whose stages stay.
    """

    def remove(names: Sequence[str]) -> None:
        if not all(map(INNER.fullmatch, names)):
            raise OSError(errno.EINVAL, "not a note of inner folders")
        state = _named(target)
        counts = {} if state is None else state.files()
        for name in names:
            _remove_inner(target / name, counts.get(name, set()))

    return remove


def _remove_inner(inner: Path, kept: Set[str]) -> None:
    """Remove the files of a save but those that are ``kept``; the folder stays if anything is left in it."""
    if inner.is_symlink() or not inner.is_dir():
        return
    for name in NAMES:
        if name in kept:
            continue
        try:
            (inner / name).unlink(missing_ok=True)
        except PermissionError:
            if os.name != "nt":  # on Windows, a file in use cannot be removed, and stays
                raise
    if kept:
        return
    try:
        inner.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _write(inner: Path, content: Content, start: int) -> dict[str, Any]:
    """Write the files of a part, which has the rows from ``start`` on; return their entries."""
    files = {
        f"{name}.npy": _write_array(inner / f"{name}.npy", pieces)
        for name, pieces in _pieces(content.pieces, start).items()
    }
    if content.numbers is not None and parts.consecutive(content.numbers[start:]) is None:
        files[NUMBERS] = _write_array(inner / NUMBERS, [content.numbers[start:]])
    if content.words is not None:
        lines = json_lines.blocks_of(_words_from(content, start), start)
        files[LABELS] = _write_lines(inner / LABELS, lines)
    if content.columns:
        files[COLUMNS] = _write_lines(inner / COLUMNS, columns.lines(content.columns))
    return files


def _words_from(content: Content, start: int) -> Rows[str]:
    """The words of the rows from ``start`` on; an empty one for closed rows that have none any more."""
    words = content.words
    if not isinstance(words, tuple | list):
        assert words is not None
        return words
    rows = content.rows - start
    numbers = start if content.numbers is None else content.numbers[start:]
    return tuple("" if word is None else word for word in parts.labels(words, numbers, rows))


def _pieces(pieces: Pieces, start: int) -> dict[str, list[Array]]:
    """The arrays of the rows from ``start`` on, in pieces to be concatenated."""
    from ..kernels.encode import SPARE_ROWS

    found: dict[str, list[Array]] = {name: [] for name in pieces.blocks[0]}
    shared = {} if start else {name: [array] for name, array in pieces.shared.items()}
    for arrays in pieces.blocks:
        count = len(arrays["vectors"])
        for name, array in arrays.items():
            found[name].append(array[min(start, count) :])
        start = max(0, start - count)
    for name, several in found.items():
        if name.endswith("codes"):  # a tile of the scan may reach past the last row
            several.append(np.zeros((SPARE_ROWS, *several[0].shape[1:]), np.uint8))
    return found | shared


def _write_array(path: Path, pieces: Sequence[Array]) -> dict[str, Any]:
    digest = hashlib.sha256()
    with open(path, "xb") as file:

        def write(data: Any) -> None:
            digest.update(data)
            file.write(data)

        header = npy.write_array(write, pieces)
        force(file)
        size = file.tell()
    layout = {"dtype": header.dtype.str, "shape": list(header.shape), "offset": header.offset}
    return {**layout, "bytes": size, "sha256": digest.hexdigest()}


def _write_lines(path: Path, blocks: Iterable[bytes]) -> dict[str, Any]:
    digest = hashlib.sha256()
    with open(path, "xb") as file:
        for lines in blocks:
            digest.update(lines)
            file.write(lines)
        force(file)
        size = file.tell()
    return {"bytes": size, "sha256": digest.hexdigest()}


class Stored:
    """An opened folder."""

    def __init__(self, path: Path, state: State, skipped: int, how: str) -> None:
        """The content of a folder in this state, except the rows of the first ``skipped`` parts; ``how`` is
        "mmap", "memory" or "disk"."""
        self.path, self.state, self.facts, self.memory = path, state, state.facts, how == "memory"
        self.blocks = part_arrays.blocks(path, state, skipped, how)
        self.shared = {} if skipped else part_arrays.shared(path, state)
        """The arrays that all rows have in common; not of a folder whose first part was skipped."""
        self.numbers = part_arrays.numbers(path, state)
        self.mask = part_arrays.mask(path, state)
        self._labels, self._columns = self._lines(LABELS), self._lines(COLUMNS)

    def _lines(self, name: str) -> list[tuple[Part, Held]]:
        return [
            (part, part_arrays.held(self.path / part.folder / name, part.files[name]))
            for part in self.state.parts
            if name in part.files
        ]

    @property
    def rows(self) -> int:
        """The number of rows, closed ones included."""
        count: int = self.facts["rows"]
        return count

    @property
    def labeled(self) -> bool:
        """Whether there are labels."""
        return bool(self._labels)

    @property
    def closed(self) -> NDArray[np.bool_] | None:
        """Which rows are closed; None: none."""
        if len(self.mask) == 0:
            return None
        return np.unpackbits(self.mask, count=self.rows, bitorder="little").view(np.bool_)

    @once
    def words(self) -> tuple[str, ...]:
        """The labels as they were when the folder was opened, read and checked at first use."""
        if not self._labels:
            raise FileError(self.path, "an index without words; open it as an Index")
        return tuple(itertools.chain.from_iterable(_words(part, held) for part, held in self._labels))

    @once
    def columns(self) -> dict[str, tuple[Value, ...]]:
        """The further columns as they were when the folder was opened, read and checked at first use."""
        names = tuple(self.facts.get("columns", ()))
        read = [
            columns.load(held.path, _read_lines(part, held), names, part.rows, AGAIN)
            for part, held in self._columns
        ]
        return {name: tuple(itertools.chain.from_iterable(one[name] for one in read)) for name in names}


def words(stored: Stored) -> tuple[Any, ...]:
    """The labels of an opened folder, for all rows; those of closed rows do not matter."""
    return stored.words


def _words(part: Part, held: Held) -> tuple[str, ...]:
    labels = json_lines.load(held.path, _read_lines(part, held), integers=True)
    if len(labels) != part.rows:
        raise FileError(held.path, f"{len(labels)} words for {part.rows} vectors; {AGAIN}")
    return labels


def _read_lines(part: Part, held: Held) -> bytes:
    data = held.read()
    if hashlib.sha256(data).hexdigest() != part.files[held.path.name]["sha256"]:
        raise FileError(held.path, f"its bytes are not those that were saved; {AGAIN}")
    return data


def load(
    path: str | os.PathLike[str],
    *,
    memory: bool = False,
    on_disk: bool = False,
    skip: Callable[[State], int] | None = None,
) -> Stored:
    """Open a folder; its arrays are mapped read-only, or read into memory and their checksums compared.

    If vectors stay ``on_disk``, they are not mapped, but fetched.

    ``skip`` says of how many parts, the first ones, the rows are not needed.
    """
    target, how = file_path(path, "path"), "memory" if memory else "disk" if on_disk else "mmap"
    state = manifest.read(target)
    while True:
        try:
            return Stored(target, state, 0 if skip is None else skip(state), how)
        except FileNotFoundError as error:
            # A save may have replaced the index in the meantime.
            before, state = state, manifest.read(target)
            if state.seal == before.seal:
                raise FileError(error.filename, f"missing; {AGAIN}") from error


def verify(path: str | os.PathLike[str]) -> None:
    """Read every file of an Index folder and compare its checksum.

    Args:
        path: the folder.

    Raises:
        FileError: (a ValueError) names the file that differs.

    Example:
        >>> import fastvec, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "index")
        >>> fastvec.Index([[1, 2]]).save(path)
        >>> fastvec.files.verify(path)
    """
    while True:
        stored = load(path)
        try:
            check(stored)
        except FileError:
            if manifest.read(stored.path).seal == stored.state.seal:
                raise
            # The index was saved again in the meantime: verify the new one.
        else:
            return


def check(stored: Stored) -> None:
    """``verify`` for an opened folder."""
    compare(stored.path, stored.state)
    if stored.labeled:
        stored.words  # noqa: B018
    stored.columns  # noqa: B018


def compare(target: Path, state: State) -> None:
    """Compare the checksums of all files of a state."""
    files = [(part.folder, name, entry) for part in state.parts for name, entry in part.files.items()]
    if state.closed is not None:
        files.append((state.closed.folder, CLOSED, state.closed.entry))
    for inner, name, entry in files:
        path = target / inner / name
        try:
            with open_ordinary(path) as source:
                digest = hashlib.file_digest(source, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise FileError(path, "gone; the index was removed or saved again since it was opened") from error
        if digest != entry["sha256"]:
            raise FileError(path, f"its bytes are not those that were saved; {AGAIN}")
