"""Thirty-two threads call everything at once, on Indexes that change meanwhile; every answer is checked.

``python tests/changes_soak.py 60`` does it for a minute, and says how many calls of each kind there were.

The changes of an Index and the answers in each of its states are computed first, by plain loops. A thread
notes how many changes were done before its call and after it: the answer must be that of a state in between.
"""

import collections
import contextlib
import itertools
import random
import sys
import tempfile
import threading
import traceback
from pathlib import Path

import numpy as np
import oracle

import fastvec

THREADS, STATES, DIMS, K = 32, 15, 24, 7


class Plan:
    """The changes of an Index, and what there is to see in each of its states."""

    def __init__(self, seed, rows, metric):
        rng = np.random.default_rng(seed)
        self.metric, self.queries = metric, rng.standard_normal((6, DIMS)).astype(np.float32)
        self.first = rng.standard_normal((rows, DIMS)).astype(np.float32)
        self.changes, self.states = [], []
        held, top = dict(enumerate(self.first)), rows
        self._note(held)
        for step in range(STATES):
            kind, left = ("add", "remove", "replace", "add", "compact")[step % 5], np.array(sorted(held))
            near = self.queries * rng.uniform(0.5, 2.0, (6, 1)).astype(np.float32)
            near += rng.standard_normal((6, DIMS)).astype(np.float32) * np.float32(0.1 + 0.5 / (step + 1))
            if kind == "add":
                self.changes.append(("add", (near,)))
                held.update(zip(range(top, top + 6), near, strict=True))
                top += 6
            elif kind == "remove":  # the best of some queries
                gone = np.unique(self.states[-1]["search"].indices[:3, :2])
                gone = gone[gone > 2]  # the first are those of the analogy
                self.changes.append(("remove", (gone,)))
                for number in gone.tolist():
                    del held[number]
            elif kind == "replace":
                some = rng.choice(left[3:], 6, replace=False)
                self.changes.append(("replace", (some, near)))
                held.update(zip(some.tolist(), near, strict=True))
            else:
                self.changes.append(("compact", ()))
                held, top = dict(enumerate(held[number] for number in left)), len(held)
            self._note(held)

    def _note(self, held):
        numbers = np.array(sorted(held))
        rows = np.array([held[number] for number in numbers.tolist()])
        found = oracle.knn(self.queries, rows, K, self.metric)
        graph = oracle.knn(rows[:20], rows, 4, self.metric, exclude=np.arange(20)[:, np.newaxis])
        state = {
            "numbers": [numbers],
            "vectors": [rows],
            "search": oracle.TopK(found.scores, numbers[found.indices]),
            "graph": oracle.TopK(graph.scores, numbers[graph.indices]),
        }
        state["saved"] = numbers, rows, *state["search"]
        if self.metric == "cosine":
            asked = oracle.analogy(rows, [[0, 1]], [[2]], K)
            state["analogy"] = oracle.TopK(asked.scores, numbers[asked.indices])
        self.states.append(state)


class Run:
    """An Index on its way through a plan."""

    def __init__(self, plan, folder):
        self.plan, self.folder, self.done = plan, folder, 0
        self.index = fastvec.Index(plan.first, metric=plan.metric, copy=True)

    def change(self):
        """Make the next change, and say which."""
        name, arguments = self.plan.changes[self.done]
        getattr(self.index, name)(*arguments)
        self.done += 1
        return name

    def seen(self, what, ask, some=slice(None), first=None):
        """Ask, and compare with the states that could be seen, or all from the ``first`` on."""
        before = self.done
        answer = ask(self.index)
        after = self.done
        states = self.plan.states[before if first is None else first : after + 2]
        assert any(same(answer, [part[some] for part in state[what]]) for state in states), (
            f"{what} of states {before} to {after}: {answer}"
        )

    def save(self, chance):
        """Save, and open what is there then: it may be what another thread saved before or after."""
        path, how = self.folder / f"{chance.randrange(2)}", chance.choice(["mmap", "memory", "disk"])

        def opened(index):
            with contextlib.suppress(BlockingIOError):  # another thread saves there
                index.save(path)
            return fastvec.Index.open(path, vectors=how)

        self.seen("saved", lambda index: _content(opened(index), self.plan), first=0)


