"""Index folders whose parts agree with one another, but not with what kernels need."""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from data import hashed, sharing
from test_folder import inner, sealed

from fastvec import Index, Vocabulary, files
from fastvec.files import FileError, folder, indexed, layout, manifest, verify

THIS = Path(__file__)


def with_files(real, name, **changed):
    return {**real, "files": {**real["files"], name: {**real["files"][name], **changed}}}


HUGE = 10**30
HOSTILE = [
    ({"metric": "hamming"}, "metric"),
    ({"metric": ["cosine"]}, "metric"),
    ({"metric": None}, "metric"),
    ({"rows": 2}, "shape of"),
    ({"rows": -3}, "rows is -3"),
    ({"rows": True}, "rows is true"),
    ({"rows": 3.0}, r"rows is 3\.0"),
    ({"rows": "3"}, "rows"),
    ({"rows": HUGE}, "rows is 1000"),
    ({"dims": 0}, "dims is 0"),
    ({"dims": 69}, "shape of vectors"),
    ({"dims": HUGE}, "dims"),
    ({"dims": [70]}, "dims"),
    ({"version": True}, "version true"),
    ({"version": 1.0}, "version"),
    ({"version": None}, "version"),
    ({"folder": "../outside"}, "folder"),
    ({"folder": "/etc"}, "folder"),
    ({"folder": "."}, "folder"),
    ({"folder": "3f9a11c2/.."}, "folder"),
    ({"folder": "3f9a11c2\n"}, "folder"),
    ({"folder": 12345678}, "folder"),
    ({"folder": None}, "folder"),
    ({"metadata": ["m"]}, "metadata"),
    ({"metadata": {"model": 5}}, "metadata"),
    ({"more": 1}, "it must have"),
    ({"repeated": False}, "repeated is false"),
    ({"repeated": 1}, "repeated is 1"),
    ({"repeated": None}, "repeated is null"),
    ({"columns": ["id"]}, "columns and columns.jsonl must both be there"),
    ({"columns": []}, "columns and columns.jsonl"),
    ({"columns": None, "files": 5}, "files must be"),
    ({"files": []}, "files must be"),
    ({"files": None}, "files must be"),
    ({"files": {}}, "files must be"),
    *(
        ((name, changed), place)
        for name in ("vectors.npy", "codes.npy", "norm.npy")
        for changed, place in (
            ({"dtype": "|O"}, "dtype"),
            ({"dtype": "<f2"}, "dtype"),
            ({"dtype": [["a", "<f4"]]}, "dtype"),
            ({"dtype": None}, "dtype"),
            ({"shape": [4]}, "shape"),
            ({"shape": [0, 70]}, "shape"),
            ({"shape": []}, "shape"),
            ({"shape": "3"}, "shape"),
            ({"shape": [HUGE, 70]}, "shape"),
            ({"shape": [-1, 70]}, "shape"),
            ({"shape": [True, 70]}, "shape"),
            ({"shape": [[3], 70]}, "shape"),
            ({"offset": 1}, "offset"),
            ({"offset": 0}, "offset"),
            ({"offset": -64}, "offset"),
            ({"offset": 192}, "bytes"),
            ({"offset": 64, "bytes": HUGE}, "bytes"),
            ({"bytes": 1 << 20}, "but its array needs"),
            ({"offset": HUGE}, "offset"),
            ({"offset": None}, "offset"),
            ({"bytes": 5}, "bytes"),
            ({"bytes": True}, "bytes"),
            ({"bytes": "5"}, "bytes"),
            ({"sha256": "0"}, "sha256"),
            ({"sha256": None}, "sha256"),
            ({"more": 1}, "must have"),
        )
    ),
    (("labels.jsonl", {"bytes": -1}), "bytes"),
    (("labels.jsonl", {"bytes": 5}), "bytes long, not 5"),
    (("labels.jsonl", {"dtype": "|u1", "shape": [5], "offset": 0}), "must have"),
]


