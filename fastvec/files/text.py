"""Text with a word and its numbers on every line: word2vec's has a first line "rows dims", GloVe's not."""

from __future__ import annotations

import itertools
import mmap
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._checks import MAX_DIMS
from ..labels import quoted
from . import foreign
from .errors import FileError
from .labeled import Labeled
from .ordinary import mapping, open_ordinary
from .streams import Rows, written

HEADER = re.compile(rb"[ \t]*(\d{1,18})[ \t]+(\d{1,18})[ \t\r]*(?:\n|\Z)")
NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
SPACES = re.compile(rb"[ \t\r]+")
MARK = b"\xef\xbb\xbf"
"""The byte order mark that some programs write at the start of UTF-8."""
FETCH = "the file is damaged or cut short; fetch or make it again"
RETURNS = "its lines end in carriage returns alone; save it with line feeds (LF, or CR LF)"
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f]")
_BLOCK_BYTES = 1 << 20
_RUN_BYTES = 1 << 24
"""Of lines that are parsed together where rows go by in blocks."""
_SAMPLE_LINES, _SAMPLE_BYTES = 100, 1 << 20
_LINES = 1000

Int64 = NDArray[np.int64]


def promised(head: bytes) -> tuple[int, bytes] | None:
    """The dims that a first line "rows dims" says, and what comes after it; None if there is no such line."""
    head = head.removeprefix(MARK)
    match = HEADER.match(head)
    if match is None:
        return None
    dims, rest = int(match[2]), head[match.end() :]
    if dims != 1 and glove_width(rest) == 1:
        return None  # one value a row, and the first word is a number
    return dims, rest


def is_word2vec(head: bytes) -> bool:
    """Whether bytes begin with "rows dims", and what comes then is text."""
    if (first_line := promised(head)) is None:
        return False
    dims, rest = first_line
    if is_row(rest, dims):
        return True
    values = re.split(rb"[ \t]", rest, maxsplit=1)[-1]
    line = values.partition(b"\n")[0]
    plain = sum(byte in b"0123456789+-.eE \t\r" for byte in line) >= 0.8 * len(line)
    return plain and not _CONTROL.search(values[: 4 * dims])


def is_glove(head: bytes) -> bool:
    """Whether bytes begin with lines of a word and numbers, without a first line "rows dims"."""
    if promised(head) is not None or (foreign.kind(head) is not None and not is_row(head)):
        return False
    return glove_width(head.removeprefix(MARK)) is not None


def read_word2vec(path: Path, limit: int | None, errors: str) -> Labeled:
    """Read text with a header."""
    with Bytes(path) as data:
        rows, dims, start = header(path, data.view)
        return _labeled(path, data, start, dims, rows, limit, errors, "word2vec-text")


def read_glove(path: Path, limit: int | None, errors: str) -> Labeled:
    """Read text without a header; the width is the most frequent one of the first lines."""
    with Bytes(path) as data:
        dims = _glove_dims(path, data)
        return _labeled(path, data, _behind_mark(data.view), dims, None, limit, errors, "glove")


def _glove_dims(path: Path, data: Bytes) -> int:
    start = _behind_mark(data.view)
    # The whole lines that fit in the sample, or the first line.
    end = max(data.view.rfind(b"\n", 0, _SAMPLE_BYTES), data.view.find(b"\n")) + 1
    dims = glove_width(data.view[start : end or data.size])
    if dims is None:
        raise FileError(path, "no line holds a word and numbers", row=0)
    return dims


def header(path: Path, view: Any) -> tuple[int, int, int]:
    """Rows and dims in the first line, and where the next line begins."""
    match = HEADER.match(view, _behind_mark(view))
    if match is None:
        first = bytes(view[: 1 << 10])
        problem = 'its first line is not "rows dims", as word2vec writes it'
        raise FileError(path, RETURNS if b"\r" in first and b"\n" not in first else problem, byte=0)
    rows, dims = int(match[1]), int(match[2])
    if not 1 <= dims <= MAX_DIMS:
        raise FileError(
            path, f"its first line says {dims} dimensions; 1 to {MAX_DIMS:,} are possible", byte=0
        )
    return rows, dims, match.end()


