"""Files of benchmarks: what is written is read back, and what is damaged is named."""

import sys

import numpy as np
import pytest

from fastvec.files import FileError, ground_truth, vector_sets

ROWS = np.arange(60).reshape(12, 5)


def write_records(path, rows):
    """TEXMEX, row by row."""
    with open(path, "wb") as file:
        for row in rows:
            file.write(np.array(len(row), "<i4").tobytes() + row.tobytes())


def write_counted(path, rows):
    """big-ann."""
    path.write_bytes(np.array(rows.shape, "<u4").tobytes() + rows.tobytes())


def write_hdf5(path, rows, **options):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file.create_dataset("train", data=rows, **options)
        file["test"], file["neighbors"], file["distances"] = rows[:3], rows.astype(int) + 1, rows * 0.5


WRITERS = {
    ".npy": (np.save, "<f4"),
    ".fvecs": (write_records, "<f4"),
    ".ivecs": (write_records, "<i4"),
    ".bvecs": (write_records, "u1"),
    ".fbin": (write_counted, "<f4"),
    ".u8bin": (write_counted, "u1"),
    ".i8bin": (write_counted, "i1"),
    ".ibin": (write_counted, "<i4"),
    ".hdf5": (write_hdf5, "<f4"),
    ".h5": (write_hdf5, "<f8"),
}


@pytest.fixture
def file(tmp_path):
    """Write ROWS to a file of a format."""

    def make(suffix, rows=ROWS, **options):
        write, dtype = WRITERS[suffix]
        path = tmp_path / f"rows{suffix}"
        write(path, rows.astype(dtype), **options)
        return path

    return make


def test_every_reader_is_tested():
    assert set(WRITERS) == set(vector_sets.READERS)


@pytest.mark.parametrize("suffix", WRITERS)
def test_rows_are_read_back(file, suffix):
    matrix = vector_sets.read(file(suffix))
    assert matrix.shape == ROWS.shape
    assert matrix.dtype == np.dtype(WRITERS[suffix][1])
    for rows in (slice(0, 12), slice(3, 7), slice(11, 40), slice(5, 5)):
        assert np.asarray(matrix[rows]).tolist() == ROWS[rows].tolist()


def test_large_values_are_read_as_they_are(file):
    assert vector_sets.read(file(".u8bin", ROWS + 190))[0:2].max() == 199
    assert vector_sets.read(file(".i8bin", ROWS - 100))[0:2].min() == -100
    assert vector_sets.read(file(".bvecs", ROWS + 190))[11:12].tolist() == [[245, 246, 247, 248, 249]]


def test_float32_rows_are_used_where_they_lie(file):
    for suffix in (".fvecs", ".fbin", ".npy"):
        part = vector_sets.read(file(suffix))[2:6]
        assert part.strides[1] == 4
        assert part.flags.aligned
        assert not part.flags.owndata