def test_every_value_of_a_manifest_is_checked_though_its_seal_is_right(saved):
    path = saved / "index.json"
    real = json.loads(path.read_text())
    for change, message in HOSTILE:
        changed = {**real, **change} if isinstance(change, dict) else with_files(real, change[0], **change[1])
        path.write_text(json.dumps(sealed(changed)))
        for act in (
            Index.open,
            Vocabulary.open,
            files.read,
            verify,
            lambda p: Index.open(p, vectors="memory"),
        ):
            with pytest.raises(FileError, match=message) as caught:
                act(saved)
            assert str(saved) in str(caught.value), change
            assert "\n" not in str(caught.value)
    for name in set(real) - {"sha256"}:
        path.write_text(json.dumps(sealed({key: value for key, value in real.items() if key != name})))
        with pytest.raises(FileError):
            Index.open(saved)
    for name in real["files"]:
        renamed = {f"../x/{name}": real["files"][name]}
        others = {key: value for key, value in real["files"].items() if key != name}
        path.write_text(json.dumps(sealed({**real, "files": {**others, **renamed}})))
        with pytest.raises(FileError, match="files must be"):
            Index.open(saved)
    path.write_text(json.dumps(real))
    verify(saved)


def resealed(path, name, array, **changed):
    """Replace an array of an index, and make index.json agree."""
    real = json.loads((path / "index.json").read_text())
    file = path / real["folder"] / f"{name}.npy"
    np.save(file, array)
    data = file.read_bytes()
    entry = {
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "offset": len(data) - array.nbytes,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        **changed,
    }
    (path / "index.json").write_text(json.dumps(sealed(with_files(real, f"{name}.npy", **entry))))


def hostile_arrays(path):
    """Open folders whose parts agree with one another, but not with what kernels need; search what opens."""
    rows = hashed(300, 70)
    shorter = {
        "codes": [np.zeros((n, 128), np.uint8) for n in (0, 1, 300, 363)] + [np.zeros((364, 64), np.uint8)],
        "vectors": [rows[:10], rows[:, :60], rows.astype(np.float64), np.asfortranarray(rows), rows[:0]],
        "scale": [np.ones(10, np.float32), np.ones((300, 1), np.float32), np.ones(300)],
        "error": [np.ones(0, np.float32)],
        "norm": [np.ones(299), np.ones(300, np.float32)],
    }
    for name, arrays in shorter.items():
        for array in arrays:
            shutil.rmtree(path, ignore_errors=True)
            Index(rows).save(path)
            resealed(path, name, array)
            opened_or_refused(path, rows, must=FileError)
    # Of the right shapes: what is in them can make answers wrong, and nothing else.
    rng = np.random.default_rng(1)
    for name, arrays in {
        "codes": [np.full((364, 128), n, np.uint8) for n in (0, 255)]
        + [rng.integers(0, 256, (364, 128), np.uint8)],
        "scale": [np.full(300, n, np.float32) for n in (0, 1e-45, 3e38)],
        "error": [np.full(300, n, np.float32) for n in (0, 3e38)],
        "norm": [np.full(300, n) for n in (0, 5e-324, 1e308)],
        "vectors": [np.full((300, 70), n, np.float32) for n in (np.nan, np.inf, 0)],
    }.items():
        for array in arrays:
            for metric in ("cosine", "dot", "euclidean"):
                shutil.rmtree(path, ignore_errors=True)
                Index(rows, metric=metric).save(path)
                resealed(path, name, array)
                opened_or_refused(path, rows)
    for name in ("scale", "error", "norm"):
        for bad in (-1, np.nan, np.inf):
            shutil.rmtree(path, ignore_errors=True)
            Index(rows).save(path)
            array = np.array(folder.load(path).blocks[0].arrays[name])
            array[17] = bad
            resealed(path, name, array)
            opened_or_refused(path, rows, must=FileError)


def arrays_of(path):
    """The arrays of a folder with one part, by name."""
    stored = folder.load(path)
    return {**stored.blocks[0].arrays, **stored.shared}


