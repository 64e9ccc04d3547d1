"""What embedding some texts would take, without sending any."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from .server import Server
from .texts import Batch
from .tokens import count_tokens

_BLOCK = 512
_KEY_BYTES = 8  # of a digest: so few that, very seldom, two texts count as one


@dataclass(frozen=True)
class Plan:
    """Texts given, different ones, those of them in the cache; and tokens and requests for the others."""

    texts: int
    unique: int
    stored: int
    tokens: int
    requests: int


def plan(texts: Iterable[str], server: Server) -> Plan:
    """Count texts that have been checked, without holding them; tokens are as ``count_tokens`` sees them."""
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
