"""Saves to the folder that an Index came from: they write only what changed, whole or not at all."""

import errno
import itertools
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from assertions import assert_same_bits, assert_same_topk
from data import hashed, sharing
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from test_folder import killed_at, tree, version_of

from fastvec import Index, Vocabulary, files, knn
from fastvec.files import FileError, folder, indexed, manifest, verify

THIS = Path(__file__)


def rows_of(path):
    """The number of rows of each part."""
    return [part.rows for part in manifest.read(path).parts]


def sizes(path):
    """The size of every file, by its name and number, so that a file that was written anew is another."""
    files_ = [entry for entry in path.rglob("*") if entry.is_file()]
    return {
        (str(entry), entry.stat().st_ino, entry.stat().st_mtime_ns): entry.stat().st_size for entry in files_
    }


def written(path, act):
    """The bytes in files that are new or changed after ``act``."""
    before = sizes(path)
    act()
    return sum(size for name, size in sizes(path).items() if name not in before)


@pytest.fixture
def place(tmp_path):
    """A folder with an Index of 3,000 rows."""
    Index(hashed(3000, 70)).save(tmp_path / "index")
    return tmp_path / "index"


class TestCost:
    """What a save writes is in proportion to the change."""

    def test_an_addition(self, place):
        opened = Index.open(place)
        total = sum(sizes(place).values())
        assert total > 1_000_000
        for rows in (1, 3, 1):
            opened.add(hashed(rows, 70, 1))
            assert written(place, lambda: opened.save(place)) < 30_000
        assert rows_of(place) == [3000, 4, 1]
        assert written(place, lambda: opened.save(place)) == 0
        assert_same_bits(Index.open(place).vectors, opened.vectors)

    def test_a_removal(self, place):
        opened = Index.open(place)
        opened.remove([5])
        assert written(place, lambda: opened.save(place)) < 10_000
        assert rows_of(place) == [3000]
        opened.remove([7, 2999])
        assert written(place, lambda: opened.save(place)) < 10_000
        again = Index.open(place)
        assert len(again) == 2997
        assert_same_bits(again.numbers, opened.numbers)
        verify(place)
        assert len({entry.parent for entry in place.rglob("*.npy")}) == 2  # the part, and closed.npy

    def test_words_of_rows(self, place):
        """They go with the rows, in the order of the numbers, and may repeat."""
        opened = Index.open(place)
        words = [f"text {number % 2500}" for number in range(3000)]
        opened.save(place, words=words)
        assert written(place, lambda: opened.save(place, words=words)) == 0
        opened.add(hashed(2, 70, 1))
        opened.replace([7], hashed(1, 70, 2))
        opened.remove([3, 3000])
        words = [word for number, word in enumerate([*words, "gone", "new"]) if number not in (3, 3000)]
        assert 0 < written(place, lambda: opened.save(place, words=words)) < 30_000
        labeled = files.read(place, repeated=True)
        assert labeled.words == tuple(words)
        assert_same_bits(labeled.vectors, opened.vectors)
        again = labeled.living_index()
        assert_same_bits(again.numbers, opened.numbers)
        words[6] = "changed"  # of row 7, which is in the last part
        assert 0 < written(place, lambda: again.save(place, words=words)) < 30_000
        assert files.read(place, repeated=True).words == tuple(words)
        with pytest.raises(ValueError, match="words and rows differ in number: 2999 and 3000"):
            again.save(place, words=words[:-1])
        with pytest.raises(ValueError, match=r"words\[1\] is empty"):
            again.save(place, words=["a", "", *words[2:]])
        with pytest.raises(TypeError, match=r"words\[0\] is a int, not a str"):
            again.save(place, words=range(3000))
        assert written(place, lambda: again.save(place)) > 0  # without words
        assert_same_bits(Index.open(place).vectors, opened.vectors)

    def test_a_replacement(self, place):
        opened = Index.open(place)
        opened.replace([17], hashed(1, 70, 1))
        assert written(place, lambda: opened.save(place)) < 30_000
        again = Index.open(place)
        assert_same_bits(again.vectors, opened.vectors)
        assert_same_topk(again.search(hashed(4, 70, 2), 3000), opened.search(hashed(4, 70, 2), 3000))

    def test_of_many_saves_a_row_is_written_few_times(self, place):
        opened, bytes_written = Index.open(place), 0
        for row in range(30):
            opened.add(hashed(1, 70, row))
            bytes_written += written(place, lambda: opened.save(place))
            now = rows_of(place)
            assert all(a > 2 * b for a, b in itertools.pairwise(now))
        assert rows_of(place)[0] == 3000
        codes = 30 * (70 * 4 + 128 + 16)
        assert bytes_written - 30 * 25_000 < 6 * codes
        assert len(os.listdir(place)) == len(rows_of(place)) + 1

    def test_more_than_half_as_many_rows_are_one_part_with_the_others(self, place):
        opened = Index.open(place)
        opened.add(hashed(1499, 70, 1))
        opened.save(place)
        assert rows_of(place) == [3000, 1499]
        opened.add(hashed(2250, 70, 1))
        opened.save(place)
        assert rows_of(place) == [6749]
        assert_same_bits(Index.open(place).vectors, opened.vectors)

    def test_unchanged_files_are_not_read(self, place, monkeypatch):
        opened = Index.open(place)
        opened.add(hashed(1, 70, 1))
        for path in place.glob("*/vectors.npy"):
            path.chmod(0)
        monkeypatch.setattr(np, "concatenate", None)
        opened.save(place)

    def test_an_index_that_was_made_here(self, tmp_path):
        index = Index(hashed(500, 70))
        index.add(hashed(100, 70, 1))
        index.save(tmp_path / "index")
        index.add(hashed(2, 70, 2))
        index.save(tmp_path / "index")
        index.save(tmp_path / "copy")
        index.add(hashed(1, 70, 3))
        index.save(tmp_path / "index")
        assert rows_of(tmp_path / "index") == [600, 3]
        assert rows_of(tmp_path / "copy") == [602]
        assert version_of(tmp_path / "copy") == 1
        index.save(tmp_path / "copy")
        assert rows_of(tmp_path / "copy") == [602, 1]

    def test_words(self, tmp_path):
        path, words = tmp_path / "index", tuple(f"w{i}" for i in range(1000))
        index = Index(hashed(1000, 70))
        indexed.save(path, index, words, {"model": "m"})
        index.add(hashed(2, 70, 1))
        words += ("new", "ä\n")
        assert written(path, lambda: indexed.save(path, index, words, {"model": "n"})) < 30_000
        assert rows_of(path) == [1000, 2]
        assert Vocabulary.open(path).words == words
        assert Vocabulary.open(path).metadata == {"model": "n"}
        indexed.save(path, index, ("other", *words[1:]))
        assert rows_of(path) == [1002]
        assert Vocabulary.open(path).words == ("other", *words[1:])
        index.save(path)  # without words
        with pytest.raises(FileError, match="without words"):
            Vocabulary.open(path).words  # noqa: B018

    def test_metadata_alone(self, tmp_path):
        path, index = tmp_path / "index", Index(hashed(1000, 70))
        words = tuple(f"w{i}" for i in range(1000))
        indexed.save(path, index, words)
        assert written(path, lambda: indexed.save(path, index, words, {"model": "n"})) < 5_000
        assert Vocabulary.open(path).metadata == {"model": "n"}

    def test_columns_are_written_whole(self, tmp_path):
        path = tmp_path / "index"
        files.write(path, ["a", "b"], hashed(2, 3), columns={"id": [1, 2]})
        opened = Index.open(path)
        opened.add(hashed(1, 3, 1))
        opened.save(path)
        assert rows_of(path) == [3]
        assert not files.read(path).columns