def hostile_screens(path):
    """As ``hostile_arrays``, for those of a screen."""
    rows = hashed(300, 197)

    def tried(name, array, must=None):
        shutil.rmtree(path, ignore_errors=True)
        Index(rows, screen=192).save(path)
        resealed(path, name, np.asarray(array))
        opened_or_refused(path, rows, must)

    Index(rows, screen=192).save(path)
    names = (*layout.SCREEN_ARRAYS, *layout.LEADING_ARRAYS)
    stored = {name: np.array(arrays_of(path)[name]) for name in names}
    for name, array in stored.items():
        for wrong in (array[:-1], array[..., None], array.astype(np.float64 if name != "pivots" else "i4")):
            tried(name, wrong, FileError)
    for name in ("screen_scale", "screen_tail", "screen_slack"):
        for bad in (-1, np.nan, np.inf):
            tried(name, np.where(np.arange(300) == 17, np.float32(bad), stored[name]), FileError)
        for odd in (0, 1e-45, 3e38):
            tried(name, np.full(300, odd, np.float32))
    for name in ("pivots", "neighbors"):
        for bad in (-1, 300, np.iinfo(stored[name].dtype).max, np.iinfo(stored[name].dtype).min):
            array = stored[name].copy()
            array.flat[-1] = bad
            tried(name, array, FileError)
        for odd in (0, 299):
            tried(name, np.full_like(stored[name], odd))
    for bad in (np.nan, np.inf, -np.inf, 1e38, 100):
        array = stored["basis"].copy()
        array[5, 6] = bad
        tried("basis", array, FileError)
    tried("basis", np.ones_like(stored["basis"]), FileError)
    tried("basis", np.zeros_like(stored["basis"]))
    for odd in (0, 255):
        for name in ("screen_codes", "leading_codes"):
            tried(name, np.full_like(stored[name], odd))
    for bad in (1 << 31, 1 << 15, 0x7F800000, 0x7F80, 0x7FC0, 0xFFFFFFFF):
        tried(
            "leading_words",
            np.where(np.arange(300) == 17, np.uint32(bad), stored["leading_words"]),
            FileError,
        )
    for odd in (0, 1, 0x7F7F7F7F):
        tried("leading_words", np.full(300, odd, np.uint32))


@pytest.mark.parametrize("vectors", ["mmap", "memory", "disk"])
@pytest.mark.parametrize("name", ["screen_codes", "leading_codes", "screen_scale", "codes", "scale", "norm"])
def test_forged_codes_are_found_however_the_folder_is_opened(tmp_path, name, vectors):
    path = tmp_path / "index"
    Index(hashed(300, 197), screen=192).save(path)
    index = Index.open(path, vectors=vectors)
    index.verify()
    stored = np.array(arrays_of(path)[name])
    stored[:300] = stored[:300][::-1]
    resealed(path, name, stored)
    verify(path)
    forged = Index.open(path, vectors=vectors)
    with pytest.raises(RuntimeError, match="vectors changed"):
        forged.verify()


def hostile_directions(path):
    """As ``hostile_arrays``, for codes with a direction."""
    rows = sharing(300, 130)

    def tried(name, array, must=None):
        shutil.rmtree(path, ignore_errors=True)
        Index(rows).save(path)
        resealed(path, name, np.asarray(array))
        opened_or_refused(path, rows, must)

    Index(rows).save(path)
    stored = {name: np.array(arrays_of(path)[name]) for name in ("direction", "codes")}
    mean, codes = stored["direction"], stored["codes"]
    for wrong in (mean[:-1], mean[None], mean.astype(np.float64), mean[:0]):
        tried("direction", wrong, FileError)
    for bad in (np.nan, np.inf, -np.inf, 3e38, 2):
        tried("direction", np.where(np.arange(130) == 17, np.float32(bad), mean), FileError)
    for factor in (0, 1e-30, 0.5, 2):
        tried("direction", mean * np.float32(factor), FileError)
    for odd in (-mean, mean[::-1].copy(), np.float32(np.arange(130) == 3)):
        tried("direction", odd)
    for wrong in (codes[:, :192], codes[:, :-64], codes[:-1]):
        tried("codes", wrong, FileError)
    for odd in (0, 255):
        tried("codes", np.full_like(codes, odd))


def opened_or_refused(path, rows, must=None):
    try:
        index = Index.open(path)
        for m in (1, 40):
            index.search(rows[:m], 5)
            index.search(rows[:m], 5, dims=33)
            index.range_search(rows[:m], 0.9)
        files.verify(path)
    except FileError as error:
        assert str(path) in str(error)  # noqa: PT017
        return
    except (RuntimeError, ValueError):  # the vectors are not those of the codes
        assert must is None
        return
    assert must is None


