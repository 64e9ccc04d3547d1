"""Which parts of a folder a save leaves as they are, and which blocks refreshing keeps: without an Index."""

import numpy as np
import pytest

from fastvec._stores.base import Pieces
from fastvec.files import parts
from fastvec.files.layout import LABELS
from fastvec.files.manifest import Part, State
from fastvec.files.streams import Stream

SHARED = {"basis": np.zeros(2)}
MEMORY = [np.zeros(1), np.zeros(1), np.zeros(1)]
WORDS = tuple(f"word {number}" for number in range(60))


def content_of(counts, memory=MEMORY, *, numbers=None, shared=SHARED, top=None, **more):
    """What an Index would save whose blocks have these numbers of rows."""
    blocks = [{"vectors": np.empty((count, 3), np.float32)} for count in counts]
    pieces = Pieces(shared, blocks, memory[: len(blocks)])
    rows = sum(counts)
    numbers = None if numbers is None else np.array(numbers)
    return parts.Content(pieces, {"rows": rows, "dims": 3}, top or rows, numbers=numbers, **more)


def state_of(*rows, facts=None, names=None, labeled=False):
    """The state of a folder whose parts have these numbers of rows; each part follows the one before it."""
    starts, files = np.cumsum([0, *rows]).tolist(), {LABELS: {"bytes": 5}} if labeled else {}
    listed = [
        Part(name, count, start, {"vectors.npy": {"bytes": 12 * count}, **files})
        for name, count, start in zip(names or "abcdefgh", rows, starts, strict=False)
    ]
    return State(facts or {"rows": sum(rows)}, tuple(listed), None, sum(rows), "a")


def saved_of(content, state, words=None, *, opened_words=False):
    return parts.saved(state, content, lambda: words, opened_words=opened_words, opened=False, memory=False)


def files_of(folder, state):
    for part in state.parts:
        (folder / part.folder).mkdir()
        for name, entry in part.files.items():
            (folder / part.folder / name).write_bytes(bytes(entry["bytes"]))


@pytest.mark.parametrize(
    ("closed", "mask"),
    [(None, []), ([0] * 9, []), ([1] + [0] * 9, [1]), ([0] * 8 + [1, 0], [0, 1]), ([1, 0, 1], [5])],
)
def test_closed_rows_are_bits_up_to_the_last(closed, mask):
    content = content_of([10], closed=None if closed is None else np.array(closed, bool))
    assert content.mask().tolist() == mask


def test_where_the_rows_of_a_part_are_in_memory():
    pieces = content_of([10, 4]).pieces

    def places(start, stop):
        blocks = {id(memory): block for block, memory in enumerate(MEMORY)}
        found = parts.spans(pieces, start, stop)
        return [(blocks[id(span.memory())], span.at, span.rows) for span in found]

    assert places(0, 14) == [(0, 0, 10), (1, 0, 4)]
    assert places(8, 12) == [(0, 8, 2), (1, 0, 2)]
    assert places(10, 14) == [(1, 0, 4)]
    assert places(11, 13) == [(1, 1, 2)]
    assert places(0, 10) == [(0, 0, 10)]
    assert places(3, 3) == places(10, 10) == []


def test_how_many_parts_hold_the_first_rows():
    state = state_of(6, 5, 3)  # the second one has the end of the first block, and one row of the second
    saved = saved_of(content_of([10, 4]), state)

    def held(*arguments, **more):
        return parts.held(content_of(*arguments, **more), saved)

    new = np.zeros(1)
    assert held([10, 4]) == held([10, 9]) == held([10, 4, 7]) == 3
    assert held([9, 5]) == held([10, 4], [MEMORY[0], new]) == 1
    assert held([10, 3]) == 2
    assert held([10, 4], [new, MEMORY[1]]) == held([4, 10], MEMORY[1::-1]) == 0
    assert held([2, 10, 4], [new, *MEMORY]) == held([6], MEMORY[1:]) == 0
    assert held([10, 4], shared={}) == held([10, 4], shared={"basis": np.zeros(2)}) == 0
    assert held([10, 4], shared={**SHARED, "direction": new}) == 0
    both = saved_of(content_of([14], shared={**SHARED, "direction": new}), state_of(14))
    assert parts.held(content_of([14], shared={**SHARED, "direction": MEMORY[0]}), both) == 0
    three = content_of([10, 4, 6])
    assert parts.held(three, saved_of(three, state_of(6, 5, 9))) == 3
    numbers = [*range(14)]
    assert held([10, 4], numbers=numbers) == 3
    assert held([10, 4], numbers=[*numbers[:10], 11, 12, 13, 14]) == 1
    assert held([10, 4], numbers=[*numbers[:13], 20]) == 2
    assert held([10, 4], numbers=range(1, 15)) == 0
    scattered = [*range(6), 9, 8, 7, 6, 10, 11, 12, 13]
    listed = state._replace(parts=(state.parts[0], state.parts[1]._replace(first=None), state.parts[2]))
    saved = saved_of(content_of([10, 4], numbers=scattered), listed)
    assert held([10, 4], numbers=scattered) == 3
    assert held([10, 4], numbers=numbers) == held([10, 4]) == 1
    gone = saved_of(content_of([6], [np.zeros(1)]), state_of(6))
    assert parts.held(content_of([6]), gone) == 0


def test_numbers_that_rise_by_one():
    for numbers, first in (([], 0), ([5], 5), ([0, 1], 0), ([5, 6, 7], 5), ([5, 7], None), ([7, 6], None)):
        assert parts.consecutive(np.array(numbers, np.int64)) == first
    assert parts.consecutive(np.array([5, 6, 8])) is parts.consecutive(np.array([5, 5])) is None
    assert parts.labels(WORDS, 3, 2) == WORDS[3:5]
    assert parts.labels(WORDS, np.array([4, 1]), 2) == (WORDS[4], WORDS[1])


