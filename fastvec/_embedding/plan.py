"""What embedding some texts would take, without sending any."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from .conversation import Server
from .texts import Batch, given
from .tokens import count_tokens

_BLOCK = 512


@dataclass(frozen=True)
class Plan:
    """Texts given, different ones, those of them in the cache; and tokens and requests for the others."""

    texts: int
    unique: int
    stored: int
    tokens: int
    requests: int


def plan(texts: list[str], server: Server) -> Plan:
    """Check the texts and count; tokens are as ``count_tokens`` sees them."""
    given(texts, server.model)
    unique = {hashlib.sha256(text.encode()).digest(): text for text in texts}
    digests = list(unique)
    stored: set[bytes] = set()
    for start in range(0, len(digests), _BLOCK):
        stored.update(server.stored(digests[start : start + _BLOCK]))
    tokens = requests = 0
    batch = Batch(server.model)
    for digest, text in unique.items():
        if digest in stored:
            continue
        tokens += count_tokens(text, server.model.tokenizer)
        if not len(batch) or not batch.has_room(text, server.most_texts):
            batch = Batch(server.model)
            requests += 1
        batch.add(text, 0, digest)
    return Plan(len(texts), len(unique), len(stored), tokens, requests)
