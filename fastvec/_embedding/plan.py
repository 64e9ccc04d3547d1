"""The texts, tokens and requests that an embedding would need, counted without sending anything."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from .server import Server
from .texts import Batch
from .tokens import count_tokens

_BLOCK = 512
_KEY_BYTES = 8  # of a digest: short, to save memory; two texts are counted as one very rarely


@dataclass(frozen=True)
class Plan:
    """Numbers of all texts, different ones and cached ones; tokens and requests of the others."""

    texts: int
    unique: int
    stored: int
    tokens: int
    requests: int


def plan(texts: Iterable[str], server: Server) -> Plan:
    """Count checked texts, without keeping them; ``count_tokens`` counts the tokens."""
    count = stored = tokens = requests = 0
    met: set[int] = set()
    batch = Batch(server.model)
    remaining = iter(texts)
    while block := list(islice(remaining, _BLOCK)):
        count += len(block)
        fresh: dict[bytes, str] = {}
        for text in block:
            digest = hashlib.sha256(text.encode()).digest()
            key = int.from_bytes(digest[:_KEY_BYTES], "little")
            if key not in met:
                met.add(key)
                fresh[digest] = text
        known = server.stored(list(fresh))
        stored += len(known)
        for digest, text in fresh.items():
            if digest in known:
                continue
            tokens += count_tokens(text, server.model.tokenizer)
            if not len(batch) or not batch.has_room(text, server.sizes.room):
                batch = Batch(server.model)
                requests += 1
            batch.add(text, 0, digest)
    return Plan(count, len(met), stored, tokens, requests)
