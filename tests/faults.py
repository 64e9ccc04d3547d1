"""Small faults that ``planted_faults.py`` plants, each with the tests that are to notice it.

A test is a file or test of pytest's, or ``case:`` and the name of a case of ``interpreted_cases.py``, or
``cuda:`` and that of one of ``cuda_cases.py``. A fault that no test can notice has a reason why it changes
no answer.
"""

from typing import NamedTuple

TERMS = "tests/test_terms.py"
SEARCH = "case:search"
SCREEN = "case:screen"
RESULTS = "tests/test_search.py tests/test_similarity.py"


class Fault(NamedTuple):
    """A fault, and the tests that are to notice it."""

    file: str
    right: str
    """Text that stands in the file once."""
    wrong: str
    """What is put in its place."""
    tests: str
    reason: str = ""
    python: bool = False
    """Whether it is in a part of ``kernels`` that is not compiled."""

    @property
    def compiled(self) -> bool:
        """Whether it changes compiled code; of a device's, nothing is compiled in the simulator."""
        return self.file.startswith("kernels/") and not self.python and "/cuda/" not in self.file


FAULTS = {
    # Slacks and terms of bounds.
    "no slack for float32": Fault(
        "kernels/bound.py", "FLOAT32_SLACK = 2.0**-19", "FLOAT32_SLACK = 0.0", TERMS
    ),
    "no slack for squared distances": Fault(
        "kernels/bound.py", "EUCLIDEAN_SLACK = 2.0**-36", "EUCLIDEAN_SLACK = 0.0", TERMS
    ),
    "no slack for measured errors": Fault(
        "kernels/bound.py", "MEASURED_SLACK = 2.0**-20", "MEASURED_SLACK = 0.0", TERMS
    ),
    "errors without their product": Fault(
        "kernels/bound.py",
        "return x_error + q_error * (1.0 + x_error)",
        "return x_error + q_error",
        TERMS,
    ),
    "a folded error without its slack": Fault(
        "kernels/bound.py", "return error + rest + 2.0 * MEASURED_SLACK", "return error + rest", TERMS
    ),
    "long codes count as others": Fault(
        "kernels/bound.py", "    if length > LONGEST:\n        return 1.0\n", "", TERMS
    ),
    "thresholds of scans are not rounded down": Fault(
        "kernels/log.py", "    theta -= abs(theta) * ROUND_DOWN\n", "", TERMS
    ),
    "thresholds of scans are raised where roundings lower them": Fault(
        "kernels/log.py", "theta -= abs(theta) * ROUND_DOWN", "theta -= theta * ROUND_DOWN", TERMS
    ),
    "thresholds of screens are not rounded down": Fault(
        "kernels/screen.py", "    theta -= abs(theta) * ROUND_DOWN\n", "", TERMS
    ),
    "thresholds of scans without the slack for float32": Fault(
        "kernels/log.py", "error = queries.error[q] + FLOAT32_SLACK", "error = queries.error[q]", TERMS
    ),
    "thresholds of screens without the slack for float32": Fault(
        "kernels/screen.py",
        " + queries.length[q] * slack + 2.0 * FLOAT32_SLACK",
        " + queries.length[q] * slack",
        TERMS,
    ),
    "thresholds of screens without the rows' slack": Fault(
        "kernels/screen.py", " + queries.length[q] * slack + 2.0", " + 2.0", TERMS
    ),
    "thresholds of screens without the skew of their basis": Fault(
        "kernels/screen.py",
        "error = coarse.error[q] * (1.0 + skew + slack)",
        "error = coarse.error[q] * (1.0 + slack)",
        TERMS,
    ),
    "the threshold of an inner product without its length": Fault(
        "kernels/metrics.py",
        "return (unit - q_error * (1.0 + error) * length) / q_scale, 1.0 / q_scale",
        "return (unit - q_error * (1.0 + error)) / q_scale, 1.0 / q_scale",
        TERMS,
    ),
    "the threshold of a distance without its slack": Fault(
        "kernels/metrics.py",
        "slack = (q + length * (length / q)) * FLOAT32_SLACK + error * length",
        "slack = error * length",
        TERMS,
    ),
    "the threshold of a distance without the rows' errors": Fault(
        "kernels/metrics.py",
        "* FLOAT32_SLACK + error * length + q_error",
        "* FLOAT32_SLACK + q_error",
        TERMS,
    ),
    "short queries are compared by distance like others": Fault(
        "kernels/metrics.py", "if q < 2.0**-60 or q * 2.0**40 < length:", "if q == 0.0:", TERMS
    ),
    "the near end of a distance without its slack": Fault(
        "kernels/metrics.py", "product * (cosine + error) - slack", "product * (cosine + error)", TERMS
    ),
    "the far end of a distance without its slack": Fault(
        "kernels/metrics.py", "product * (cosine - error) + slack", "product * (cosine - error)", TERMS
    ),
    "the growth of a residual in float32 is left out": Fault(
        "kernels/encode.py", "growth = 1.0 + (dims / 32 + 8) * 2.0**-24", "growth = 1.0", TERMS
    ),
    "no slack for the float32 product of the direct pass": Fault(
        "kernels/direct.py", "return (dims / 32 + 10) * 1.01 * 2.0**-24", "return 0.0", TERMS
    ),
    "the direct pass takes float32's norm for the row's": Fault(
        "kernels/direct.py", "np.sqrt(x_squares * (1.0 - error))", "np.sqrt(x_squares)", TERMS
    ),
    "half of the error of the direct pass": Fault(
        "kernels/direct.py", "cosine, 2.1 * error, ", "cosine, 1.0 * error, ", TERMS
    ),
    "the direct pass trusts products that underflow": Fault(
        "kernels/direct.py", "if not 2.0**-80 < length < 2.0**120:", "if not 0.0 < length < 2.0**120:", TERMS
    ),
    "the root of 3CosMul is not lowered": Fault(
        "kernels/cosmul.py",
        "np.float32(max(0.0, worst * (1.0 - (factors + 4) * 2.0**-22)))",
        "np.float32(max(0.0, worst))",
        TERMS,
    ),
    "no guard for small roots of 3CosMul": Fault(
        "kernels/cosmul.py", "if worst < 2.0**-90:", "if worst < -1.0:", TERMS
    ),
    "no margin for the halves of 3CosMul": Fault(
        "kernels/cosmul.py",
        "error = np.float32((1.01 * dims + 16) * 2.0**-25)",
        "error = np.float32(0.0)",
        "case:products",
    ),
    "the reach of a leading code is cut, not rounded up": Fault(
        "kernels/screen.py",
        "word[0], word[1] = step, _rounded_up(reach)",
        "word[0], word[1] = step, reach",
        "case:screen_codes",
    ),
    "the tail of a screen without the roundings of its products": Fault(
        "kernels/screen.py",
        "unit - 2.0 * inner + 2.0 * error * length + ",
        "unit - 2.0 * inner + ",
        "case:screen_codes",
    ),
    "the tail of a screen without the skew of its basis": Fault(
        "kernels/screen.py", "(1.0 + skew) * squares))", "squares))", "case:screen_codes"
    ),
    "the tail of a screen without the slack of its measuring": Fault(
        "kernels/screen.py",
        "scales[i], tails[i] = step, (_PASSES if apart else tail) + MEASURED_SLACK",
        "scales[i], tails[i] = step, (_PASSES if apart else tail)",
        "case:screen_codes",
    ),
    "rows that no float32 product holds have a screen like others": Fault(
        "kernels/screen.py",
        "norms[i] > 0.0 and not _in_range(norms[i])",
        "False",
        "case:screen_codes case:screen",
    ),
    "what a query's reach stands for is τ alone": Fault(
        "kernels/screen.py",
        "first.tail[i] = max(first.tail[i], first.length[i] / _SHARE)",
        "first.tail[i] = first.tail[i]",
        "case:screen_codes",
    ),
    "all codes of a screen are tested without the rows' slack": Fault(
        "kernels/screen.py",
        "(1.0 + rows.skew + off) + queries.length[q] * off",
        "(1.0 + rows.skew)",
        "case:narrowing",
    ),
    # Terms of rows, chunk by chunk.
    "the largest error but for the last rows": Fault(
        "kernels/tiles.py",
        "largest = simd.maximum(simd.load_first(error + 4 * j, min(32, count - j)), largest)",
        "largest = simd.maximum(simd.load_first(error + 4 * j, 32 if count - j >= 32 else 0), largest)",
        "case:terms_of_rows",
    ),
    "the largest norm but for the last rows": Fault(
        "kernels/tiles.py",
        "largest = simd.maximum_wide(simd.load_first_wide(norm + 8 * j, min(32, count - j)), largest)",
        "largest = simd.maximum_wide("
        "simd.load_first_wide(norm + 8 * j, 32 if count - j >= 32 else 0), largest)",
        "case:terms_of_rows",
    ),
    "the slack of a chunk is that of its first rows": Fault(
        "kernels/screen.py",
        "slack = np.float64(largest_error(rows.slack.ctypes.data + 4 * chunk, count))",
        "slack = np.float64(largest_error(rows.slack.ctypes.data, count))",
        "case:terms_of_rows",
    ),
    "a mask is read from the first row of the chunk on": Fault(
        "kernels/tiles.py",
        "rows.allowed[rows.base + chunk : rows.base + chunk + count]",
        "rows.allowed[chunk : chunk + count]",
        "case:terms_of_rows",
    ),
    "rows past the end of a chunk may pass": Fault(
        "kernels/tiles.py",
        "    for j in range(count, count + SPARE_ROWS):\n        scale[j], margin[j] = 0.0, -np.inf\n",
        "    for j in range(count, count + SPARE_ROWS):\n        scale[j], margin[j] = 0.0, 0.0\n",
        "case:terms_of_rows",
    ),
    "the scale of a prefix is that of the whole row": Fault(
        "kernels/encode.py",
        "return np.float64(encoded.scale[i]) * (encoded.whole[i] / encoded.norm[i])",
        "return np.float64(encoded.scale[i])",
        "case:prefix",
    ),
    "the error of a prefix is that of the whole row": Fault(
        "kernels/encode.py",
        "    return whole._replace(error=error, norm=norm, whole=whole.norm)\n\n\n@kernel",
        "    return whole._replace(error=whole.error, norm=norm, whole=whole.norm)\n\n\n@kernel",
        "case:prefix tests/test_bound.py",
    ),
    "codes of the last dimensions are left out": Fault(
        "kernels/encode.py",
        "        value = simd.load_first(x + 4 * whole, dims - whole)\n        code =",
        "        value = simd.load_first(x + 4 * whole, dims - whole - 1)\n        code =",
        "case:search case:codes",
    ),
    # The log.
    "weights are set for the first chunk alone": Fault(
        "kernels/log.py",
        "state.threshold[q], state.weight[q] = _theta(metric, q, queries, state.root[q], limits)",
        "state.threshold[q], weight = _theta(metric, q, queries, state.root[q], limits)\n"
        "        state.weight[q] = weight if state.weight[q] == 1.0 else state.weight[q]",
        "case:thresholds",
    ),
    "thresholds stay as the last chunk left them": Fault(
        "kernels/scan.py",
        "            _set_thresholds(stage, metric, queries, state, limits)\n            for panel",
        "            if chunk == start:\n"
        "                _set_thresholds(stage, metric, queries, state, limits)\n            for panel",
        "case:lengths case:search",
    ),
    "thresholds of few queries stay as the last chunk left them": Fault(
        "kernels/scan.py",
        "        log.set_thresholds(metric, queries, state, limits)\n        for r in",
        "        if chunk == start:\n"
        "            log.set_thresholds(metric, queries, state, limits)\n        for r in",
        "case:lengths case:search",
    ),
    "the screen of a segment has the limits of its first chunk": Fault(
        "kernels/scan.py", "own = limits[place]", "own = limits[0]", "case:lengths case:screen"
    ),
    "only the last part says which queries left": Fault(
        "kernels/log.py",
        "left[first : first + len(state.left)] |= state.left",
        "left[first : first + len(state.left)] = state.left",
        "case:parts",
    ),
    "queries of later parts are counted from 0": Fault(
        "kernels/log.py",
        "state.query + np.int32(first)",
        "state.query + np.int32(0)",
        "case:parts",
    ),
    "only the last part says that a row changed": Fault(
        "kernels/log.py",
        "max((int(state.cursor[STALE]) for _, state in parts), default=-1)",
        "int(parts[-1][1].cursor[STALE]) if parts else -1",
        "case:parts",
    ),
    "hits below the threshold are dropped, and those at it": Fault(
        "kernels/log.py",
        "if upper < state.root[q] or excluded(exclusions, q, row):",
        "if upper <= state.root[q] or excluded(exclusions, q, row):",
        "case:draining",
    ),
    "entries at the threshold are dropped from the log": Fault(
        "kernels/log.py",
        "if state.upper[z] >= state.root[q]:",
        "if state.upper[z] > state.root[q]:",
        "case:draining",
    ),
    "entries move in the log without their upper ends": Fault(
        "kernels/log.py",
        "state.lower[kept], state.upper[kept] = state.lower[z], state.upper[z]\n            kept += 1",
        "state.lower[kept] = state.lower[z]\n            kept += 1",
        "case:draining",
    ),
    "a search begins with the roots of the one before": Fault(
        "kernels/log.py", "root[q], left[q] = -np.inf, False", "left[q] = False", "case:draining case:search"
    ),
    "a search begins with the floor of the one before": Fault(
        "kernels/log.py",
        "            floor[q, place] = -np.inf\n",
        "            pass\n",
        "case:draining case:search",
    ),
    "a search begins with the queries that left the one before": Fault(
        "kernels/log.py", "root[q], left[q] = -np.inf, False", "root[q] = -np.inf", "case:draining"
    ),
    "queries that leave are not noted": Fault(
        "kernels/log.py",
        "state.left[q], state.root[q], state.threshold[q] = True, np.inf, np.inf",
        "state.root[q], state.threshold[q] = np.inf, np.inf",
        "case:draining case:search",
    ),
    "chosen rows get the numbers of their places": Fault(
        "kernels/log.py",
        "row = rows.ids[i] if len(rows.ids) > 0 else rows.base + i",
        "row = rows.base + i",
        "case:gathered",
    ),
    "numbers in a log are those within the block": Fault(
        "kernels/log.py",
        "row = rows.ids[i] if len(rows.ids) > 0 else rows.base + i",
        "row = rows.ids[i] if len(rows.ids) > 0 else i",
        "case:living",
    ),
    "an emptied log begins after the last drain": Fault(
        "kernels/log.py", "state.cursor[[COUNT, DRAINED, PASSED", "state.cursor[[COUNT, PASSED", "case:ranges"
    ),
    # The scan.
    "the last hits of a chunk are not drained": Fault(
        "kernels/scan.py",
        "last = end == count and r + tile_rows >= end and q + lanes == m",
        "last = False",
        "case:search",
    ),
    "the last hits of few queries are not drained": Fault(
        "kernels/scan.py",
        "if r + 64 >= count or state.cursor[COUNT]",
        "if state.cursor[COUNT]",
        "case:search",
    ),
    "a tile's rows past the end are hits": Fault(
        "kernels/tiles.py",
        "            if r + j < end:\n                log.append",
        "            if r + j <= end:\n                log.append",
        "case:tiles",
    ),
    "a screen's rows past the end are hits": Fault(
        "kernels/tiles.py", "            if j < count:\n", "            if j <= count:\n", "case:tiles"
    ),
    "the second 16 queries of a tile are the first": Fault(
        "kernels/tiles.py",
        "log.append(state, q + own, chunk + r + j,",
        "log.append(state, q + (bit & 15), chunk + r + j,",
        "case:tiles",
    ),
    "a scan in a range goes on before the log is emptied": Fault(
        "kernels/scan.py",
        "                    log.empty(self.state)\n",
        "                    log.empty(self.state) if reached == at else None\n",
        "case:ranges",
    ),
    "a screen that gave up leaves out the next chunk": Fault(
        "kernels/scan.py",
        "                    return chunk + count\n    return stop",
        "                    return chunk + 2 * count\n    return stop",
        "case:screen",
    ),
    # Exact scores.
    "rescoring stops at a row that ties with the last": Fault(
        "kernels/refine.py",
        "if size == k and upper[z] < best[0]:",
        "if size == k and upper[z] <= best[0]:",
        "case:ranking",
    ),
    "rescoring takes the worst rows first": Fault(
        "kernels/refine.py",
        "rising[place] = -upper[entries[place]]",
        "rising[place] = upper[entries[place]]",
        "case:ranking",
    ),
    "a threshold from exact scores is the largest of them": Fault(
        "kernels/refine.py",
        "            least = min(least, score)",
        "            least = score",
        "case:sharpening",
    ),
    "a threshold before a scan is that of its last row": Fault(
        "kernels/seeds.py",
        "least = min(least, refine.checked(exact, lower[z], upper[z], row, state.cursor))",
        "least = refine.checked(exact, lower[z], upper[z], row, state.cursor)",
        "case:seeding case:screen",
    ),
    "fewer rows than k make a threshold": Fault(
        "kernels/seeds.py", "    if size < k:\n        return\n", "", "case:seeding case:screen"
    ),
    "excluded rows make a threshold": Fault(
        "kernels/seeds.py",
        "        if not excluded(exclusions, q, rows.fine.base + likely[z]):",
        "        if True:",
        "case:seeding case:screen",
    ),
    "rows that a mask leaves out make a threshold": Fault(
        "kernels/seeds.py", "if not closed and _is_new(", "if _is_new(", "case:screen"
    ),
    "a row twice among the likely ones makes a threshold": Fault(
        "kernels/seeds.py", "if not closed and _is_new(slots, np.int64(i)):", "if not closed:", "case:screen"
    ),
    "the last query of a range has one answer less": Fault(
        "kernels/rescore.py", "if np.float32(score) >= least:", "if np.float32(score) > least:", "case:ranges"
    ),
    "a range is of float64 scores": Fault(
        "kernels/rescore.py", "if np.float32(score) >= least:", "if score >= least:", "case:ranges"
    ),
    "answers of a range are not ranked": Fault(
        "kernels/rescore.py", "            sort(best, indices[first:last], size)\n", "", "case:ranges"
    ),
    "a changed row in the middle of a rescoring is not noticed": Fault(
        "kernels/refine.py",
        "            if not lower[z] <= score <= upper[z]:\n                return size, place + 1, row\n",
        "",
        "case:ranking",
    ),
    # Heaps and orders.
    "heaps of the direct pass are merged in float32": Fault(
        "kernels/topk.py",
        "size = push(best, ranked, size, heaps.scores[z], heaps.rows[z])",
        "size = push(best, ranked, size, np.float64(np.float32(heaps.scores[z])), heaps.rows[z])",
        "case:heaps",
    ),
    "equal scores in the order of falling rows": Fault(
        "kernels/topk.py",
        "return score < other_score or (score == other_score and row > other_row)",
        "return score < other_score or (score == other_score and row < other_row)",
        "case:heaps",
    ),
    "a pair that ties does not enter a full heap by its row": Fault(
        "kernels/topk.py",
        "    if worse(scores[0], indices[0], score, row):\n",
        "    if scores[0] < score:\n",
        "case:heaps",
    ),
    "a full heap's last child is not looked at": Fault(
        "kernels/topk.py",
        "if child + 1 < size and worse(",
        "if child + 2 < size and worse(",
        "case:heaps",
    ),
    "the floor's last child is not looked at": Fault(
        "kernels/topk.py",
        "if child + 1 < size and floor[child + 1] < floor[child]:",
        "if child + 2 < size and floor[child + 1] < floor[child]:",
        "case:heaps",
    ),
    "rankings are published unsorted": Fault(
        "kernels/topk.py", "        sort(best, ranked, size)\n", "", "case:heaps"
    ),
    "of equal keys of a selection the last are kept": Fault(
        "kernels/ranking.py",
        "                if equal == 0:\n                    continue\n                equal -= 1\n",
        "                pass\n",
        "case:selection",
    ),
    # Filters.
    "the last excluded row is returned": Fault(
        "kernels/filters.py",
        "for z in range(first, last):  # noqa: SIM110",
        "for z in range(first, last - 1):  # noqa: SIM110",
        SEARCH,
    ),
    "a long run of excluded rows is halved past the row": Fault(
        "kernels/filters.py",
        "if exclusions.rows[middle] <= row:",
        "if exclusions.rows[middle] < row:",
        "case:masks",
    ),
    "long runs of excluded rows are not sorted": Fault(
        "kernels/filters.py",
        "return cls(offsets, _sorted_runs(offsets, rows), NO_MASK)",
        "return cls(offsets, rows, NO_MASK)",
        SEARCH,
    ),
    "masks of later queries are those of the first": Fault(
        "kernels/filters.py",
        "return Exclusions(self.offsets[first : last + 1], self.rows, self.mask[first:last])",
        "return Exclusions(self.offsets[first : last + 1], self.rows, self.mask[: last - first])",
        "case:search case:masks",
    ),
    # The direct pass.
    "the direct pass passes over rows at the worst score": Fault(
        "kernels/direct.py",
        "                                    < worst[i + z]\n",
        "                                    <= worst[i + z]\n",
        "case:direct",
        reason="The upper end is above the score by e·‖q‖‖x‖ at least, or infinite where a norm is 0. If it "
        "equals the worst score, the score is below it; or both are distances of 0, and the row comes later.",
    ),
    "the direct pass leaves out rows that tie with the worst": Fault(
        "kernels/direct.py",
        "if score < worst[i + z] or excluded(",
        "if score <= worst[i + z] or excluded(",
        "case:heaps case:direct",
        reason="A thread's rows come in rising order, so a row that ties with the worst of a full heap has a "
        "higher number than it, and does not enter.",
    ),
    "the last queries of the direct pass are those before": Fault(
        "kernels/direct.py",
        "row_at(part, numbers[min(i + 2, last)])",
        "row_at(part, numbers[min(i + 1, last)])",
        "case:direct",
    ),
    "the direct pass returns rows that a mask leaves out": Fault(
        "kernels/direct.py",
        "if len(allowed) > 0 and not allowed[row]:\n                            continue",
        "if False:\n                            continue",
        "case:direct",
    ),
    # 3CosMul and analogies.
    "words below the line count above it": Fault(
        "kernels/cosmul.py",
        "        if z < inputs.middle[i]:\n",
        "        if z <= inputs.middle[i]:\n",
        "case:analogies case:products",
    ),
    "the mask of a block of words is shifted": Fault(
        "kernels/cosmul.py",
        "            if not allowed[first + j]:",
        "            if not allowed[first + count - 1 - j]:",
        "case:analogies",
    ),
    "a target subtracts what it is to add last": Fault(
        "kernels/analogy.py",
        "if z < inputs.middle[i] else",
        "if z + 1 < inputs.middle[i] else",
        "case:analogies",
    ),
    # Joins.
    "a row is a pair with itself": Fault(
        "kernels/join.py",
        "            if itself and row <= numbers[q]:",
        "            if itself and row < numbers[q]:",
        "case:pairs",
    ),
    "pairs at the least score are left out": Fault(
        "kernels/join.py",
        "            if np.float32(score) >= sought.least:",
        "            if np.float32(score) > sought.least:",
        "case:pairs",
    ),
    "a group is led by its highest row": Fault(
        "kernels/join.py",
        "low, high = min(a, b), max(a, b)",
        "low, high = max(a, b), min(a, b)",
        "case:pairs",
    ),
    "a block with too many pairs loses its rest": Fault(
        "kernels/join.py",
        "                height = max(1, height // 4)\n                break\n",
        "                height = max(1, height // 4)\n                at = last\n                break\n",
        "case:pairs",
    ),
    # Matrices and sums.
    "the first row of a block belongs to the one before": Fault(
        "kernels/matrix.py",
        "        if matrix.starts[middle] <= row:",
        "        if matrix.starts[middle] < row:",
        "case:living",
    ),
    "squares of differences are fused": Fault(
        "kernels/sums.py",
        "    return simd.add_wide(total, simd.mul_wide(a, a))",
        "    return simd.add_product(total, a, a)",
        "tests/test_operations.py::test_steps_of_exact_sums",
    ),
    "rows are not made unit rows in their last dimensions": Fault(
        "kernels/rows.py",
        "    if full < dims:\n        tail",
        "    if full + 1 < dims:\n        tail",
        "case:rows",
    ),
    "values that float32 cannot hold become infinite": Fault(
        "kernels/rows.py",
        "            if np.isinf(rounded) and not np.isinf(value):\n                return i\n",
        "",
        "case:finite",
    ),
    # Few queries in one call.
    "queries that one thread could not finish are lost": Fault(
        "kernels/few.py", "left = np.logical_or.reduce(", "left = np.logical_and.reduce(", "case:few"
    ),
    "memory is kept for the codes of any Index": Fault(
        "kernels/few.py",
        "(m * (last - first)).bit_length(), id(coding)",
        "(m * (last - first)).bit_length(), 0",
        "case:few",
    ),
    "a query that keeps too many hits is ranked by some of them": Fault(
        "kernels/few.py",
        "        for q in range(len(memory.left)):\n            memory.left[q] = reached < stop\n",
        "",
        "case:few case:search",
    ),
    # How calls run.
    "a call does not wait for its helpers": Fault(
        "kernels/threads.py",
        "                        while number not in self._left:\n"
        "                            bell.acquire(timeout=1.0)\n",
        "                        pass\n",
        "tests/test_threads.py tests/test_interruption.py tests/test_callers.py",
        python=True,
    ),
    "a forked child keeps the pool of its parent": Fault(
        "kernels/threads.py",
        "    _pool, _lock = None, threading.Lock()\n    _at_work.clear()\n",
        "    pass\n",
        "tests/test_threads.py::test_a_child_has_helpers_of_its_own",
        python=True,
    ),
    "a forked child keeps the count of threads at work": Fault(
        "kernels/threads.py",
        "    _at_work.clear()\n",
        "",
        "tests/test_threads.py::test_a_child_has_helpers_of_its_own",
        python=True,
    ),
    "kernels run in the caller's floating-point mode": Fault(
        "kernels/compile.py",
        "        for mode in _default_modes:  # until the return\n",
        "        for mode in _default_modes:  # until the return\n            _set_mode(mode)\n",
        "tests/test_interruption.py::test_the_mode_of_the_caller_comes_back_at_any_instant",
        python=True,
    ),
    "the caller's floating-point mode is lost": Fault(
        "kernels/compile.py",
        "return compiled(*arguments)\n            finally:\n                _set_mode(mode)\n",
        "return compiled(*arguments)\n            finally:\n                pass\n",
        "tests/test_interruption.py::test_the_mode_of_the_caller_comes_back_at_any_instant",
        python=True,
    ),
    # Micro-kernels.
    "pairs of products saturate": Fault(
        "kernels/micro/avx2.py",
        "_LEVELS = 63",
        "_LEVELS = 127",
        "tests/test_avx2.py::test_a_pair_of_products_fits_16_bits",
    ),
    "a step of four rows takes the masks of two": Fault(
        "kernels/tiles.py",
        "shifted = builder.shl(mask, ir.Constant(_i64, 16 * row))",
        "shifted = builder.shl(mask, ir.Constant(_i64, 8 * row))",
        "tests/test_operations.py::test_scores_against_thresholds",
    ),
    # Rows that change.
    "numbers of removed rows are found": Fault(
        "fastvec/_snapshot.py",
        "return (places >= 0) & self.open[places] if len(self.open) else places >= 0",
        "return places >= 0",
        "case:living",
    ),
    "rows of equal scores are ranked by position": Fault(
        "fastvec/_snapshot.py",
        "return bool((left[1:] > left[:-1]).all())",
        "return True",
        "case:replaced case:living case:history",
    ),
    "ties across the last place are not looked at": Fault(
        "fastvec/_snapshot.py",
        ".any(axis=1) | same[:, -1]",
        ".any(axis=1)",
        "case:replaced case:living case:history",
    ),
    "replaced rows stay open": Fault("fastvec/_living.py", "        open_[old] = False\n", "", "case:living"),
    "removing writes to what searches see": Fault(
        "fastvec/_living.py",
        "open_=self.open[:rows].copy(),",
        "open_=self.open[:rows],",
        "tests/test_living.py::test_a_search_goes_on_with_the_rows_that_it_began_with",
    ),
    "packed rows keep their old places": Fault(
        "fastvec/_living.py",
        "        places[numbers[left]] = left\n        packed",
        "        places[numbers[left]] = np.arange(len(left))\n        packed",
        "case:packed",
    ),
    "appended rows have the screen of the first": Fault(
        "fastvec/_stores/blocks.py",
        "    rows, encoded = block.vectors[at:], screened.encoded",
        "    rows, encoded = block.vectors[: len(block.vectors) - at], screened.encoded",
        "tests/test_screen.py",
    ),
    "rows beside the screen are not scanned": Fault(
        "fastvec/_stores/blocks.py",
        "                    if max(first, cut) < last:",
        "                    if cut == 0 and first < last:",
        "tests/test_screen.py",
    ),
    "the last block of chosen rows is cut short": Fault(
        "fastvec/_stores/blocks.py",
        "ids = numbers[first : min(first + BLOCK, stop, high)]",
        "ids = numbers[first : min(first + BLOCK, stop, high - 1)]",
        "case:gathered",
    ),
    # Rows that are fetched.
    "fetched rows that may tie with the last are not fetched": Fault(
        "fastvec/_stores/fetching.py",
        "least = np.nextafter(found.scores[:, -1], np.float32(-np.inf)).astype(np.float64)",
        "least = np.nextafter(found.scores[:, -1], np.float32(np.inf)).astype(np.float64)",
        "tests/test_disk.py tests/test_stores.py",
    ),
    "a range of float32 begins at its float64": Fault(
        "fastvec/_stores/passes.py",
        "root = float(np.nextafter(least, np.float32(-np.inf)))",
        "root = float(least)",
        "case:ranges tests/test_ranges.py",
    ),
    # Devices.
    "no slack for what a device rounds": Fault(
        "kernels/cuda/terms.py", "raised = 1.0 + LOWERED", "raised = 1.0", "tests/test_cuda_model.py"
    ),
    "the lower end of an error's weight is its upper": Fault(
        "kernels/metrics.py",
        "def _weight_of_error(name, weight):\n    return -weight",
        "def _weight_of_error(name, weight):\n    return weight",
        "tests/test_cuda_model.py",
    ),
    # Faults made of the code, which little else notices.
    "a range says nothing of a changed row 0": Fault(
        "kernels/rescore.py",
        "            if stale >= 0:\n                return stale\n        return -1\n\n    work =",
        "            if stale > 0:\n                return stale\n        return -1\n\n    work =",
        "case:changed_rows",
    ),
    "only the rows of the last piece are counted": Fault(
        "kernels/rescore.py", "            count += more", "            count = more", "case:changed_rows"
    ),
    "long runs of exclusions mix": Fault(
        "kernels/filters.py",
        "width = int(rows.max()) + 1",
        "width = int(rows.max()) - 1",
        "case:exclusions",
    ),
    "exact scores at the end of a scan name no changed row": Fault(
        "kernels/refine.py", "        cursor[STALE] = row\n", "        pass\n", "case:zero_rows"
    ),
    "a row of length 0 is never looked at again": Fault(
        "kernels/refine.py", "if score < upper[z] or score == 0.0:", "if score < upper[z]:", "case:zero_rows"
    ),
    "queries that keep too many stay": Fault(
        "kernels/refine.py",
        "            log.let_go(state, log.limit(state))\n",
        "            pass\n",
        "case:shortening",
    ),
    "a log is compacted when it is full": Fault(
        "kernels/log.py",
        "= min(2 * state.cursor[COUNT] + _SLACK, state.cursor[_CAPACITY])",
        "= max(2 * state.cursor[COUNT] + _SLACK, state.cursor[_CAPACITY])",
        "case:shortening",
    ),
    "estimates of cosines depend on the lengths of a chunk": Fault(
        "kernels/tiles.py",
        "    if metrics.by_length(metric):\n        norm = largest_norm(",
        "    if True:\n        norm = largest_norm(",
        "case:estimates",
    ),
    "a prefix beside a direction forgets the direction": Fault(
        "kernels/direction.py",
        "- share * np.float64(direction.vector[d]) - part",
        "- part",
        "case:prefix_of_direction",
    ),
    "the nineteenth digit counts twice": Fault(
        "kernels/text.py",
        "                power += not point",
        "                power += point",
        "case:texts",
    ),
    "runs of a file end where rows are apart by two": Fault(
        "kernels/reading.py", "numbers[last - 1] + 1 and", "numbers[last - 1] + 2 and", "case:reading"
    ),
    "the first NaN of a piece is counted from the piece": Fault(
        "kernels/selection.py", "(row, start + nan[1])", "(row, nan[1])", "case:pieces"
    ),
    "a changed row is counted from its block": Fault(
        "fastvec/_stores/blocks.py",
        "return base + first + (bad",
        "return first + (bad",
        "case:blocks",
    ),
    "few queries do not look at changed rows": Fault(
        "fastvec/_stores/passes.py",
        "    if outcome.stale >= 0:",
        "    if outcome.stale > 0:",
        "case:rows_written_to",
    ),
}