def test_hostile_arrays_are_refused_or_harmless(run_python, tmp_path):
    """This runs in a separate process, because errors could damage memory."""
    result = run_python(THIS, tmp_path / "index")
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize(
    "changed",
    [
        None,
        {},
        [],
        {"width": 0},
        {"width": 32},
        {"width": 65},
        {"width": 128},
        {"width": 64.0},
        {"width": True},
        {"setting": "off"},
        {"setting": 128},
        {"setting": 64.0},
        {"setting": None},
        {"shares": [-0.1, 0]},
        {"shares": [0, 1.5]},
        {"shares": [float("nan"), 0]},
        {"shares": [True, 0]},
        {"shares": ["0", 0]},
        {"shares": [0]},
        {"shares": 0},
        {"leading": 64},
        {"leading": -64},
        {"leading": 32},
        {"leading": False},
        {"leading": None},
        {"pivots": -1},
        {"pivots": 301},
        {"pivots": 8},
        {"neighbors": 0},
        {"neighbors": 31},
        {"neighbors": 1 << 40},
        {"more": 1},
    ],
)
def test_hostile_facts_of_a_screen_are_refused(changed, tmp_path):
    path = tmp_path / "index"
    Index(hashed(300, 70), screen=64).save(path)
    real = json.loads((path / "index.json").read_text())
    screen = {**real["screen"], **changed} if changed else changed
    (path / "index.json").write_text(json.dumps(sealed({**real, "screen": screen})))
    of_pivots = r"index\.json: pivots of screen is 301, not a whole number from 0 to 300"
    message = r"index\.json: .*(screen|pivots|neighbors|basis)" if changed != {"pivots": 301} else of_pivots
    for act in (Index.open, verify, files.read):
        with pytest.raises(FileError, match=message):
            act(path)
    (path / "index.json").write_text(json.dumps(sealed({**real, "version": 1})))
    with pytest.raises(FileError, match="version 1 cannot have a screen"):
        Index.open(path)


@pytest.mark.parametrize(
    "changed",
    [None, [], {}, {"lead": 0}, {"lead": 128}, {"lead": 96}, {"lead": 320}, {"lead": True}, {"more": 1}],
)
def test_hostile_facts_of_a_direction_are_refused(changed, tmp_path):
    path = tmp_path / "index"
    Index(sharing(300, 130)).save(path)
    real = json.loads((path / "index.json").read_text())
    assert real["direction"]["lead"] == 64
    fact = {**real["direction"], **changed} if changed else changed
    (path / "index.json").write_text(json.dumps(sealed({**real, "direction": fact})))
    for act in (Index.open, verify, files.read):
        with pytest.raises(FileError, match=r"index\.json: .*(direction|codes)"):
            act(path)
    (path / "index.json").write_text(json.dumps(sealed({**real, "version": 1})))
    with pytest.raises(FileError, match="version 1 cannot have a direction"):
        Index.open(path)
    without = {key: value for key, value in real.items() if key != "direction"}
    (path / "index.json").write_text(json.dumps(sealed(without)))
    with pytest.raises(FileError, match="files must be"):
        Index.open(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [([], "not what was saved"), (["version"], "format version nested too deeply")],
)
def test_a_manifest_that_is_nested_more_deeply_than_can_be_written(saved, change, message):
    nested = []
    for _ in range(100_000):
        nested = [nested]
    value = {**json.loads((saved / "index.json").read_text()), "metadata": {"model": nested}}
    value |= dict.fromkeys(change, nested)
    with pytest.raises(FileError, match=message) as caught:
        manifest.checked(saved / "index.json", value)
    assert str(saved) in str(caught.value)


def test_headers_that_differ_from_the_manifest(saved):
    for name, change in (
        ("vectors", (b"False", b"True ")),
        ("scale", (b"<f4", b"<i4")),
        ("norm", (b"3,", b"1,")),
    ):
        path = inner(saved) / f"{name}.npy"
        data = path.read_bytes()
        path.write_bytes(data.replace(*change))
        for memory in (False, True):
            with pytest.raises(FileError, match=f"{name}.npy: its header differs"):
                folder.load(saved, memory=memory)
        path.write_bytes(data)


def test_folders_in_the_place_of_files(saved):
    for path in (inner(saved) / "codes.npy", inner(saved) / "labels.jsonl", saved / "index.json"):
        data = path.read_bytes()
        path.unlink()
        path.mkdir()
        for act in (Index.open, verify, files.read):
            with pytest.raises(FileError, match=f"{path.name}: a folder"):
                act(saved)
        path.rmdir()
        path.write_bytes(data)


