"""The score of each metric as a formula, the same for plain loops and for NumPy.

``total`` sums the last axis of an array of terms: tests pass the sum that they compare with. To add a
metric: its formula, and its place in ``PLAIN``.
"""

import numpy as np


def cosine(q, x, total):
    squares = total(q * q) * total(x * x)
    quotients = np.divide(total(q * x), np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0)
    return np.clip(quotients, -1.0, 1.0) + 0.0


def dot(q, x, total):
    return total(q * x) + 0.0


def euclidean(q, x, total):
    return 0.0 - np.sqrt(total((q - x) * (q - x)))


def manhattan(q, x, total):
    return 0.0 - total(np.abs(q - x))


PLAIN = {"cosine": cosine, "dot": dot, "euclidean": euclidean, "manhattan": manhattan}