def test_numbers_that_are_irregular_only_at_the_first_row_come_back(tmp_path):
    path = tmp_path / "index"
    Index(hashed(10, 3)).save(path)
    index = Index.open(path)
    index.replace([5], hashed(1, 3, 1))
    index.save(path)
    assert Index.open(path).numbers.tolist() == [*range(10)]
    index.add(hashed(2, 3, 2))
    index.save(path)
    assert rows_of(path) == [10, 3]
    opened = Index.open(path)
    assert_same_bits(opened.numbers, index.numbers)
    assert_same_bits(opened.vectors, index.vectors)


def test_an_opened_index_verifies_which_rows_are_left(tmp_path):
    index = Index(hashed(6, 3))
    index.remove([1])
    index.save(tmp_path / "index")
    opened = Index.open(tmp_path / "index")
    opened.verify()
    (closed,) = (tmp_path / "index").rglob("closed.npy")
    closed.write_bytes(closed.read_bytes()[:-1] + b"\x04")
    with pytest.raises(FileError, match=r"closed\.npy.*not those that were saved"):
        opened.verify()


class TestOthers:
    """What two that have the same folder open see of each other."""

    def test_a_reader_goes_on_with_what_it_opened(self, place):
        reader, writer, queries = Index.open(place), Index.open(place), hashed(5, 70, 9)
        before = reader.search(queries, 7)
        first = reader._store.blocks[0]
        for count in (1, 1, 1, 40, 2000):
            writer.add(hashed(count, 70, count))
            writer.remove([int(writer.numbers[3])])
            writer.save(place)
            assert_same_topk(reader.search(queries, 7), before)
            assert reader.vectors[0, 0] == hashed(1, 70)[0, 0]
            verify(place)
        assert reader.refresh()
        assert_same_bits(reader.numbers, writer.numbers)
        assert_same_topk(reader.search(queries, 7), writer.search(queries, 7))
        assert reader._store.blocks[0] is not first  # the last save wrote all rows
        assert not reader.refresh()

    def test_refresh_uses_what_did_not_change(self, place):
        reader, writer = Index.open(place), Index.open(place)
        first = reader._store.blocks[0]
        for count in range(1, 8):
            writer.add(hashed(1, 70, count))
            writer.save(place)
            assert reader.refresh()
            assert reader._store.blocks[0] is first
            assert len(reader._store.blocks) == 2
            assert_same_bits(reader.vectors, writer.vectors)
        reader.verify()
        reader.add(hashed(1, 70))
        reader.save(place)
        assert writer.refresh()
        assert len(writer) == 3008

    def test_refresh_reads_a_part_that_has_as_many_rows_as_before(self, place):
        reader, writer = Index.open(place), Index.open(place)
        writer.replace([5], hashed(1, 70, 1))
        writer.compact()
        writer.save(place)
        assert rows_of(place) == [3000]
        assert reader.refresh()
        assert_same_bits(reader.vectors, writer.vectors)

    @pytest.mark.parametrize("vectors", ["mmap", "memory"])
    def test_many_parts_are_one_block_in_memory(self, place, vectors):
        opened = Index.open(place)
        for count in (600, 100, 20, 3):
            opened.add(hashed(count, 70, count))
            opened.save(place)
        assert rows_of(place) == [3000, 600, 100, 20, 3]
        again = Index.open(place, vectors=vectors)
        assert len(again._store.blocks) == 1
        assert again.nbytes > again.vectors.nbytes
        assert_same_bits(again.vectors, opened.vectors)
        again.verify()
        again.add(hashed(1, 70))
        again.save(place)
        assert rows_of(place) == [3000, 600, 100, 20, 4] or rows_of(place) == [3000, 600, 100, 20, 3, 1]

    def test_large_parts_stay_mapped(self, place, monkeypatch):
        monkeypatch.setattr("fastvec.files.part_arrays.SMALL_BYTES", 70 * 4 * 600)
        opened = Index.open(place)
        for count in (600, 100, 20):
            opened.add(hashed(count, 70, count))
            opened.save(place)
        again = Index.open(place)
        assert [len(block.vectors) for block in again._store.blocks] == [3000, 600, 120]
        assert [block.owned for block in again._store.blocks] == [False, False, True]
        assert_same_topk(again.search(hashed(3, 70), 4000), opened.search(hashed(3, 70), 4000))

    @pytest.mark.parametrize("again", [False, True])
    def test_what_another_saved_is_not_lost(self, place, again):
        first, second = Index.open(place), Index.open(place)
        first.add(hashed(1, 70, 1))
        first.save(place)
        if again:
            first.compact()
            first.save(place)
        second.add(hashed(2, 70, 2))
        before = tree(place)
        with pytest.raises(FileExistsError, match=r"changes would be lost; save under another name"):
            second.save(place)
        with pytest.raises(ValueError, match="changes that are not saved"):
            second.refresh()
        assert tree(place) == before
        assert len(second) == 3002
        second.save(place.parent / "other")
        assert len(Index.open(place.parent / "other")) == 3002

    def test_a_removal_alone_is_a_change_that_refreshing_would_lose(self, place):
        reader, writer = Index.open(place), Index.open(place)
        reader.remove([3])
        writer.add(hashed(1, 70, 1))
        writer.save(place)
        with pytest.raises(ValueError, match="changes that are not saved"):
            reader.refresh()
        assert reader.numbers.tolist() == [number for number in range(3000) if number != 3]

    def test_the_maker_of_a_folder_does_not_undo_what_others_added(self, tmp_path):
        maker = Index(hashed(10, 3))
        maker.save(tmp_path / "index")
        other = Index.open(tmp_path / "index")
        other.add(hashed(10, 3, 1))  # written whole: no part is that of the maker
        other.save(tmp_path / "index")
        maker.add(hashed(1, 3))
        with pytest.raises(FileExistsError, match="would be lost"):
            maker.save(tmp_path / "index")

    @pytest.mark.parametrize("saves", [0, 1])
    def test_an_index_in_the_place_of_the_opened_one_is_not_lost(self, tmp_path, saves):
        path = tmp_path / "index"
        maker = Index(hashed(10, 3))
        maker.save(path)
        opened, in_memory = Index.open(path), Index.open(path, vectors="memory")
        for _ in range(saves):
            opened.add(hashed(1, 3, 1))
            opened.save(path)
        Index(hashed(4, 3, 2)).save(path)
        opened.add(hashed(1, 3, 3))
        with pytest.raises(FileExistsError, match="would be lost"):
            opened.save(path)
        assert in_memory.refresh()
        assert [block.owned for block in in_memory._store.blocks] == [True]
        maker.save(path)  # which opened nothing, and replaces what is there
        assert len(Index.open(path)) == 10

    @pytest.mark.parametrize("replaced", [False, True])
    def test_a_save_can_be_repeated_whichever_state_it_left(self, tmp_path, monkeypatch, replaced):
        path = tmp_path / "index"
        Index(hashed(10, 3)).save(path)
        opened, put = Index.open(path), folder.put
        opened.add(hashed(2, 3, 1))

        def fail(made, target):
            if replaced:
                put(made, target)
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(folder, "put", fail)
        with pytest.raises(OSError, match="Input/output error"):
            opened.save(path)
        monkeypatch.setattr(folder, "put", put)
        assert len(Index.open(path)) == (12 if replaced else 10)
        opened.add(hashed(1, 3, 2))
        opened.save(path)
        other = Index.open(path)
        assert_same_bits(other.vectors, opened.vectors)
        other.remove([0])
        other.save(path)
        assert opened.refresh()  # nothing of its own is unsaved
        assert opened.numbers.tolist() == [*range(1, 13)]

    def test_another_index_replaces_the_whole(self, place):
        opened, made = Index.open(place), Index(hashed(4, 70))
        made.save(place)
        assert rows_of(place) == [4]
        assert version_of(place) == 1
        assert opened.refresh()
        assert len(opened) == 4
        maker = Index(hashed(5, 70))
        for one in (maker, made, maker):  # neither came of the other
            one.save(place)
            assert len(Index.open(place)) == len(one)

    def test_refresh_needs_a_folder(self):
        with pytest.raises(ValueError, match="neither opened from a folder nor saved"):
            Index(hashed(2, 3)).refresh()

    def test_a_folder_that_is_gone_is_written_whole(self, place):
        opened = Index.open(place)
        opened.add(hashed(1, 70))
        shutil.rmtree(place)
        opened.save(place)
        assert rows_of(place) == [3001]

    def test_a_part_whose_files_are_not_there_is_written_anew(self, place):
        index = Index(hashed(400, 70))
        index.save(place)
        next(place.glob("*/codes.npy")).unlink()
        index.save(place)
        verify(place)
        assert len(Index.open(place)) == 400

    def test_verify_compares_the_files_of_the_last_save(self, place):
        opened = Index.open(place)
        for count in (3, 1, 2000):
            opened.add(hashed(count, 70))
            opened.save(place)
            opened.verify()
        path = next(place.glob("*/scale.npy"))
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        with pytest.raises(FileError, match=r"scale\.npy"):
            opened.verify()

    def test_another_process(self, place, run_python):
        reader = Index.open(place)
        code = """
import sys, numpy as np, fastvec
index = fastvec.Index.open(sys.argv[1])
index.add(np.ones((2, 70)))
index.remove(0)
index.save(sys.argv[1])
"""
        result = run_python("-c", code, place)
        assert result.returncode == 0, result.stderr
        assert len(reader) == 3000
        assert reader.refresh()
        assert reader.numbers.tolist() == list(range(1, 3002))
        assert reader.search(np.ones(70), 2).indices.tolist() == [3000, 3001]