def test_special_files_in_an_index_are_refused_at_once(saved):
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs pipes")
    for path in (inner(saved) / "codes.npy", inner(saved) / "labels.jsonl", saved / "index.json"):
        data = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        for act in (Index.open, verify, files.read):
            with pytest.raises(FileError, match=f"{path.name}: a pipe"):
                act(saved)
        if path.name == "index.json":
            with pytest.raises(FileExistsError, match="a pipe"):
                Index([[1.0]]).save(saved)
        path.unlink()
        path.write_bytes(data)
    os.mkfifo(saved.parent / "pipe")
    with pytest.raises(FileError, match="a pipe"):
        Index([[1.0]]).save(saved.parent / "pipe")


def with_columns(path, data, **changed):
    """Replace the bytes of the columns, and make index.json agree."""
    real = json.loads((path / "index.json").read_text())
    (path / real["folder"] / "columns.jsonl").write_bytes(data)
    entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    changed = {"columns": real["columns"], **changed}
    (path / "index.json").write_text(
        json.dumps(sealed({**with_files(real, "columns.jsonl", **entry), **changed}))
    )


@pytest.fixture
def columns(tmp_path):
    path = tmp_path / "columns"
    files.write(path, ["a", "b"], hashed(2, 3), columns={"id": [1, 2], "x": ["p", None]})
    return path


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "columns is"),
        ("id", "columns is"),
        ({"id": 1}, "columns is"),
        (None, "must both be there"),
        ([5, "x"], "5, not a str"),
        ([["id"], "x"], "not a str"),
        (["id", "id"], "two columns have the name 'id'"),
        (["", "x"], "is empty"),
        (["text", "x"], "cannot be called 'text'"),
        (["\ud800", "x"], "half of a surrogate"),
        ([f"c{i}" for i in range(10_001)], "columns is"),
    ],
)
def test_hostile_names_of_columns_are_refused(columns, names, message):
    data = next(columns.rglob("columns.jsonl")).read_bytes()
    with_columns(columns, data, columns=names)
    for act in (Index.open, Vocabulary.open, files.read, verify):
        with pytest.raises(FileError, match=message) as caught:
            act(columns)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 lines for 2 vectors"),
        (b"\n", "0 lines for 2 vectors"),
        (b'{"id": 1, "x": 2}\n', "1 lines for 2 vectors"),
        (b'{"id": 1, "x": 2}\n' * 3, "3 lines for 2 vectors"),
        (b'{"id": 1, "x": 2}\n\n', "row 1: not JSON"),
        (b'{"id": 1, "x": 2}\n{"id": 1}\n', "row 1: not an object with exactly the keys 'id', 'x'"),
        (b'{"id": 1, "x": 2}\n{"id": 1, "x": 2, "y": 3}\n', "row 1: not an object"),
        (b'{"id": 1, "x": 2}\n{"id": 1, "y": 2}\n', "row 1: not an object"),
        (b'{"id": 1, "x": 2}\n[1, 2]\n', "row 1: not an object"),
        (b'{"id": 1, "x": 2}\n5\n', "row 1: not an object"),
        (b'{"id": 1, "x": 2}, {"id": 1, "x": 2}\n', "row 0: not JSON"),
        (b'{"id": 1, "x": 2}\n{"id": 1, "x": [2]}\n', "row 1: 'x' is a list, not one value"),
        (b'{"id": {"a": 1}, "x": 2}\n{"id": 1, "x": 2}\n', "row 0: 'id' is a dict"),
        (b'{"id": 1, "x": 2}\n{"id": NaN, "x": 2}\n', "row 1: not JSON .NaN"),
        (b'{"id": 1, "x": 2}\n{"id": -Infinity, "x": 2}\n', "row 1: not JSON .-Infinity"),
        (b'{"id": 1, "x": 2}\n{"id": ' + b"9" * 5000 + b', "x": 2}\n', "row 1: not JSON"),
        (b'{"id": 1, "x": 2}\n' + b'{"id":' * 100_000 + b"\n", "row 1: not JSON"),
        (b'{"id": 1, "x": 2}\n{"id": 1, "x": "\xff"}\n', "row 1: not JSON"),
        (b'{"id": 1, "x":\n2}\n', "row 0: not JSON"),
    ],
)
def test_hostile_columns_are_refused_though_all_checksums_agree(columns, data, message):
    with_columns(columns, data)
    assert files.read(columns).words == ("a", "b")
    for act in (
        lambda path: files.read(path).columns["id"],
        lambda path: files.read(path).columns["x"],
        verify,
    ):
        with pytest.raises(FileError, match=message) as caught:
            act(columns)
        assert "columns.jsonl" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 700


