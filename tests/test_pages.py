"""Errors lead to pages of the documentation, which exist."""

import importlib.metadata
import pickle
import re
from email.message import Message
from pathlib import Path

import numpy as np
import pytest

import fastvec
from fastvec import _memory, _pages
from fastvec._stores import base

ROOT = Path(__file__).resolve().parents[1]
SITE = "https://docs.invalid/fastvec/"
checkout = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the tests lie outside a checkout")


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(_pages, "site", lambda: SITE)


def anchors(text):
    """Those that the site gives to the headings of a page."""
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        yield re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@checkout
@pytest.mark.parametrize("topic", _pages.PAGES)
def test_every_page_that_an_error_names_exists(topic):
    page, _, anchor = _pages.PAGES[topic].partition("#")
    text = (ROOT / "docs" / page).with_suffix(".md").read_text(encoding="utf-8")
    assert not anchor or anchor in anchors(text)


def test_every_topic_is_used():
    package = Path(fastvec.__path__[0])
    used = set()
    for path in package.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        if path.name != "_pages.py" and "linked(" in source:
            used |= {topic for topic in _pages.PAGES if f'"{topic}"' in source}
    assert used == set(_pages.PAGES)


def no_memory():
    _memory.check(10**6, 10**12, 10)


ERRORS = {
    "not finite": (lambda: fastvec.normalize([[1.0, np.inf]]), ValueError),
    "range": (lambda: fastvec.Index([[1e300, 1.0]]), ValueError),
    "shape": (lambda: fastvec.normalize([1.0, 2.0]), ValueError),
    "memory": (no_memory, MemoryError),
}


@pytest.mark.parametrize("topic", ERRORS)
def test_an_error_has_a_note_with_its_page(topic, site):
    call, kind = ERRORS[topic]
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.__notes__ == [f"See {SITE}{_pages.PAGES[topic]}"]
    assert "See" not in str(caught.value)


def test_a_device_that_cannot_be_used_leads_to_its_page(site, monkeypatch):
    device = base.HOMES["cuda"].load()
    monkeypatch.setattr(device, "why_not", lambda: "it is away")
    with pytest.raises(RuntimeError, match="cannot be used here") as caught:
        fastvec.Index([[1.0]], device="cuda")
    assert caught.value.__notes__ == [f"See {SITE}howto/devices.html"]


def test_a_changed_row_leads_to_its_page(site):
    error = base.RowChangedError(3)
    assert error.__notes__ == [f"See {SITE}{_pages.PAGES['changed']}"]
    twin = pickle.loads(pickle.dumps(error))
    assert (str(twin), twin.__notes__) == (str(error), error.__notes__)


@pytest.mark.parametrize("urls", [[], ["Source, https://a.invalid"], None])
def test_without_an_address_there_is_no_note(monkeypatch, urls):
    def metadata(name):
        if urls is None:
            raise importlib.metadata.PackageNotFoundError
        found = Message()
        for url in urls:
            found["Project-URL"] = url
        return found

    monkeypatch.setattr(importlib.metadata, "metadata", metadata)
    assert _pages.site.__wrapped__() is None
    monkeypatch.setattr(_pages, "site", _pages.site.__wrapped__)
    assert not hasattr(_pages.linked(ValueError(), "shape"), "__notes__")


def test_the_address_is_that_of_the_metadata(monkeypatch):
    found = Message()
    found["Project-URL"] = "Source, https://a.invalid"
    found["Project-URL"] = "Documentation, https://docs.invalid"
    monkeypatch.setattr(importlib.metadata, "metadata", {"fastvec": found}.__getitem__)
    assert _pages.site.__wrapped__() == "https://docs.invalid"