@pytest.mark.parametrize(
    "made",
    [
        lambda: Index(hashed(300, 70)),
        lambda: Index(hashed(300, 70), metric="euclidean"),
        lambda: Index(hashed(300, 197), screen=192),
        lambda: Index(hashed(300, 70), screen=64),
        lambda: Index(sharing(300, 130)),
    ],
    ids=["plain", "euclidean", "leading codes", "screen", "direction"],
)
def test_older_folders_can_be_saved_to(tmp_path, made):
    path, index = tmp_path / "index", made()
    index.save(path)
    assert version_of(path) in (1, 2)
    opened, more = Index.open(path), sharing(9, index.dims, 5)
    opened.add(more)
    opened.save(path)
    assert rows_of(path) == [300, 9]
    assert version_of(path) == 3
    verify(path)
    for mode in ("mmap", "memory"):
        again = Index.open(path, vectors=mode)
        assert (again.screen, again.nbytes > 0) == (index.screen, True)
        again.verify()
        rows = np.concatenate([index.vectors, more])
        for m in (1, 40):
            queries = hashed(m, index.dims, 3)
            assert_same_topk(again.search(queries, 7), knn(queries, rows, 7, metric=index.metric))
    again.remove(np.arange(290))
    again.save(path)
    assert_same_topk(Index.open(path).search(queries, 30), again.search(queries, 30))
    again.compact()
    again.save(path)
    assert rows_of(path) == [19]
    assert_same_bits(Index.open(path).vectors, rows[290:])


