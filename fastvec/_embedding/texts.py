"""Texts and batches of them: every text is checked before the request that would carry it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Set

from fastvec.models import Model

from .errors import shown
from .sizes import Size
from .tokens import count_tokens


def accepted(texts: Iterable[str], model: Model) -> list[str] | Iterator[str]:
    """The texts as a checked list if they have a length, else as an iterator, to be checked later.

    The texts of a file are its lines, without line ends.
    """
    if isinstance(texts, (str, bytes)):
        raise TypeError(f"texts must be a list of texts, not a single {type(texts).__name__}: pass [text]")
    if isinstance(texts, (Mapping, Set)) or not isinstance(texts, Iterable):
        raise TypeError(f"texts must be a list (or an ordered iterable) of str, not {type(texts).__name__}")
    if isinstance(texts, io.TextIOBase):
        # Most decoders leave a byte order mark at the start, which is not part of the first text.
        return (
            (line if number else line.removeprefix("\ufeff")).removesuffix("\n").removesuffix("\r")
            for number, line in enumerate(texts)
        )
    if not hasattr(texts, "__len__"):
        return iter(texts)
    listed = list(texts)
    check(listed, 0, model)
    return listed


def check(texts: list[str], start: int, model: Model) -> None:
    """Raise for the first kind of mistake in ``texts``, which begin at position ``start``."""
    for position, text in enumerate(texts, start):
        if not isinstance(text, str):
            raise TypeError(f"texts[{position}] is of type {type(text).__name__}, not str")
    blank = [position for position, text in enumerate(texts, start) if not text or text.isspace()]
    if blank:
        raise ValueError(f"texts must not be empty or whitespace only: see {shown(blank)}")
    too_long = []
    limit = model.max_tokens_per_text
    for position, text in enumerate(texts, start):
        try:
            size = byte_count(text)
        except UnicodeEncodeError:
            raise ValueError(f"texts[{position}] holds a lone surrogate: it is not valid Unicode") from None
        # A token covers at least one byte, so short texts need no count.
        if limit is not None and size > limit and count_tokens(text, model.tokenizer) > limit:
            too_long.append(position)
    if too_long:
        worst = too_long[0]
        tokens = count_tokens(texts[worst - start], model.tokenizer)
        raise ValueError(
            f"texts[{worst}] has about {tokens:,} tokens; model {model.name!r} takes at most {limit:,}: "
            f"shorten or split it (too long: {shown(too_long)})"
        )


def byte_count(text: str) -> int:
    """The number of a text's UTF-8 bytes, which the number of its tokens cannot exceed."""
    return len(text) if text.isascii() else len(text.encode())


class Batch:
    """The texts of one future request, no larger than the model's server accepts.

    A token of these models covers at least one byte, so a text has at most as many tokens as bytes.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self.tokens = 0  # an upper limit
        self.texts: list[str] = []
        self.rows: list[int] = []
        self.digests: list[bytes] = []

    def add(self, text: str, row: int, digest: bytes) -> None:
        self.texts.append(text)
        self.rows.append(row)
        self.digests.append(digest)
        self.tokens += self._most_tokens(text)

    def has_room(self, text: str, room: Size) -> bool:
        """Whether the text fits; the first one always does."""
        if not self.texts:
            return True
        return len(self.texts) < room.texts and self.tokens + self._most_tokens(text) <= room.tokens

    def places(self, room: Size) -> list[int]:
        """Where to cut the batch so that each part fits."""
        places, start, tokens = [], 0, 0
        for number, text in enumerate(self.texts):
            most = self._most_tokens(text)
            if number > start and (number - start == room.texts or tokens + most > room.tokens):
                places.append(number)
                start, tokens = number, 0
            tokens += most
        return places

    def part(self, numbers: Iterable[int]) -> Batch:
        """A batch of the texts at these places of this one."""
        part = Batch(self._model)
        for number in numbers:
            part.add(self.texts[number], self.rows[number], self.digests[number])
        return part

    def _most_tokens(self, text: str) -> int:
        # The server refuses a text beyond the limit for one text, so no text counts for more than that.
        most = byte_count(text)
        limit = self._model.max_tokens_per_text
        return most if limit is None else min(most, limit)

    def __len__(self) -> int:
        return len(self.texts)