def test_what_has_not_changed():
    content, state = content_of([10, 4], closed=np.arange(14) == 3), state_of(6, 8)
    saved = saved_of(content, state)
    assert parts.unchanged(content, saved)
    assert not parts.unchanged(content._replace(top=15), saved)
    assert not parts.unchanged(content._replace(closed=np.arange(14) == 2), saved)
    assert not parts.unchanged(content._replace(closed=None), saved)
    assert not parts.unchanged(content_of([10, 5], closed=content.closed, top=14), saved)
    assert not parts.unchanged(content_of([10, 4], MEMORY[1:], closed=content.closed), saved)


@pytest.mark.parametrize(("added", "stay"), [(0, "abc"), (1, "abc"), (2, "a"), (3, "a"), (4, ""), (9, "")])
def test_parts_of_at_most_twice_as_many_rows_are_written_again(tmp_path, added, stay):
    state = state_of(31, 8, 4)
    files_of(tmp_path, state)
    saved = saved_of(content_of([43]), state)
    content = content_of([43 + added])
    assert "".join(part.folder for part in parts.staying(content, saved, tmp_path)) == stay


def test_parts_that_are_damaged_or_have_columns_are_written_again(tmp_path):
    state = state_of(30, 8, 3)
    files_of(tmp_path, state)
    content = content_of([41])
    saved = saved_of(content, state)
    assert parts.staying(content, saved, tmp_path) == state.parts
    assert parts.staying(content._replace(columns={"id": 1}), saved, tmp_path) == ()
    with_columns = saved_of(content, state_of(30, 8, 3, facts={"rows": 41, "columns": ["id"]}))
    assert parts.staying(content, with_columns, tmp_path) == ()
    assert parts.staying(content_of([41], MEMORY[1:]), saved, tmp_path) == ()
    (tmp_path / "b" / "vectors.npy").write_bytes(bytes(95))
    assert parts.staying(content, saved, tmp_path) == state.parts[:1]
    fewer = state_of(22, 8, 3)
    assert parts.staying(content_of([33]), saved_of(content_of([33]), fewer), tmp_path) == ()
    (tmp_path / "a" / "vectors.npy").unlink()
    assert parts.staying(content, saved, tmp_path) == ()


def test_parts_whose_words_have_changed_are_written_again(tmp_path):
    state = state_of(30, 8, 3, labeled=True)
    files_of(tmp_path, state)

    def stay(before, *, labeled=state, opened_words=False, **more):
        content = content_of([41], **more)
        saved = saved_of(content, labeled, before, opened_words=opened_words)
        return len(parts.staying(content, saved, tmp_path))

    def but(at):
        return (*WORDS[:at], "other", *WORDS[at + 1 :])

    assert stay(None, labeled=state_of(30, 8, 3)) == 3
    assert stay(WORDS) == 0
    assert stay(WORDS, words=WORDS) == stay([*WORDS], words=WORDS) == 3
    assert stay(WORDS, words=but(40)) == 2
    assert stay(WORDS, words=but(38)) == 2
    assert stay(WORDS, words=but(37)) == stay(WORDS, words=but(30)) == 1
    assert stay(WORDS, words=but(29)) == stay(WORDS, words=but(0)) == 0
    for closed in (30, 31):
        gone = np.arange(41) == closed
        assert stay(WORDS, words=but(30), closed=gone) == (3 if closed == 30 else 1)
    (tmp_path / "c" / LABELS).write_bytes(bytes(4))
    assert stay(WORDS, words=WORDS) == 2
    (tmp_path / "c" / LABELS).write_bytes(bytes(5))
    stream = Stream([*WORDS], "words", lambda value, *_: value)
    assert stay(stream, words=stream) == 3
    assert stay(WORDS, words=stream) == stay(stream, words=WORDS) == 0
    # Words by numbers, while those that were read are in the order of the rows.
    numbers = [*range(5, 46)]
    firsts = tuple(part._replace(first=part.first + 5) for part in state.parts)
    moved = state._replace(parts=firsts)
    assert stay(WORDS[5:46], words=WORDS, numbers=numbers, labeled=moved, opened_words=True) == 3
    assert stay(WORDS, words=WORDS[:46], numbers=numbers, labeled=moved) == 3
    assert stay(WORDS[:41], words=WORDS, numbers=numbers, labeled=moved, opened_words=True) == 0


@pytest.mark.parametrize(
    ("counts", "names", "small", "kept"),
    [
        ((20, 11), "abcd", 1 << 24, (1, 1)),
        ((20, 11), "abcd", 0, (2, 3)),
        ((20, 11), "abxd", 0, (1, 1)),
        ((20, 11), "abc", 11 * 12, (2, 3)),
        ((20, 11), "abc", 11 * 12 + 1, (1, 1)),
        ((20, 8, 3), "axcd", 0, (1, 1)),
        ((20, 8, 3), "abxd", 0, (2, 2)),
        ((20, 8, 3), "xbcd", 0, (0, 0)),
        ((28, 3), "xbcd", 0, (0, 0)),
        ((28, 3), "abcd", 1 << 24, (1, 2)),
        ((24, 7), "abcd", 0, (2, 3)),
    ],
)
def test_blocks_that_a_later_state_leaves(monkeypatch, counts, names, small, kept):
    monkeypatch.setattr(parts, "SMALL_BYTES", small)
    content = content_of(counts)
    saved = saved_of(content, state_of(20, 8, 3))
    later = state_of(20, 8, 3, *[5] * (len(names) - 3), names=names)
    assert parts.blocks_kept(saved, content.pieces, later) == kept
