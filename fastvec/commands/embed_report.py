"""What `fastvec embed` prints at the end: what a dry run would take, or what the work took."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._embedders import OFFLINE
from .text_input import Lines

if TYPE_CHECKING:
    from .._embedding.plan import Plan
    from ..models import Model


def _dollars(cost: float) -> str:
    return f"${cost:,.2f}" if cost >= 1 else f"${cost:.4f}" if cost >= 1e-4 or not cost else "under $0.0001"


def _price(model: Model) -> str:
    return f"${model.price:g} for a million tokens, as of {model.priced_on}"


@dataclass(frozen=True)
class Counted:
    """What embedding would take; there is no plan if no server is asked."""

    model: Model
    texts: int
    skipped: int
    plan: Plan | None = None
    asks_width: bool = False
    """Whether one more request must find out the width of the rows."""

    def lines(self) -> Iterator[tuple[str, str]]:
        """Names and values."""
        yield "texts", f"{self.texts:,}"
        if self.skipped:
            yield "left out", f"{self.skipped:,}"
        if self.plan is None:
            return
        yield "unique texts", f"{self.plan.unique:,}"
        if self.plan.stored:
            yield "received before", f"{self.plan.stored:,}"
        yield "tokens, about", f"{self.plan.tokens:,}"
        yield "requests", f"{self.plan.requests + self.asks_width:,}"
        cost = self.model.cost(self.plan.tokens)
        if cost is not None:
            yield "cost, about", f"{_dollars(cost)} ({_price(self.model)})"

    def record(self) -> dict[str, Any]:
        """The same as JSON."""
        record: dict[str, Any] = {"model": self.model.name, "texts": self.texts, "left_out": self.skipped}
        if self.plan is None:
            return record
        return {
            **record,
            "unique": self.plan.unique,
            "received_before": self.plan.stored,
            "tokens": self.plan.tokens,
            "requests": self.plan.requests + self.asks_width,
            "dollars": self.model.cost(self.plan.tokens),
            "dollars_per_million_tokens": self.model.price,
            "priced_on": self.model.priced_on,
        }


@dataclass
class Done:
    """What was written, and what it took."""

    output: str
    format: str
    model: Model
    prefix: str = ""
    texts: int = 0
    dims: int = 0
    blank: Lines = field(default_factory=Lines)
    """Lines of the texts that were left out because they are blank."""
    too_long: Lines = field(default_factory=Lines)
    refused: list[tuple[Lines, str]] = field(default_factory=list)
    """Lines of texts that the server refused, and why."""
    stored: int = 0
    requests: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def lines(self, *, quiet: bool) -> Iterator[str]:
        """A line for each reason to leave out texts; if not ``quiet``, one more for all else."""
        if self.blank:
            yield f"left out: {self.blank}, blank"
        if self.too_long:
            yield f"left out: {self.too_long}, longer than the model takes"
        for lines, why in self.refused:
            yield f"left out: {lines}: {why}"
        if not quiet:
            yield self._all_else()

    def _all_else(self) -> str:
        all_texts = self.texts + self._left_out()
        took = [f"{self.stored:,} from before"] if self.stored else []
        if self.requests:
            took.append(f"{self.requests:,} request{'s' * (self.requests > 1)}")
        if self.tokens:
            took.append(f"{self.tokens:,} tokens")
            cost = self.model.cost(self.tokens)
            if cost is not None:
                took.append(f"{_dollars(cost)} ({_price(self.model)})")
        took.append(f"{self.seconds:,.1f} s")
        by = "the offline encoder" if self.model.name == OFFLINE else self.model.name
        before = f", each after {self.prefix!r}" if self.prefix else ""
        return (
            f"{self.output}: {self.texts:,} of {all_texts:,} texts, {self.dims:,} dims, "
            f"by {by}{before}; {', '.join(took)}"
        )

    def _left_out(self) -> int:
        return len(self.blank) + len(self.too_long) + sum(len(lines) for lines, _ in self.refused)

    def record(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "output": self.output,
            "format": self.format,
            "model": self.model.name,
            "prefix": self.prefix,
            "texts": self.texts,
            "dims": self.dims,
            "left_out": {
                "blank": self.blank.tolist(),
                "too_long": self.too_long.tolist(),
                "refused": [{"lines": lines.tolist(), "reason": why} for lines, why in self.refused],
            },
            "received_before": self.stored,
            "requests": self.requests,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "dollars": self.model.cost(self.tokens),
        }
