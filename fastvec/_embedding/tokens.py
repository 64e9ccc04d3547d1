"""The number of tokens of a text: counted if that is possible offline, else estimated from below."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from .errors import EmbeddingError

# Tokenizers split at spaces, digits and punctuation before anything else, so each of these pieces has a token
# at least.
_PIECE = re.compile(r"[^\W\d_]+|\d{1,3}|[^\w\s]+(?![^\W\d_])")
_LONGEST_WORD = 24  # letters; longer runs are not words, and have about one token for eight letters
_BYTES_PER_TOKEN = 6  # beyond ASCII: two Chinese or three Cyrillic letters


def count_tokens(text: str, tokenizer: str | None) -> int:
    """The number of tokens of ``text`` in an encoding of ``tiktoken``, else an estimate.

    ``tiktoken`` is used if it is installed and its vocabulary is on this machine; nothing is downloaded. The
    estimate errs on the low side, so that no text is refused here that the server would accept.
    """
    encoding = _encoding(tokenizer) if tokenizer else None
    if encoding is not None:
        return len(encoding.encode_ordinary(text))
    return estimate_tokens(text)


def estimate_tokens(text: str) -> int:
    """A low estimate: near the count for prose, below it for anything else."""
    return sum(map(_piece_tokens, _PIECE.findall(text)))


def _piece_tokens(piece: str) -> int:
    if not piece.isascii():
        return -(-len(piece.encode()) // _BYTES_PER_TOKEN)
    return 1 if len(piece) <= _LONGEST_WORD else len(piece) // 8


@cache
def _encoding(name: str) -> Any:
    try:
        import tiktoken  # type: ignore[import-not-found, unused-ignore]
    except ModuleNotFoundError:
        return None
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    address = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
    file = hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()
    path = Path(folder or Path(tempfile.gettempdir()) / "data-gym-cache", file)
    if not path.is_file():
        return None  # tiktoken would download it without the user's knowledge
    try:
        return tiktoken.get_encoding(name)
    except Exception as error:  # a damaged file is downloaded again, which can fail in any way
        setting = "TIKTOKEN_CACHE_DIR" if os.environ.get("TIKTOKEN_CACHE_DIR") else "DATA_GYM_CACHE_DIR"
        failure = EmbeddingError(
            f"the vocabulary of tiktoken in {str(path)!r} cannot be used ({type(error).__name__}): remove it"
            + (f", or name another folder by {setting}" if folder else "")
        )
        failure.setting = setting if folder else None
        raise failure from error