def _behind_mark(view: Any) -> int:
    return len(MARK) if view[: len(MARK)] == MARK else 0


def is_row(head: bytes, dims: int = 1) -> bool:
    """Whether bytes begin with a word and ``dims`` numbers; a cut line may have fewer."""
    line, ended, _ = head.partition(b"\n")
    _, *numbers = SPACES.split(line.rstrip(b" \t\r"))
    if not ended:
        numbers = numbers[:-1]  # the last one may be cut
    return (
        bool(numbers) and all(map(NUMBER.fullmatch, numbers[-dims:])) and (len(numbers) >= dims or not ended)
    )


def glove_width(sample: bytes) -> int | None:
    """The most frequent count of numbers at the end of a sample's lines; None if it is 0."""
    widths: Counter[int] = Counter()
    lines = sample.split(b"\n")
    for line in lines[:_SAMPLE_LINES] if len(lines) == 1 else lines[: min(_SAMPLE_LINES, len(lines) - 1)]:
        fields = SPACES.split(line.strip(b" \t\r"))
        numbers = 0
        while numbers < len(fields) - 1 and NUMBER.fullmatch(fields[-1 - numbers]):
            numbers += 1
        widths[numbers] += 1
    width = widths.most_common(1)[0][0] if widths else 0
    return width or None


class Bytes:
    """A file mapped into memory: ``address`` is for kernels, ``view`` for other code."""

    def __init__(self, path: Path) -> None:
        with open_ordinary(path) as file:
            self.size = file.seek(0, 2)
            with mapping(path):
                self.view: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self.size else b""
        self._array: Any = np.frombuffer(self.view, np.uint8)
        self.address = int(self._array.ctypes.data)

    def __enter__(self) -> Bytes:
        return self

    def __exit__(self, *_: object) -> None:
        self._array = None
        if self.size:
            self.view.close()


def _labeled(
    path: Path,
    data: Bytes,
    start: int,
    dims: int,
    promised: int | None,
    limit: int | None,
    errors: str,
    kind: str,
) -> Labeled:
    stop = _end(data, start)
    blocks, rows = _count(data, start, stop)
    if rows == 1 and (byte := data.view.find(b"\r", start, stop)) >= 0:
        raise FileError(path, RETURNS, byte=byte)
    if promised is not None and rows > promised and (limit is None or limit > promised):
        raise FileError(path, f"more lines than the {promised} of its first line; {FETCH}", row=promised)
    wanted = rows if limit is None else min(rows, limit)
    expected = promised if limit is None or promised is None else min(promised, limit)
    if expected is not None and wanted < expected:
        raise FileError(path, f"ends after {rows} of {promised} rows; {FETCH}", byte=data.size)
    if wanted * dims * 2 > stop - start:
        # Every value takes two bytes at least. Without this check, a wrong first line could demand any
        # memory.
        raise FileError(path, f"fewer than the {dims} values per line of its first line; {FETCH}", row=0)
    vectors = np.empty((wanted, dims), np.float32)
    word_start, word_stop = _parse(path, data, blocks, stop, vectors)
    return Labeled(path, kind, vectors, words_of(path, data, word_start, word_stop, errors))


