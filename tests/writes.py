"""Every kind of write, in a small form: what is there before, the call, and what is there then.

Each takes an empty folder, and returns two functions: ``act`` writes, and does nothing more if it was done
already; ``look`` reads all that is there, and raises if any of it is damaged.
"""

import re

import numpy as np
from data import hashed

from fastvec import Index, Vocabulary, files, plots
from fastvec.benchmark import record
from fastvec.files import atomic, ground_truth, vector_sets

ROWS = hashed(40, 5)
WORDS = tuple(f"word {number}" for number in range(40))
TEXT_SUFFIXES = (".vec", ".bin", ".txt")


def words_of(suffix):
    return tuple(word.replace(" ", "_") for word in WORDS) if suffix in TEXT_SUFFIXES else WORDS


def index_at(path):
    """What an Index folder holds, or None; each byte is compared with its checksum."""
    if not path.exists():
        return None
    files.verify(path)
    index = Index.open(path, vectors="memory")
    found = index.search(ROWS[:3], 50)
    return index.numbers.tolist(), index.vectors.tobytes(), found.indices.tobytes(), found.scores.tobytes()


def labeled_at(path):
    """What a file of words and vectors holds, or None."""
    if not path.exists():
        return None
    read = files.read(path, repeated=True)
    return read.words, read.vectors.tobytes(), dict(read.metadata), {**read.columns}


def first_save(folder):
    return lambda: Index(ROWS[:20]).save(folder / "index"), lambda: index_at(folder / "index")


def first_save_below_new_folders(folder):
    path = folder / "new" / "folders" / "index"
    return lambda: Index(ROWS[:20]).save(path), lambda: index_at(path)


def save_over_another(folder):
    path = folder / "index"
    Index(ROWS[20:]).save(path)
    return lambda: Index(ROWS[:20], screen="off").save(path), lambda: index_at(path)


def changes(path, change):
    """Open, change once only, save."""

    def act():
        index = Index.open(path)
        if index.numbers.tolist() == before:
            change(index)
        index.save(path)

    index = Index(ROWS[:20])
    index.save(path)
    index.add(ROWS[20:23])
    index.remove([2, 21])
    index.save(path)
    before = index.numbers.tolist()
    return act, lambda: index_at(path)


def save_of_added_rows(folder):
    return changes(folder / "index", lambda index: index.add(ROWS[30:31]))


def save_of_so_many_rows_that_parts_are_joined(folder):
    return changes(folder / "index", lambda index: index.add(ROWS[5:]))


def save_of_removed_rows(folder):
    return changes(folder / "index", lambda index: index.remove([1, 7]))


def save_of_replaced_rows(folder):
    return changes(folder / "index", lambda index: (index.replace([3, 22], ROWS[30:32]), index.add(ROWS[:1])))


def save_of_a_compacted_index(folder):
    return changes(folder / "index", lambda index: index.compact())


def save_of_words(folder):
    path = folder / "index"
    Vocabulary(WORDS[:10], ROWS[:10]).save(path)

    def act():
        opened = Vocabulary.open(path)
        opened.replace(WORDS[8:12], ROWS[20:24])
        opened.save(path)

    return act, lambda: labeled_at(path)


def file_of(suffix, metadata=None, before=None):
    """A file that is replaced."""

    def case(folder):
        path, words = folder / f"file{suffix}", words_of(suffix)
        files.write(path, words[:3], ROWS[:3], **({"metadata": before} if before else {}))
        more = {"metadata": metadata} if metadata else {}
        return lambda: files.write(path, words[1:9], ROWS[1:9], **more), lambda: labeled_at(path)

    case.__name__ = f"a {suffix} file" + " and metadata" * bool(metadata or before)
    return case


def new_file_of(suffix):
    def case(folder):
        path, words = folder / f"file{suffix}", words_of(suffix)
        return lambda: files.write(path, words[1:9], ROWS[1:9]), lambda: labeled_at(path)

    case.__name__ = f"a new {suffix} file"
    return case


def build(folder):
    """It is repeated if it failed when the folder had its name already, as ``build.json`` shows."""
    path = folder / "index"

    def act():
        if not path.exists() or (path / "build.json").exists():
            Index.build(iter([ROWS[:15], ROWS[15:30], ROWS[30:]]), path)

    return act, lambda: index_at(path)


def table_of(suffix):
    """A file with further columns, which is replaced."""

    def case(folder):
        path = folder / f"table{suffix}"

        def write(first, last):
            columns = {"id": range(first, last), "name": [f"{number} é" for number in range(first, last)]}
            files.write(path, WORDS[first:last], ROWS[first:last], columns=columns, metadata={"model": "m"})

        write(0, 3)
        return lambda: write(1, 9), lambda: labeled_at(path)

    case.__name__ = f"a {suffix} file with columns"
    return case


def right_answers(suffix):
    """Right answers, of which a file beside the first may be where a killed write left it."""

    def case(folder):
        path = folder / f"answers{suffix}"

        def write(first):
            numbers = np.arange(first, first + 60).reshape(12, 5)
            ground_truth.write(path, numbers, np.linspace(1, first, 60).reshape(12, 5), "dot")

        def look():
            main, *beside = ground_truth.parts(path)
            found = [np.asarray(vector_sets.read(main, role="answers")[:]).tolist()]
            if suffix == ".hdf5":
                found.append(np.asarray(vector_sets.read(main, role="scores")[:]).tolist())
            for other in beside:
                found.append((other if other.exists() else atomic.left_over(other, main)).read_bytes())
            return found

        write(2)
        return lambda: write(7), look

    case.__name__ = f"right answers in {suffix}"
    return case


def records_of_a_benchmark(folder):
    path = folder / "records.jsonl"
    record.write(path, [{"format": 1, "case": "old"}])
    new = [{"format": 1, "case": f"new {number}"} for number in range(50)]
    return lambda: record.write(path, new), lambda: record.read(path)


def picture(folder):
    path = folder / "picture.svg"
    plots.save(path, lambda axes: None, (1, 1))
    return lambda: plots.save(path, lambda axes: axes.set_axis_off(), (1, 1)), path.read_bytes


CASES = {
    case.__name__.replace("_", " "): case
    for case in (
        first_save,
        first_save_below_new_folders,
        save_over_another,
        save_of_added_rows,
        save_of_so_many_rows_that_parts_are_joined,
        save_of_removed_rows,
        save_of_replaced_rows,
        save_of_a_compacted_index,
        save_of_words,
        build,
        *(file_of(suffix) for suffix in (".npy", ".arrow", ".parquet", *TEXT_SUFFIXES)),
        *(new_file_of(suffix) for suffix in (".npy", ".arrow")),
        file_of(".npy", {"model": "new"}, {"model": "old"}),
        file_of(".npy", None, {"model": "old"}),
        picture,
        records_of_a_benchmark,
        table_of(".parquet"),
        *(right_answers(suffix) for suffix in (".hdf5", ".ibin", ".ivecs")),
    )
}


def names_in(folder):
    """The names below a folder; those that are given by chance are alike."""
    return sorted(
        re.sub(r"\b[0-9a-f]{8}\b", "…", str(path.relative_to(folder))) for path in folder.rglob("*")
    )