class Living:
    """A plan that one Index after another goes through."""

    def __init__(self, plan, folder):
        self.plan, self.folder, self.lock = plan, folder, threading.Lock()
        self.runs = itertools.count()
        self.begin()

    def begin(self):
        """Begin with a new Index."""
        self.run = Run(self.plan, self.folder.with_name(f"{self.folder.name}-{next(self.runs)}"))

    def change(self):
        """Make the next change, unless another thread makes it, and say which."""
        if not self.lock.acquire(blocking=False):
            return "nothing"
        try:
            if self.run.done < STATES:
                return self.run.change()
            self.begin()
            return "begin"
        finally:
            self.lock.release()


def _content(index, plan):
    return index.numbers, index.vectors, *index.search(plan.queries, K)


def same(answer, wanted):
    """Whether the arrays of two answers are equal."""
    return all(np.array_equal(one, other) for one, other in zip(answer, wanted, strict=True))


class Soak:
    """What the threads share."""

    def __init__(self, folder, metrics=("cosine", "cosine", "dot", "euclidean")):
        self.plans = [Plan(seed, 90 + 300 * seed, metric) for seed, metric in enumerate(metrics)]
        self.living = [Living(plan, Path(folder, f"{at}")) for at, plan in enumerate(self.plans)]
        self.plain = self.plans[-1].first
        self.dense = fastvec.cosine_similarity(self.plain[:40], self.plain)
        self.stop, self.errors, self.calls = threading.Event(), [], collections.Counter()
        self.most = fastvec.get_num_threads() + 2

    kinds = (*["search"] * 8, *["change"] * 3, "graph", "analogy", "numbers", "vectors", "save", "save",
             "one-shot", "dense", "threads", "verify")  # fmt: skip

    def call(self, chance, living, kind):
        """One call of some kind."""
        plan = living.plan
        if kind == "change":
            kind = living.change()
        elif kind == "search":
            some = sorted(chance.sample(range(6), chance.randint(1, 6)))
            queries, threads = plan.queries[some], chance.choice([None, 1, 2, 3])
            living.run.seen(kind, lambda index: index.search(queries, K, num_threads=threads), some)
        elif kind == "graph":
            living.run.seen("graph", lambda index: [part[:20] for part in index.knn_graph(4)])
        elif kind == "analogy":
            self.living[chance.randrange(2)].run.seen(kind, lambda index: index.analogy([[0, 1]], [[2]], K))
        elif kind in ("numbers", "vectors"):
            living.run.seen(kind, lambda index: [getattr(index, kind)])
        elif kind == "save":
            living.run.save(chance)
        elif kind == "one-shot":
            found = fastvec.knn(plan.queries, plan.first, K, metric=plan.metric)
            assert same(found, plan.states[0]["search"])
        elif kind == "dense":
            assert same([fastvec.cosine_similarity(self.plain[:40], self.plain)], [self.dense])
        elif kind == "threads":
            fastvec.set_num_threads(chance.randint(1, self.most))
        else:
            living.run.index.verify()
        self.calls[kind] += 1

    def work(self, seed):
        """What each thread does."""
        chance = random.Random(seed)
        while not self.stop.is_set():
            try:
                living = chance.choice(
                    self.living[: 1 + chance.randrange(len(self.living))]
                )  # some are busier
                self.call(chance, living, chance.choice(self.kinds))
            except BaseException:
                self.errors.append(traceback.format_exc())
                self.stop.set()


def soak(seconds, threads=THREADS):
    """What happened, in words; raises if an answer was wrong or a thread failed."""
    count = fastvec.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        shared = Soak(folder)
        for kind in dict.fromkeys(shared.kinds):  # before time counts: kernels are loaded, or compiled
            for living in shared.living:
                shared.call(random.Random(0), living, kind)
        working = [threading.Thread(target=shared.work, args=(seed,), daemon=True) for seed in range(threads)]
        try:
            for thread in working:
                thread.start()
            shared.stop.wait(seconds)
            shared.stop.set()
            for thread in working:
                thread.join(timeout=60)
            assert not any(thread.is_alive() for thread in working), "a thread hangs"
        finally:
            fastvec.set_num_threads(count)
    assert not shared.errors, shared.errors[0]
    return f"{sum(shared.calls.values()):,} calls: " + ", ".join(
        f"{count:,} {kind}" for kind, count in sorted(shared.calls.items())
    )


if __name__ == "__main__":
    print(soak(float(sys.argv[1])))