def test_an_empty_index_grows(tmp_path):
    path = tmp_path / "index"
    index = Index(np.empty((0, 5), np.float32))
    for count in (0, 1, 4, 0, 2):
        index.add(hashed(count, 5, count))
        index.save(path)
        verify(path)
        assert_same_bits(Index.open(path).vectors, index.vectors)
    index.remove(np.arange(7))
    index.save(path)
    assert len(Index.open(path)) == 0
    assert files.read(path).vectors.shape == (0, 5)


def test_files_read_the_rows_left_in_the_order_of_their_numbers(tmp_path):
    path, words = tmp_path / "index", tuple("abcdefgh")
    index = Index(hashed(8, 5))
    indexed.save(path, index, words)
    index.replace([2], hashed(1, 5, 1))
    index.remove([0, 5])
    assert written(path, lambda: indexed.save(path, index, words)) < 10_000
    assert rows_of(path) == [8, 1]
    read = files.read(path, repeated=True)
    assert read.words == ("b", "c", "d", "e", "g", "h")
    assert_same_bits(read.vectors, index.vectors)
    inside = read.index()
    assert_same_bits(inside.vectors, index.vectors)
    assert inside.search(hashed(1, 5, 1)[0], 1).indices.tolist() == [1]
    assert files.read(path, limit=2, repeated=True).words == ("b", "c")


