"""What may be wrong with an index.json whose seal is right: each value by itself, without a folder."""

import copy

import numpy as np
import pytest

from fastvec.files import manifest_checks
from fastvec.files.layout import COLUMNS, LABELS, NUMBERS, layout

DIGEST = "0123456789abcdef" * 4
SCREEN = {"setting": 128, "width": 128, "leading": 64, "shares": [0, 0.5], "pivots": 5, "neighbors": 2}


def files_of(rows, more, *, later=False, numbers=False, lines=()):
    arrays = layout(
        rows, 200, more.get("screen"), more.get("direction"), later=later, dtype=more.get("dtype", "<f4")
    )
    files = {f"{name}.npy": array for name, array in arrays.items()}
    if numbers:
        files[NUMBERS] = ("<i8", (rows,))
    entries = {}
    for name, (dtype, shape) in files.items():
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        entries[name] = {
            "dtype": dtype,
            "shape": [*shape],
            "offset": 128,
            "bytes": 128 + size,
            "sha256": DIGEST,
        }
    return entries | {name: {"bytes": 0, "sha256": DIGEST} for name in lines}


def whole(version, **more):
    """One whose rows are in one folder."""
    lines = (LABELS, *([COLUMNS] if "columns" in more else []))
    facts = {"format": "fastvec index", "version": version, "metric": "cosine", "rows": 9, "dims": 200}
    return {**facts, "folder": "0123abcd", "files": files_of(9, more, lines=lines), "sha256": DIGEST, **more}


def in_parts(version=3, **more):
    """One of three parts, the second of which has numbers of rows in a file."""
    facts = {"format": "fastvec index", "version": version, "metric": "dot", "rows": 17, "dims": 200}
    parts = [
        {"folder": "0000000a", "rows": 10, "first": 0, "files": files_of(10, more)},
        {"folder": "0000000b", "rows": 6, "files": files_of(6, more, later=True, numbers=True)},
        {"folder": "0000000c", "rows": 1, "first": 20, "files": files_of(1, more, later=True)},
    ]
    closed = {"dtype": "|u1", "shape": [2], "offset": 64, "bytes": 66, "sha256": DIGEST, "folder": "0000000a"}
    state = {"parts": parts, "top": 21, "origin": "0000000f", "closed": closed, "sha256": DIGEST}
    return {**facts, **state, **more}


RIGHT = {
    "plain": whole(1),
    "all": whole(
        2, screen=SCREEN, direction={"lead": 64}, columns=["id"], metadata={"model": "m"}, repeated=True
    ),
    "auto": whole(2, screen={**SCREEN, "setting": "auto", "leading": 0, "width": 192, "shares": [1, 0.0]}),
    "widest lead": whole(2, direction={"lead": 256}),
    "parts": in_parts(),
    "parts with all": in_parts(screen=SCREEN, direction={"lead": 128}),
    "narrow": in_parts(4, dtype="<f2"),
    "two parts": {**in_parts(), "rows": 16, "parts": in_parts()["parts"][:2]},
    "no rows": {
        **{name: value for name, value in in_parts().items() if name != "closed"},
        "rows": 0,
        "parts": [{"folder": "0000000a", "rows": 0, "first": 20, "files": files_of(0, {})}],
    },
}


def changed(name, *path, to=None, drop=False):
    """A copy of a right one with another value at a place, or none."""
    manifest = copy.deepcopy(RIGHT[name])
    *above, last = path
    place = manifest
    for key in above:
        place = place[key]
    if drop:
        del place[last]
    else:
        place[last] = to
    return manifest


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_saved_is_right(name):
    assert manifest_checks.problem_of(copy.deepcopy(RIGHT[name])) == ""


