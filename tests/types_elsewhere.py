"""Types as another project sees them: python tests/types_elsewhere.py (it needs mypy)

mypy checks a program in a folder of its own, strictly, and refuses exactly the lines that say so.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """\
import fastvec
from fastvec.choices import Device, Metric


def nearest(index: fastvec.Index, metric: Metric, device: Device = "cpu") -> int:
    fastvec.knn([1.0], [[1.0]], 1, metric=index.metric)
    found = fastvec.knn([1.0], [[1.0]], 1, metric=metric, device=device)
    return int(found.indices[0])


fastvec.set_num_threads("x")  # refused: "int"
fastvec.knn([1.0], [[1.0]], 1, metric="cosin")  # refused: 'cosine'
fastvec.Index([[1.0]], device="gpu")  # refused: 'cuda'
fastvec.Index([[1.0]], screen="on")  # refused: 'auto'
fastvec.analogy([[1.0]], [0], [], method="3cos")  # refused: '3cosmul'
fastvec.Index.open("folder", vectors="map")  # refused: 'mmap'
"""


def main() -> None:
    """Compare what mypy refuses with what is marked."""
    marked = {
        number: line.partition("# refused: ")[2]
        for number, line in enumerate(PROGRAM.splitlines(), 1)
        if "# refused: " in line
    }
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "use.py").write_text(PROGRAM, encoding="utf-8")
        command = [sys.executable, "-m", "mypy", "--strict", "use.py"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    refused = {
        int(line.split(":")[1]): line
        for line in done.stdout.splitlines()
        if line.startswith("use.py:") and "error:" in line
    }
    assert set(refused) == set(marked), done.stdout + done.stderr
    for number, word in marked.items():
        assert word in refused[number], refused[number]
    print(f"{len(marked)} lines are refused, as they should be")


if __name__ == "__main__":
    main()