class TestVocabulary:
    """Words of rows that are added, replaced and removed, text or integers."""

    @pytest.fixture(params=[str, int])
    def word(self, request):
        return (lambda n: f"w{n}") if request.param is str else (lambda n: n * 10**15)

    def test_only_what_changed_is_written(self, tmp_path, word):
        path, known = tmp_path / "index", {word(n): row for n, row in enumerate(hashed(2000, 70))}
        Vocabulary(list(known), list(known.values())).save(path)
        opened = None
        for turn in range(4):
            if turn % 2 == 0:
                opened = Vocabulary.open(path)
            new, other, gone = word(5000 + turn), word(turn), word(100 + turn)
            opened.add([new], hashed(1, 70, turn + 1))
            opened.replace([other, word(7000 + turn)], hashed(2, 70, turn + 9))
            opened.remove([gone])
            known |= {new: hashed(1, 70, turn + 1)[0]}
            known |= dict(zip([other, word(7000 + turn)], hashed(2, 70, turn + 9), strict=True))
            del known[gone]
            assert written(path, lambda: opened.save(path)) < 40_000  # noqa: B023
            for found in (opened, Vocabulary.open(path)):
                assert found.words == tuple(known)
                assert_same_bits(found.vectors, np.array(list(known.values())))
                assert found.most_similar(new, k=1) == opened.most_similar(new, k=1)
            verify(path)
        assert rows_of(path)[0] == 2000
        again = Vocabulary.open(path)
        assert again.index.search(known[other], 1).indices.tolist() == [list(known).index(other)]
        again.save(path)  # numbered anew
        assert Vocabulary.open(path).words == tuple(known)

    def test_refresh(self, tmp_path, word):
        path = tmp_path / "index"
        Vocabulary([word(0), word(1), word(2)], hashed(3, 5)).save(path)
        reader, writer = Vocabulary.open(path), Vocabulary.open(path)
        assert reader.words == (word(0), word(1), word(2))
        assert not reader.refresh()
        writer.remove([word(1)])
        writer.add([word(3)], hashed(1, 5, 1))
        writer._metadata["model"] = "m"
        writer.save(path)
        assert reader.words == (word(0), word(1), word(2))
        assert reader.refresh()
        assert reader.metadata == {"model": "m"}
        assert reader.words == writer.words == (word(0), word(2), word(3))
        assert_same_bits(reader.vectors, writer.vectors)
        reader.add([word(4)], hashed(1, 5, 2))
        reader.save(path)
        writer.add([word(5)], hashed(1, 5, 3))
        with pytest.raises(FileExistsError, match="would be lost"):
            writer.save(path)
        with pytest.raises(ValueError, match="changes that are not saved"):
            writer.refresh()
        assert writer.words == (word(0), word(2), word(3), word(5))
        with pytest.raises(TypeError, match="belong to a Vocabulary; refresh that"):
            writer.index.refresh()
        Index(hashed(2, 5)).save(path)
        with pytest.raises(FileError, match="without words"):
            reader.refresh()
        assert reader.words == (word(0), word(2), word(3), word(4))