def row_blocks(path: Path, *, glove: bool, errors: str) -> tuple[int, int | None, Iterator[Any]]:
    """The dims, the number of rows if the file says it, and the (words, vectors) of runs of lines."""
    data = Bytes(path)
    promised: int | None = None
    if glove:
        start, dims = _behind_mark(data.view), _glove_dims(path, data)
    else:
        promised, dims, start = header(path, data.view)

    def blocks() -> Iterator[tuple[tuple[str, ...], NDArray[np.float32]]]:
        with data:
            stop, at, row = _end(data, start), start, 0
            while at < stop:
                newline = data.view.find(b"\n", min(stop, at + _RUN_BYTES), stop)
                end = stop if newline < 0 else newline + 1
                lines, rows = _count(data, at, end)
                if newline >= 0:
                    rows -= 1  # the last newline ends a line, and no other begins
                if promised is not None and row + rows > promised:
                    problem = f"more lines than the {promised} of its first line; {FETCH}"
                    raise FileError(path, problem, row=promised)
                if rows * dims * 2 > end - at:
                    problem = f"fewer than the {dims} values per line of its first line; {FETCH}"
                    raise FileError(path, problem, row=row)
                vectors = np.empty((rows, dims), np.float32)
                with counted_from(row):
                    places = _parse(path, data, lines, end, vectors)
                    words = words_of(path, data, *places, errors)()
                yield words, vectors
                at, row = end, row + rows
            if promised is not None and row < promised:
                raise FileError(path, f"ends after {row} of {promised} rows; {FETCH}", byte=data.size)

    return dims, promised, blocks()


@contextmanager
def counted_from(row: int) -> Iterator[None]:
    """Let an error about a row of a run name its number in the file."""
    try:
        yield
    except FileError as error:
        if error.row is None:
            raise
        raise FileError(error.path, error.problem, row=row + error.row, byte=error.byte) from None


def _end(data: Bytes, start: int) -> int:
    """Where the last line ends, without blank ones."""
    stop = data.size
    while stop > start and data.view[stop - 1] in b" \t\r\n":
        stop -= 1
    return stop


class _Block(NamedTuple):
    """Whole lines from byte ``start`` to ``stop``, of which the first is row ``row``."""

    start: int
    stop: int
    row: int


def _count(data: Bytes, start: int, stop: int) -> tuple[list[_Block], int]:
    """Blocks of whole lines, and the number of lines."""
    from ..kernels import text, threads

    borders = [start]
    while borders[-1] < stop:
        newline = data.view.find(b"\n", min(stop, borders[-1] + _BLOCK_BYTES), stop)
        borders.append(stop if newline < 0 else newline + 1)
    parts = list(itertools.pairwise(borders))

    def count(part: tuple[int, int]) -> int:
        start, stop = part
        return int(text.count_lines(start, stop, data.address))

    counts = threads.run(count, parts, threads.get_num_threads())
    if parts:
        counts[-1] += 1  # the newline of the last line, if it has one, is past ``stop``
    first = [0, *np.cumsum(counts).tolist()]
    blocks = [_Block(start, stop, row) for (start, stop), row in zip(parts, first, strict=False)]
    return blocks, first[-1]


def _parse(
    path: Path, data: Bytes, blocks: list[_Block], stop: int, vectors: NDArray[np.float32]
) -> tuple[Int64, Int64]:
    from ..kernels import text, threads

    rows, dims = vectors.shape
    lines = text.Lines(vectors, np.empty(rows, np.int64), np.empty(rows, np.int64), np.empty(rows, np.uint8))
    threads.run(
        lambda block: text.parse_lines(*block, data.address, lines),
        [block for block in blocks if block[2] < rows],
        threads.get_num_threads(),
    )
    _, word_start, word_stop, state = lines
    for row in np.flatnonzero(state).tolist():
        end = data.view.find(b"\n", word_start[row], stop)
        line = data.view[word_start[row] : stop if end < 0 else end]
        if state[row] == text.WRONG_WIDTH:
            count = max(0, len(SPACES.split(line.strip(b" \t\r"))) - 1)
            raise FileError(path, f"{count} values, not {dims}; {FETCH}", row=row, byte=int(word_start[row]))
        vectors[row] = _slowly(path, line, dims, row, int(word_start[row]))
    return word_start, word_stop


