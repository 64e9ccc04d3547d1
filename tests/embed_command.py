"""What tests of `fastvec embed` share: texts, their rows, and what is there when all is done."""

import json
import os

import numpy as np
from embedding_server import OTHER_WIDTH, hashed_rows

TEXTS = [f"text {number}" for number in range(200)]


def rows_of(texts):
    """The rows that the test server answers."""
    return hashed_rows(texts, OTHER_WIDTH)


def assert_done(result, texts, output="out.npy"):
    """The command has made a ``.npy`` file, texts beside it, and left nothing else."""
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(np.load(output), rows_of(texts))
    with open(output.replace(".npy", ".texts.jsonl"), encoding="utf-8") as file:
        assert [json.loads(line) for line in file] == texts
    assert not [name for name in os.listdir() if "partial" in name]