class Machine(RuleBasedStateMachine):
    """An Index and its folder against dictionaries that do the same."""

    def __init__(self):
        super().__init__()
        self.path = Path(tempfile.mkdtemp()) / "index"
        self.index, self.top, self.seed = Index(hashed(5, 3)), 5, 5
        self.rows = dict(enumerate(hashed(5, 3)))
        self.saved, self.reader = None, None

    def teardown(self):
        shutil.rmtree(self.path.parent)

    @rule(count=st.integers(1, 30))
    def add(self, count):
        self.seed += 1
        rows = hashed(count, 3, self.seed)
        self.index.add(rows)
        self.rows |= {self.top + at: row for at, row in enumerate(rows)}
        self.top += count

    @rule(data=st.data())
    def remove(self, data):
        some = data.draw(st.lists(st.sampled_from(sorted(self.rows)), unique=True)) if self.rows else []
        self.index.remove(np.array(some, np.int64))
        for number in some:
            del self.rows[number]

    @rule(data=st.data())
    def replace(self, data):
        some = data.draw(st.lists(st.sampled_from(sorted(self.rows)), unique=True)) if self.rows else []
        self.seed += 1
        rows = hashed(len(some), 3, self.seed)
        self.index.replace(np.array(some, np.int64), rows)
        self.rows |= dict(zip(some, rows, strict=True))

    @rule()
    def compact(self):
        old = self.index.compact()
        assert old.tolist() == sorted(self.rows)
        self.rows = {at: self.rows[number] for at, number in enumerate(old.tolist())}
        self.top = len(self.rows) if len(old) < self.top else self.top

    @rule()
    def save(self):
        self.index.save(self.path)
        self.saved = dict(self.rows), self.top
        same(Index.open(self.path), self.rows)

    @rule(step=st.integers(0, 12))
    def interrupted(self, step):
        """A save of which one step fails: the old state or the new is left, and the next save succeeds."""
        left = [step]

        def failing(real):
            def call(*arguments, **options):
                left[0] -= 1
                if left[0] == -1:
                    raise KeyboardInterrupt
                return real(*arguments, **options)

            return call

        with pytest.MonkeyPatch.context() as patch:
            for name in ("fsync", "replace", "rename"):
                patch.setattr(os, name, failing(getattr(os, name)))
            patch.setattr(Path, "unlink", failing(Path.unlink))
            try:
                self.index.save(self.path)
            except KeyboardInterrupt:
                assert left[0] < 0
        if not self.path.exists():
            assert self.saved is None
            return
        verify(self.path)
        states = [(self.rows, self.top)] + ([self.saved] if self.saved else [])
        found = contents(Index.open(self.path))
        assert found in [{number: row.tobytes() for number, row in rows.items()} for rows, _ in states]
        if left[0] >= 0 or self.saved is None:
            self.saved = dict(self.rows), self.top
        self.save()

    @rule(vectors=st.sampled_from(["mmap", "memory"]))
    def open(self, vectors):
        if self.saved:
            self.index = Index.open(self.path, vectors=vectors)
            self.rows, self.top = dict(self.saved[0]), self.saved[1]

    @rule()
    def refresh(self):
        if self.reader is None and self.saved:
            self.reader = Index.open(self.path)
        if self.reader is not None:
            self.reader.refresh()
            assert not self.reader.refresh()
            same(self.reader, self.saved[0])

    @invariant()
    def alike(self):
        same(self.index, self.rows)
        if self.path.exists():
            assert len(os.listdir(self.path)) <= len(rows_of(self.path)) + 2


