"""The words that arguments allow, as types: for signatures of your own that pass them on.

    from fastvec.choices import Metric

    def nearest(vectors, query, metric: Metric = "cosine"): ...

A type checker refuses other words where they are written; at run time, the function that is called does.
"""

from typing import Literal, get_args

Metric = Literal["cosine", "dot", "euclidean", "manhattan"]
"""How rows are scored; see ``knn``."""

Device = Literal["cpu", "cuda"]
"""Where rows are searched; see ``Index``."""

Method = Literal["3cosadd", "3cosmul"]
"""How analogies are answered; see ``analogy``."""

Screen = Literal["auto", "off"] | int
"""Which short codes an Index keeps; see ``Index``."""

Opened = Literal["mmap", "memory", "disk"]
"""How ``Index.open`` reads a folder."""

Stored = Literal["float32", "float16"]
"""How ``Index.build`` and ``Vocabulary.build`` store values."""

Undecodable = Literal["strict", "replace", "ignore"]
"""What to do with words that are not UTF-8."""

METRICS: tuple[Metric, ...] = get_args(Metric)
DEVICES: tuple[Device, ...] = get_args(Device)
METHODS: tuple[Method, ...] = get_args(Method)
OPENED: tuple[Opened, ...] = get_args(Opened)