def _slowly(path: Path, line: bytes, dims: int, row: int, byte: int) -> list[float]:
    """The values of a line that the kernel could not parse with certainty, parsed by Python."""
    values = []
    for field in SPACES.split(line.rstrip(b" \t\r"))[-dims:]:
        shown = ascii(field[:80].decode("utf-8", "backslashreplace"))
        if not NUMBER.fullmatch(field):
            what = "must be finite" if field.lstrip(b"+-").lower() in _NOT_FINITE else "is not a number"
            raise FileError(path, f"{shown} {what}; mend or remove the line", row=row, byte=byte)
        with np.errstate(over="ignore"):
            value = np.float32(float(field))
        if np.isinf(value):
            raise FileError(path, f"{shown} is too large for float32; mend or remove the line", row=row)
        values.append(float(value))
    return values


_NOT_FINITE = (b"nan", b"inf", b"infinity")


def words_of(
    path: Path, data: Bytes, word_start: Int64, word_stop: Int64, errors: str, between: str = "\n"
) -> Callable[[], tuple[str, ...]]:
    """The words at these places, decoded; ``errors`` says what to do with words that are not UTF-8.

    ``between`` is an ASCII character that ends words in this format, so that no word holds it.
    """
    from ..kernels import text

    joined = np.empty(int((word_stop - word_start).sum()) + len(word_start), np.uint8)
    text.gather_words(data.address, word_start, word_stop, joined, ord(between))
    try:
        words = tuple(joined.tobytes().decode("utf-8", errors).split(between)[:-1])
    except UnicodeDecodeError as error:
        row = int((joined[: error.start] == ord(between)).sum())
        ends = np.cumsum(word_stop - word_start + 1)
        offset = error.start - int(ends[row - 1] if row else 0)
        raise FileError(
            path,
            'the word is not UTF-8; read it with errors="replace" or "ignore"',
            row=row,
            byte=int(word_start[row]) + offset,
        ) from error
    return lambda: words


def write_word2vec(file: IO[bytes], words: Rows[str], vectors: NDArray[np.float32]) -> None:
    """Write text with a header."""
    file.write(b"%d %d\n" % vectors.shape)
    for lines in _lines(words, vectors):
        file.write(lines)


def write_glove(file: IO[bytes], words: Rows[str], vectors: NDArray[np.float32]) -> None:
    """Write text without a header; a first line that looks like a header or a mark is changed."""
    blocks = _lines(words, vectors)
    first = next(blocks, b"")
    if HEADER.match(first):  # a word of digits and a single integer
        first = first.replace(b"\n", b".0\n", 1)
    if first.startswith(MARK):
        first = MARK + first  # readers drop the first mark
    for lines in itertools.chain([first], blocks):
        file.write(lines)


def _lines(words: Rows[str], vectors: NDArray[np.float32]) -> Iterator[bytes]:
    """Lines of words and numbers; nine digits are enough to read back every float32 exactly."""
    line = "%s" + " %.9g" * vectors.shape[1] + "\n"
    for start, block in zip(itertools.count(0, _LINES), written(words, _LINES), strict=False):
        pairs = zip(block, vectors[start : start + _LINES].tolist(), strict=True)
        yield "".join([line % (word, *row) for word, row in pairs]).encode()


def refuse_words(words: Rows[str], holder: str, *, plain: bool) -> None:
    """Raise for the first word that UTF-8 cannot hold or that, if ``plain``, has a space or a line end."""
    breaks = _BREAKS if plain else frozenset()
    for row, word in enumerate(words):
        if not word.isascii() and _unwritable(word):
            others = "an Index folder or .npy"
        elif not breaks.isdisjoint(word):
            others = "an Index folder, .npy, Arrow or Parquet"
        else:
            continue
        raise ValueError(f"words[{row}] is {quoted(word)}, which {holder} cannot hold; write {others}")


_BREAKS = frozenset(" \t\r\n")


def _unwritable(word: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in word)