def contents(index):
    return {number: row.tobytes() for number, row in zip(index.numbers.tolist(), index.vectors, strict=True)}


def same(index, rows):
    assert contents(index) == {number: row.tobytes() for number, row in rows.items()}
    if rows:
        number = max(rows)
        assert index.search(rows[number], 1).indices[0] in [
            other for other, row in rows.items() if row.tobytes() == rows[number].tobytes()
        ]


class TestSequences(Machine.TestCase):
    settings = settings(max_examples=25, stateful_step_count=14, deadline=None)


def save_killed_at_any_line(path):
    """A save of additions and removals leaves either the old state or the new one."""
    words, rows = tuple("abcdefghij"), hashed(13, 5)
    first = Index(rows[:10])
    indexed.save(path, first, words)
    first.add(rows[10:12])
    first.remove([3])
    indexed.save(path, first, (*words, "k", "l"))
    start = path.with_name("start")
    shutil.copytree(path, start)
    seen = set()
    for step in range(5000):
        shutil.rmtree(path)
        shutil.copytree(start, path)
        index = Index.open(path)
        index.add(rows[12:])
        index.remove([11])
        status = killed_at(step, lambda: indexed.save(path, index, (*words, "k", "l", "m")))  # noqa: B023
        verify(path)
        read, again = files.read(path), Index.open(path)
        state = (tuple(again.numbers.tolist()), read.words)
        seen.add(state)
        assert_same_bits(again.vectors, rows[again.numbers])
        if status == 0:
            break
        assert status == 9
        if step % 5 == 0:  # the next save is not in the way of what was left behind
            again.add(rows[:1])
            indexed.save(
                path, again, (*(word for word in (*words, "k", "l", "m")[: again._rows.now().top - 1]), "n")
            )
            assert len(os.listdir(path)) == len(manifest.read(path).files()) + 1
    old = (tuple(n for n in range(12) if n != 3), tuple("abcefghijkl"))
    new = (tuple(n for n in range(13) if n not in (3, 11)), tuple("abcefghijkm"))
    assert seen == {old, new}
    assert state == new


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_line_the_old_or_the_new_is_left(run_python, tmp_path):
    """This runs in a separate process, which has less to copy when it forks."""
    result = run_python(THIS, tmp_path / "index")
    assert result.returncode == 0, result.stderr


if __name__ == "__main__":
    os.fsync = lambda _descriptor: None  # a kill takes nothing back that was written
    save_killed_at_any_line(Path(sys.argv[1]))