def places_in(value, above=()):
    """Where each value of a manifest is, but those of metadata and single numbers of lists."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield (*above, key)
        if isinstance(value[key], dict | list) and key not in ("metadata", "shape", "shares"):
            yield from places_in(value[key], (*above, key))


@pytest.mark.parametrize("name", RIGHT)
def test_a_key_too_many_or_too_few_is_found(name):
    may_be_left_out = [
        ("format",),
        ("version",),
        ("metadata",),
        ("repeated",),
        ("closed",),
        ("files", LABELS),
    ]
    for path in places_in(RIGHT[name]):
        if path not in may_be_left_out:
            assert manifest_checks.problem_of(changed(name, *path, drop=True)), path
        if path[-1] in ("version", "rows", "width", "lead", "sha256"):
            assert manifest_checks.problem_of(changed(name, *path[:-1], "more", to=1)), path


COUNTS = {
    ("parts", "top"): (21, 1 << 40),
    ("parts", "parts", 2, "first"): (0, 20),
    ("all", "screen", "pivots"): (5, 5),
    ("all", "files", LABELS, "bytes"): (0, 1 << 62),
}
"""The least and the most that is right."""


@pytest.mark.parametrize(("path", "ends"), COUNTS.items())
def test_counts_at_their_ends(path, ends):
    for value in ends:
        assert manifest_checks.problem_of(changed(*path, to=value)) == "", value
    for value in (ends[0] - 1, ends[1] + 1, float(ends[0]), True, "1", None, [1]):
        assert manifest_checks.problem_of(changed(*path, to=value)), value


WRONG = [
    ("plain", ("metadata",), [1], "metadata must be texts by name"),
    ("plain", ("metadata",), {"a": 1}, "metadata must be texts by name"),
    ("plain", ("metric",), "hamming", 'metric is "hamming", not one of'),
    ("plain", ("metric",), ["dot"], 'metric is ["dot"], not one of'),
    ("plain", ("rows",), -1, "rows is -1, not a whole number from 0 to"),
    ("plain", ("rows",), (1 << 40) + 1, "rows is 1099511627777, not a whole number"),
    ("plain", ("rows",), 9.0, "rows is 9.0, not a whole number"),
    ("plain", ("dims",), 0, "dims is 0, not a whole number from 1 to"),
    ("plain", ("dims",), 131_073, "dims is 131073, not a whole number"),
    ("narrow", ("dtype",), "<f4", "dtype is \"<f4\", not one of ['<f2']"),
    ("plain", ("repeated",), False, "repeated is false; it can be true or left out"),
    ("plain", ("repeated",), 1, "repeated is 1; it can be true or left out"),
    ("plain", ("folder",), "0123ABCD", 'folder is "0123ABCD", not a name of eight hexadecimal digits'),
    ("plain", ("folder",), "0123abcde", "folder is"),
    ("plain", ("folder",), 7, "folder is 7"),
    ("parts", ("top",), -1, "top is -1, not a whole number from 0 to"),
    ("parts", ("origin",), "..", 'origin is ".."'),
    ("parts", ("parts",), [], "parts is [], not a list of 1 to 256 parts"),
    ("parts", ("parts",), {}, "parts is {}, not a list"),
    ("parts", ("parts",), [1] * 257, "not a list of 1 to 256 parts"),
    ("parts", ("parts",), [1] * 256, "parts[0] must have ['files', 'folder', 'rows'], and perhaps ['first']"),
    ("parts", ("parts", 1), ["first"], "parts[1] must have"),
    ("parts", ("parts", 1, "more"), 1, "parts[1] must have"),
    ("parts", ("parts", 2, "folder"), "0000000a", "two parts have the same folder"),
    ("parts", ("parts", 2, "folder"), "../../a", "folder of parts[2] is"),
    ("parts", ("parts", 2, "rows"), 0, "rows of parts[2] is 0, not a whole number from 1 on"),
    ("two parts", ("parts", 1, "rows"), 0, "rows of parts[1] is 0, not a whole number from 1 on"),
    ("parts", ("parts", 2, "rows"), True, "rows of parts[2] is true"),
    ("parts", ("parts", 2, "first"), 21, "first of parts[2] is 21; numbers of rows are from 0 to below top"),
    ("parts", ("parts", 2, "first"), -1, "first of parts[2] is -1"),
    ("parts", ("rows",), 18, "rows is 18, but the parts have 17"),
    ("parts", ("screen",), None, "screen is null; it must be an object, or left out"),
    ("plain", ("screen",), SCREEN, "version 1 cannot have a screen"),
    ("all", ("screen",), [*SCREEN], "screen must have"),
    ("all", ("screen", "width"), 0, "width of screen is 0, not a multiple of 64 up to dims"),
    ("all", ("screen", "width"), 100, "width of screen is 100"),
    ("all", ("screen", "width"), 256, "width of screen is 256"),
    ("all", ("screen", "setting"), 64, 'setting of screen is 64, not "auto" or its width'),
    ("all", ("screen", "setting"), 128.0, "setting of screen is 128.0"),
    ("all", ("screen", "setting"), "off", 'setting of screen is "off"'),
    ("all", ("screen", "leading"), 128, "leading of screen is 128, not 0, or 64 and less than its width"),
    ("all", ("screen", "leading"), 32, "leading of screen is 32"),
    ("all", ("screen", "leading"), False, "leading of screen is false"),
    ("all", ("screen",), {**SCREEN, "width": 64, "setting": 64}, "leading of screen is 64"),
    ("all", ("screen", "shares"), [0, 1.5], "shares of screen is [0, 1.5], not two numbers from 0 to 1"),
    ("all", ("screen", "shares"), [-0.5, 1], "shares of screen is"),
    ("all", ("screen", "shares"), [True, 1], "shares of screen is"),
    ("all", ("screen", "shares"), [0, 1, 1], "shares of screen is"),
    ("all", ("screen", "shares"), {"a": 1, "b": 0}, "shares of screen is"),
    ("all", ("screen", "pivots"), -1, "pivots of screen is -1, not a whole number from 0 to 9"),
    ("all", ("screen", "pivots"), 10, "pivots of screen is 10"),
    ("parts with all", ("screen", "pivots"), 11, "pivots of screen is 11, not a whole number from 0 to 10"),
    ("all", ("screen", "neighbors"), 0, "neighbors of screen is 0, not a whole number from 1 to 65536"),
    ("all", ("screen", "neighbors"), 65_537, "neighbors of screen is 65537"),
    ("all", ("screen", "neighbors"), 65_536, "shape of neighbors.npy"),
    ("parts", ("direction",), None, "direction is null; it must be an object, or left out"),
    ("plain", ("direction",), {"lead": 64}, "version 1 cannot have a direction"),
    ("all", ("direction",), ["lead"], "direction must have ['lead']"),
    ("all", ("direction", "more"), 1, "direction must have ['lead']"),
    ("all", ("direction", "lead"), 0, "lead of direction is 0, not a multiple of 64 up to 256"),
    ("all", ("direction", "lead"), 96, "lead of direction is 96"),
    ("all", ("direction", "lead"), 320, "lead of direction is 320"),
    ("plain", ("columns",), ["id"], "columns and columns.jsonl must both be there, or neither"),
    ("parts", ("columns",), ["id"], "columns and columns.jsonl must both be there, or neither"),
    ("all", ("columns",), [], "columns is [], not a list of names, at most 10,000"),
    ("all", ("columns",), {"id": 1}, 'columns is {"id": 1}, not a list of names'),
    ("all", ("columns",), ["a"] * 10_001, "not a list of names, at most 10,000"),
    ("all", ("columns",), ["a"] * 10_000, "two columns have the name 'a'"),
    ("all", ("columns",), ["text"], "a column cannot be called 'text'"),
    ("all", ("files",), [*RIGHT["all"]["files"]], "columns and columns.jsonl must both be there"),
    ("plain", ("files",), [*RIGHT["plain"]["files"]], "files must be"),
    ("plain", ("files", "numbers.npy"), {}, "files must be"),
    ("plain", ("files", "closed.npy"), {}, "files must be"),
    ("parts", ("parts", 1, "first"), 0, "parts[1]: files must be"),
    (
        "parts",
        ("parts", 0, "files", LABELS),
        {"bytes": 1, "sha256": DIGEST},
        "must be in all parts, or in none",
    ),
    ("plain", ("files", "norm.npy"), [*RIGHT["plain"]["files"]["norm.npy"]], "norm.npy must have"),
    ("plain", ("files", LABELS, "dtype"), "<f4", "labels.jsonl must have ['bytes', 'sha256']"),
    ("plain", ("files", "norm.npy", "sha256"), DIGEST[1:], "sha256 of norm.npy is"),
    ("plain", ("files", "norm.npy", "sha256"), DIGEST + "0", "sha256 of norm.npy is"),
    ("plain", ("files", "norm.npy", "sha256"), DIGEST.upper(), "sha256 of norm.npy is"),
    ("plain", ("files", "norm.npy", "sha256"), 1, "sha256 of norm.npy is 1"),
    ("plain", ("files", LABELS, "bytes"), -1, "bytes of labels.jsonl is -1, not a size"),
    ("plain", ("files", "norm.npy", "bytes"), 201, "bytes of norm.npy is 201, but its array needs 200"),
    ("plain", ("files", "norm.npy", "dtype"), "<f4", 'dtype of norm.npy is "<f4", not <f8'),
    (
        "narrow",
        ("parts", 2, "files", "vectors.npy", "dtype"),
        "<f4",
        'dtype of vectors.npy is "<f4", not <f2',
    ),
    ("plain", ("files", "norm.npy", "shape"), [8], "shape of norm.npy is [8], not [9], as rows and dims say"),
    ("plain", ("files", "norm.npy", "shape"), [9.0], "shape of norm.npy is [9.0]"),
    ("plain", ("files", "norm.npy", "shape"), {"9": 1}, "shape of norm.npy is"),
    ("plain", ("files", "norm.npy", "shape"), [9, 1], "shape of norm.npy is [9, 1]"),
    ("plain", ("files", "norm.npy", "offset"), 0, "offset of norm.npy is 0, not a multiple of 64"),
    ("plain", ("files", "norm.npy", "offset"), 96, "offset of norm.npy is 96"),
    ("plain", ("files", "norm.npy", "offset"), (1 << 16) + 64, "offset of norm.npy is 65600"),
    ("plain", ("files", "norm.npy", "offset"), 1 << 16, "bytes of norm.npy is 200, but its array needs"),
    ("parts", ("closed",), "0000000a", 'closed is "0000000a", not an object with a folder'),
    ("parts", ("closed", "folder"), "..", 'folder of closed is ".."'),
    (
        "parts",
        ("closed", "shape"),
        [4],
        "shape of closed.npy is [4], not one number from 1 to 3, as rows says",
    ),
    ("parts", ("closed", "shape"), [0], "shape of closed.npy is [0]"),
    ("parts", ("closed", "shape"), [1, 2], "shape of closed.npy is [1, 2]"),
    ("parts", ("closed", "shape"), 2, "shape of closed.npy is 2"),
    ("parts", ("closed", "shape"), [True], "shape of closed.npy is [true]"),
    ("parts", ("closed", "shape"), [1], "bytes of closed.npy is 66, but its array needs 65"),
    ("parts", ("closed", "dtype"), "<u4", 'dtype of closed.npy is "<u4", not |u1'),
    ("plain", ("closed",), RIGHT["parts"]["closed"], "it must have"),
]


@pytest.mark.parametrize(("name", "path", "value", "message"), WRONG)
def test_each_value_is_checked(name, path, value, message):
    problem = manifest_checks.problem_of(changed(name, *path, to=value))
    assert message in problem
    assert len(problem) < 600
    assert "\n" not in problem


def test_values_are_shown_short():
    assert manifest_checks.shown("a" * 78) == '"' + "a" * 78 + '"'
    assert manifest_checks.shown("a" * 79) == '"' + "a" * 76 + "..."
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert manifest_checks.shown(deep) == "nested too deeply"