def test_matrices_of_an_hdf5_file(file):
    path = file(".hdf5", chunks=(4, 5), fletcher32=True)
    expected = {"vectors": ROWS, "queries": ROWS[:3], "answers": ROWS + 1, "scores": ROWS / 2}
    for role in vector_sets.ROLES:
        assert vector_sets.read(path, role)[0:12].tolist() == expected[role].tolist()


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_truncated_file_is_refused(file, suffix):
    path = file(suffix)
    whole = path.read_bytes()
    ends = range(len(whole)) if len(whole) < 600 else [*range(0, len(whole), 97), len(whole) - 1]
    for end in ends:
        if suffix in (".fvecs", ".ivecs", ".bvecs") and end and end % (len(whole) // 12) == 0:
            continue  # whole rows: nothing says how many there were
        path.write_bytes(whole[:end])
        with pytest.raises(FileError) as caught:
            vector_sets.read(path)[0:12]
        assert str(path) in str(caught.value)


def test_longer_files_are_refused(file):
    for suffix in (".fbin", ".ibin", ".bvecs"):
        path = file(suffix)
        path.write_bytes(path.read_bytes() + b"\0\0")
        with pytest.raises(FileError, match="bytes long"):
            vector_sets.read(path)


def test_a_row_of_another_length_is_named(file):
    path = file(".ivecs")
    data = bytearray(path.read_bytes())
    data[24 * 7 : 24 * 7 + 4] = (4).to_bytes(4, "little")
    path.write_bytes(data)
    matrix = vector_sets.read(path)
    assert len(matrix[0:7]) == 7
    with pytest.raises(FileError, match="row 7: 4 values, and row 0 has 5"):
        matrix[4:12]


@pytest.mark.parametrize(
    ("suffix", "content", "parts"),
    [
        (".fvecs", b"\0" * 40, ["rows of 0 values", "suffix"]),
        (".ivecs", b"\xff" * 40, ["rows of -1 values"]),
        (".bvecs", b"12345678" * 3, ["rows of 875770417 values"]),
        (".fbin", b"\xff" * 40, ["rows of 4294967295 values"]),
        (".u8bin", np.array([5, 4], "<u4").tobytes() + bytes(19), ["27 bytes", "5 rows of 4 uint8 need 28"]),
        (".ibin", np.array([1, 1], "<u4").tobytes() + bytes(12), ["need 12 or 16"]),
        (".npy", b"12345678" * 3, ["not a .npy file"]),
        (".hdf5", b"12345678" * 300, ["not an HDF5 file"]),
        (".csv", b"1,2,3", [".fvecs", "suffix"]),
    ],
)
def test_wrong_headers_are_named(tmp_path, suffix, content, parts):
    if suffix == ".hdf5":
        pytest.importorskip("h5py")
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        vector_sets.read(path)
    for part in parts:
        assert part in str(caught.value)


def test_hdf5_files_that_hold_something_else(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "other.hdf5"
    with h5py.File(path, "w") as file:
        file["train"], file["test"] = np.zeros(3), np.zeros((2, 2), complex)
        file["neighbors"] = np.zeros((2, 2))
    for role, part in (
        ("vectors", "'train' is float64 of shape (3,)"),
        ("queries", "'test' is complex128"),
        ("answers", "holds float64; answers are integers"),
        ("scores", "has no matrix 'distances'"),
    ):
        with pytest.raises(FileError) as caught:
            vector_sets.read(path, role)
        assert part in str(caught.value)


def test_hdf5_files_that_are_damaged_within(file):
    """h5py raises errors of many kinds; they become one."""
    path = file(".hdf5", chunks=(4, 5), fletcher32=True)
    data = path.read_bytes()
    messages = set()
    for at in range(0, len(data), 7):
        changed = path.with_name(f"{at}.hdf5")  # HDF5 remembers a file that is still open
        changed.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            matrix = vector_sets.read(changed)
            if matrix.shape == ROWS.shape:
                matrix[0:12]
        except FileError as error:
            messages.add(str(error).partition(" (")[0].partition(": ")[2])
    assert messages >= {"not an HDF5 file that h5py reads", "cannot be read"}


def test_without_h5py_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "x.hdf5").write_bytes(b"")
    for call in (
        lambda: vector_sets.read(tmp_path / "x.hdf5"),
        lambda: ground_truth.by_suffix(tmp_path / "y.h5"),
    ):
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'fastvec\[hdf5\]'"):
            call()


INDICES = np.array([[3, 1, 2], [0, -1, -1]])
SCORES = np.array([[-0.5, -1.0, -2.0], [-4.0, -np.inf, -np.inf]])


@pytest.mark.parametrize("suffix", [".ivecs", ".ibin", ".hdf5", ".h5"])
@pytest.mark.parametrize(
    ("metric", "big_ann", "ann_benchmarks"),
    [
        ("euclidean", [0.25, 1, 4, 16, np.inf], [0.5, 1, 2, 4, np.inf]),
        ("manhattan", [0.5, 1, 2, 4, np.inf], [0.5, 1, 2, 4, np.inf]),
        ("cosine", [-0.5, -1, -2, -4, -np.inf], [1.5, 2, 3, 5, np.inf]),
        ("dot", [-0.5, -1, -2, -4, -np.inf], [0.5, 1, 2, 4, np.inf]),
    ],
)
def test_ground_truth_is_read_back(tmp_path, suffix, metric, big_ann, ann_benchmarks):
    if suffix in (".hdf5", ".h5"):
        pytest.importorskip("h5py")
    path = tmp_path / f"truth{suffix}"
    ground_truth.write(path, INDICES, SCORES, metric)
    assert vector_sets.read(path, "answers")[0:2].tolist() == INDICES.tolist()
    beside = path.with_suffix(".fvecs") if suffix == ".ivecs" else path
    distances = vector_sets.read(beside, "scores")[0:2]
    assert distances.dtype == np.float32
    expected = ann_benchmarks if suffix in (".hdf5", ".h5") else big_ann
    assert distances.reshape(-1).tolist() == [*expected, expected[-1]]
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, beside.name}


def test_distances_of_a_file_without_them(file):
    with pytest.raises(FileError, match="no distances"):
        vector_sets.read(file(".ibin"), "scores")


def test_ground_truth_needs_a_suffix_that_is_known(tmp_path):
    with pytest.raises(ValueError, match=r"one of \.ivecs, \.ibin, \.hdf5, \.h5"):
        ground_truth.write(tmp_path / "x.csv", INDICES, SCORES, "dot")


def test_a_pipe_and_a_folder_are_refused(tmp_path):
    (tmp_path / "folder.fvecs").mkdir()
    with pytest.raises(FileError, match="folder"):
        vector_sets.read(tmp_path / "folder.fvecs")
    with pytest.raises(FileNotFoundError):
        vector_sets.read(tmp_path / "none.fvecs")