def test_columns_that_other_programs_wrote_are_read(columns):
    with_columns(columns, b'{"x":"\\u0061","id":1e999}\r\n {"id": true, "x": null} ')
    assert dict(files.read(columns).columns) == {"id": (float("inf"), True), "x": ("a", None)}


@pytest.fixture(scope="module")
def made_of_parts(tmp_path_factory):
    """A folder with three parts, words, closed rows and numbers that do not rise by one."""
    path, words = tmp_path_factory.mktemp("parts") / "index", tuple(f"w{i}" for i in range(100))
    index = Index(hashed(100, 70))
    indexed.save(path, index, words)
    index.add(hashed(10, 70, 1))
    words += tuple("abcdefghij")
    indexed.save(path, index, words)
    index.replace([2, 0, 101], hashed(3, 70, 2))
    index.remove([50])
    indexed.save(path, index, words)
    return path


@pytest.fixture
def in_parts(made_of_parts, tmp_path):
    return Path(shutil.copytree(made_of_parts, tmp_path / "index"))


OPENING = (Index.open, Vocabulary.open, files.read, verify, lambda path: Index.open(path, vectors="memory"))


def refused(path, message):
    for act in OPENING:
        with pytest.raises(FileError, match=message) as caught:
            act(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def with_part(real, at, **changed):
    listed = list(real["parts"])
    listed[at] = {**listed[at], **changed}
    return {**real, "parts": listed}


def test_every_value_of_a_manifest_with_parts_is_checked(in_parts):
    path = in_parts / "index.json"
    real = json.loads(path.read_text())
    assert [part["rows"] for part in real["parts"]] == [100, 10, 3]
    assert ["first" in part for part in real["parts"]] == [True, True, False]
    cases = [
        ({"version": 1}, "it must have"),
        ({"version": 2}, "it must have"),
        ({"more": 1}, "it must have"),
        ({"folder": "0123abcd"}, "it must have"),
        *(({"top": value}, "top is") for value in (-1, 1.0, True, None, "110", HUGE)),
        ({"top": 109}, r"first of parts\[1\] is 100"),
        *(({"origin": value}, "origin is") for value in ("../x", "", None, 5, "3f9a11c2\n")),
        *(({"parts": value}, "parts is") for value in ([], None, {}, 3, [{}] * 257)),
        ({"parts": [5]}, r"parts\[0\] must have"),
        ({"parts": [{}]}, r"parts\[0\] must have"),
        ({"rows": 112}, "rows is 112, but the parts have 113"),
        ({"rows": HUGE}, "rows is 1000"),
        ({"dims": 71}, r"parts\[0\]: shape of vectors"),
        ({"columns": ["id"]}, "columns and columns.jsonl must both be there"),
        ({"closed": None}, "closed is null"),
        ({"closed": {}}, "closed is"),
        ({"closed": [1]}, "closed is"),
    ]
    parts_changed = [
        *({"folder": value} for value in ("../outside", "/etc", ".", None, 5, real["parts"][0]["folder"])),
        *({"rows": value} for value in (-1, 0, True, None, 9, 11, "10", HUGE)),
        *({"first": value} for value in (-1, 101, True, None, "100", 1.0, HUGE)),
        *({"files": value} for value in ([], None, {}, real["parts"][0]["files"], real["parts"][2]["files"])),
        {"more": 1},
    ]
    cases += [(with_part(real, 1, **changed), "part") for changed in parts_changed]
    for name, entry in real["parts"][2]["files"].items():
        listed = {**real["parts"][2]["files"]}
        others = {key: value for key, value in listed.items() if key != name}
        several = [{"sha256": "0"}, {"bytes": -1}, {"bytes": None}, {"more": 1}]
        if "shape" in entry:
            several += [{"dtype": "|O"}, {"shape": [4]}, {"shape": [HUGE]}, {"offset": 1}, {"bytes": 5}]
        cases += [(with_part(real, 2, files={**listed, name: {**entry, **one}}), name) for one in several]
        missing = r"labels\.jsonl must be in all" if name == "labels.jsonl" else "files must be"
        cases.append((with_part(real, 2, files=others), missing))
        cases.append((with_part(real, 2, files={**others, f"../{name}": entry}), "files must be"))
    closed = real["closed"]
    for changed in (
        *({"folder": value} for value in ("../outside", None, 5)),
        *({"shape": value} for value in ([], [0], [16], [True], None, [HUGE], [7, 1], "7")),
        *({"dtype": "|b1"}, {"offset": 0}, {"bytes": 1}, {"sha256": None}, {"more": 1}),
    ):
        cases.append(({"closed": {**closed, **changed}}, "closed"))
    for name in closed:
        cases.append(({"closed": {key: value for key, value in closed.items() if key != name}}, "closed"))
    for changed, message in cases:
        path.write_text(json.dumps(sealed({**real, **changed})))
        refused(in_parts, message)
    for name in set(real) - {"sha256", "closed"}:
        path.write_text(json.dumps(sealed({key: value for key, value in real.items() if key != name})))
        refused(in_parts, "it must have|version null|another program")
    path.write_text(json.dumps(real))
    verify(in_parts)


def resealed_part(path, at, name, array):
    """Replace an array of a part, or closed.npy, and make index.json agree."""
    real = json.loads((path / "index.json").read_text())
    home = real["closed"] if name == "closed" else real["parts"][at]
    file = path / home["folder"] / f"{name}.npy"
    np.save(file, array)
    data = file.read_bytes()
    entry = {
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "offset": len(data) - array.nbytes,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    if name == "closed":
        home |= entry
    else:
        home["files"][f"{name}.npy"] = entry
    (path / "index.json").write_text(json.dumps(sealed(real)))


@pytest.mark.parametrize(
    ("at", "name", "array", "message"),
    [
        (2, "numbers", np.array([2, 0, -1]), "number that is not that of a row"),
        (2, "numbers", np.array([2, 0, 110]), "number that is not that of a row"),
        (2, "numbers", np.array([2, 0, np.iinfo(np.int64).max]), "number that is not that of a row"),
        (2, "numbers", np.array([2, 2, 101]), "two rows have the same number"),
        (2, "numbers", np.array([2, 0, 7]), "two rows have the same number"),
        (2, "numbers", np.array([2, 0], np.int64), "shape of numbers"),
        (2, "numbers", np.array([2, 0, 101], np.int32), "dtype of numbers"),
        (0, "closed", np.array([0, 0], np.uint8), "does not end with a row of the Index"),
        (0, "closed", np.full(15, 255, np.uint8), "does not end with a row of the Index"),
        (0, "closed", np.full(16, 1, np.uint8), "shape of closed"),
        (2, "scale", np.array([1, -1, 1], np.float32), r"scale\.npy: holds a value below 0"),
        (1, "norm", np.full(10, np.nan), r"norm\.npy: holds a value below 0"),
    ],
)
def test_hostile_arrays_of_parts_are_refused(in_parts, at, name, array, message):
    resealed_part(in_parts, at, name, array)
    for act in (Index.open, lambda path: Index.open(path, vectors="memory")):
        with pytest.raises(FileError, match=message):
            act(in_parts)


def test_numbers_for_which_memory_does_not_suffice_are_refused(in_parts):
    real = json.loads((in_parts / "index.json").read_text())
    (in_parts / "index.json").write_text(json.dumps(sealed({**real, "top": 1 << 40})))
    with pytest.raises(FileError, match="for which memory does not suffice"):
        Index.open(in_parts)


def test_damage_to_any_part_is_found(in_parts):
    for path in sorted(path for path in in_parts.rglob("*") if path.is_file()):
        data = path.read_bytes()
        path.write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
        with pytest.raises(FileError, match=path.name):
            verify(in_parts)
        path.write_bytes(data + b"\0" if path.name != "index.json" else data[:-2])
        with pytest.raises(FileError, match=path.name):
            Index.open(in_parts)
        path.unlink()
        with pytest.raises(FileError, match=r"missing|holds no index\.json"):
            Index.open(in_parts)
        path.write_bytes(data)
    verify(in_parts)


if __name__ == "__main__":
    os.fsync = lambda _descriptor: None
    hostile_arrays(Path(sys.argv[1]))
    hostile_screens(Path(sys.argv[1]))
    hostile_directions(Path(sys.argv[1]))
