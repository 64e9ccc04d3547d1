"""Small faults around the scans, as in ``faults.py``: products, stores, files, filters, results, devices."""

from faults import Fault

FAULTS = {
    # Logs, thresholds and screens.
    "so many hits come before a drain that a log has no room for them": Fault(
        "kernels/log.py",
        "return min(max(4 * state.floor.size, 64), _DRAIN)",
        "return max(4 * state.floor.size, 64)",
        "case:logs",
    ),
    "a log has room for the hits of one drain alone": Fault(
        "kernels/log.py",
        "+ 2 * _SLACK, _SLACK",
        "+ _SLACK, _SLACK",
        "case:logs",
        python=True,
    ),
    "a drain of no hits opens the last lane": Fault(
        "kernels/log.py",
        "\n    if raised >= 0:\n",
        "\n    if raised >= -1:\n",
        "case:draining",
    ),
    "of queries that keep too many, those behind another one get no exact scores": Fault(
        "kernels/refine.py",
        "if state.live[q] <= limit:\n            continue",
        "if state.live[q] <= limit:\n            break",
        "case:sharpening",
    ),
    "a log that is shortened names no changed row": Fault(
        "kernels/refine.py",
        "                checked(score, state.lower[at], state.upper[at], row, state.cursor)\n",
        "",
        "case:sharpening",
    ),
    "where rows are not at hand, one lower end is a threshold": Fault(
        "kernels/seeds.py",
        "lower[best[0]] = min(lower[best[0]], lower[z])",
        "lower[best[0]] = lower[z]",
        "case:seeding",
    ),
    "products with a basis are as good as with half its rows": Fault(
        "kernels/screen.py",
        "growth = dims * 2.0**-24 / (1.0 - dims * 2.0**-24)",
        "growth = dims * 2.0**-25 / (1.0 - dims * 2.0**-25)",
        "tests/test_terms.py::test_measures_of_a_basis",
        python=True,
    ),
    "a basis is as orthonormal as float64 says": Fault(
        "kernels/screen.py",
        "min(1.0, skew) * 1.001 + 2.0**-40, error",
        "min(1.0, skew), error",
        "tests/test_terms.py::test_measures_of_a_basis",
        python=True,
    ),
    "products with R have no error of their own": Fault(
        "kernels/screen.py",
        "spectral * error + growth * float(np.linalg.norm(turned)) * (1.0 + skew + error)",
        "spectral * error",
        "tests/test_terms.py::test_measures_of_a_basis",
        python=True,
    ),
    "a row of which nothing is coded is off by less than its products": Fault(
        "kernels/screen.py",
        "return 0.0, 1.0, np.sqrt(total) + error, 0.0",
        "return 0.0, 1.0, np.sqrt(total) - error, 0.0",
        "case:nothing_in_a_code",
    ),
    "queries beyond the range of float32 products are as others": Fault(
        "kernels/screen.py",
        "tail, slack = 1.0, 8.0",
        "tail, slack = 1.0, 0.0",
        "case:nothing_in_a_code",
    ),
    "the slack of leading codes is as measured": Fault(
        "kernels/screen.py",
        "slack += leading_skew * length + MEASURED_SLACK",
        "slack += leading_skew * length",
        "case:screen_codes",
    ),
    "a screen that lets all pass is not given up": Fault(
        "kernels/screen.py",
        "state.cursor[PASSED] += state.cursor[COUNT] - start",
        "state.cursor[PASSED] = state.cursor[COUNT] - start",
        "case:draining_of_screens",
    ),
    "a screen that was given up is taken up again": Fault(
        "kernels/scan.py",
        "self.by_screen = start == stop or self._is_full()",
        "pass",
        "case:walks",
    ),
    "queries behind one that left are not ranked": Fault(
        "kernels/rescore.py",
        "if survivors.left[q]:\n                continue",
        "if survivors.left[q]:\n                break",
        "case:scoring_by_row",
    ),
    "the rows of every range are written to the front": Fault(
        "kernels/rescore.py",
        "scores[first:last], indices[first:last])",
        "scores[first:last], indices[:last])",
        "case:scoring_by_row",
    ),
    # Dense cosines.
    "no pair of rows with large entries gets the third order": Fault(
        "kernels/dense/slices.py",
        "return np.float32(min(0.53 / np.sqrt(dims), 14.0 / dims))",
        "return np.float32(min(0.53 / np.sqrt(dims), 14.0 / dims) + 4.0)",
        "tests/test_dense_slices.py::test_large_entries_get_the_third_order",
    ),
    "one large entry does not count as many": Fault(
        "kernels/dense/slices.py",
        "_SINGLE = 0.3",
        "_SINGLE = 1.5",
        "tests/test_dense_slices.py::test_the_slices_of_a_query_are_these",
    ),
    "whether a tile has the third order is asked of all its queries but the last": Fault(
        "kernels/dense/slices.py",
        "q_ratio[i : i + TILE].max()",
        "q_ratio[i : i + TILE - 1].max()",
        "tests/test_dense_slices.py::test_one_large_entry_counts_wherever_its_row_lies",
    ),
    "slices are cut, not rounded": Fault(
        "kernels/dense/slices.py",
        "llvm.rint.v32f64",
        "llvm.trunc.v32f64",
        "tests/test_dense_slices.py::test_the_slices_of_a_query_are_these",
    ),
    "the second block of vectors has the corrections of the first": Fault(
        "kernels/dense/slices.py",
        "corrections + 4 * TILE * order + 64 * half",
        "corrections + 4 * TILE * order",
        "tests/test_dense_slices.py::test_scores_are_these_sums",
    ),
    "slices of a matrix with itself end before the diagonal": Fault(
        "kernels/dense/slices.py",
        "needed = min(count, first + width) if same",
        "needed = min(count, first) if same",
        "tests/test_dense.py::test_with_themselves[40x17-slices]",
    ),
    "slices take more dimensions than their sums hold": Fault(
        "kernels/dense/slices.py",
        "MAX_DIMS = 32_000",
        "MAX_DIMS = 40_000",
        "tests/test_dense_slices.py",
        python=True,
    ),
    "slices are asked for any number of dimensions": Fault(
        "kernels/dense/__init__.py",
        " and dims <= slices.MAX_DIMS",
        " and dims <= 131_072",
        "tests/test_dense_slices.py",
        python=True,
    ),
    "four queries are scored with the norm of the first": Fault(
        "kernels/dense/exact.py",
        "products[z], q_squares[i + z], x_squares[j]",
        "products[z], q_squares[i], x_squares[j]",
        "tests/test_dense.py::test_a_score_depends_on_its_two_rows_alone[exact]",
    ),
    "of few queries and few vectors the other one is named": Fault(
        "kernels/dense/exact.py",
        "return q, x\n    (m",
        "return x, q\n    (m",
        "tests/test_dense.py::test_what_is_not_finite_is_found",
        python=True,
    ),
    "the diagonal is what a product says": Fault(
        "kernels/dense/__init__.py",
        "np.fill_diagonal(out, np.diagonal(out) > 0.5)",
        "pass",
        "tests/test_dense.py::test_with_themselves",
        python=True,
    ),
    "sums of whole runs of dimensions are not written": Fault(
        "kernels/dense/tiles.py",
        "depth, last = min(run, dims - d), d + run >= dims",
        "depth, last = min(run, dims - d), d + run > dims",
        "tests/test_dense.py::test_no_less_accurate_than_blas[gaussian-tiles-avx2]",
    ),
    "tiles of a matrix with itself end before the diagonal": Fault(
        "kernels/dense/tiles.py",
        "end // height + 1 if same",
        "end // height if same",
        "tests/test_dense.py::test_with_themselves[97x200-tiles-avx2]",
    ),
    "runs of dimensions are not added to those before": Fault(
        "kernels/dense/tiles.py",
        "past = sums if d > 0 else zeros",
        "past = zeros",
        "tests/test_dense.py::test_no_less_accurate_than_blas[gaussian-tiles-avx2]",
    ),
    "a block on the diagonal is mirrored onto itself": Fault(
        "kernels/dense/blocks.py",
        "if i + 16 <= min(j, count) and",
        "if i + 16 <= count and",
        "tests/test_dense.py::test_a_half_is_mirrored",
    ),
    "the last rows of a mirrored half stay as they were": Fault(
        "kernels/dense/blocks.py",
        "for row in range(j, min(j + 16, stop)):",
        "for row in range(j, min(j + 16, stop - 1)):",
        "tests/test_dense.py::test_with_themselves[40x17-tiles-avx2]",
    ),
    "cosines by BLAS are not clipped": Fault(
        "kernels/dense/blas.py",
        "np.clip(block, -1, 1, out=block)",
        "pass",
        "tests/test_dense.py::test_blas_in_several_blocks",
        python=True,
    ),
    "squares of float64 leave their range": Fault(
        "kernels/dense/blas.py",
        "np.divide(matrix, largest, out=unit)",
        "unit[:] = matrix",
        "tests/test_similarity.py::test_float64_of_any_scale",
        python=True,
    ),
    "the lower half of a product by BLAS is that of the first block": Fault(
        "kernels/dense/blas.py",
        "out[j : j + height, i : i + height] = block.T",
        "out[j : j + height, :height] = block.T",
        "tests/test_dense.py::test_blas_in_several_blocks",
        python=True,
    ),
    "a bad row of a later block of BLAS is numbered within it": Fault(
        "kernels/dense/blas.py",
        "return -1, j + bad",
        "return -1, bad",
        "tests/test_dense.py::test_blas_in_several_blocks",
        python=True,
    ),
    "a tile of the last rows is as high as others": Fault(
        "kernels/products.py",
        "here = min(HEIGHT, count - i)",
        "here = HEIGHT",
        "tests/test_products.py::test_nothing_is_written_past_the_last_row",
    ),
    "a strip of columns lies behind the first as in the matrix": Fault(
        "kernels/products.py",
        "strip, step = array.strides[:2]",
        "strip = array.strides[0]",
        "tests/test_products.py",
        python=True,
    ),
    # Micro-kernels and codes of all extremes.
    "AMX's lower tile starts at the corrections of other queries": Fault(
        "kernels/micro/amx_int8.py",
        "_load3(corrections + 64, 0)",
        "_load3(corrections, 0)",
        "tests/test_amx_int8.py::test_the_tile_program_computes_every_score",
    ),
    "AMX's sums of slices start at the corrections of other vectors": Fault(
        "kernels/micro/amx_int8.py",
        "_load3(start + 64, 0)",
        "_load3(start, 0)",
        "tests/test_dense_slices.py::test_the_amx_program_sums_every_order",
    ),
    "AMX stores the sums of one tile twice": Fault(
        "kernels/micro/amx_int8.py",
        "_store3(scores + 64 + 64 * _QUERIES, 4 * _QUERIES)",
        "_store2(scores + 64 + 64 * _QUERIES, 4 * _QUERIES)",
        "tests/test_amx_int8.py::test_the_tile_program_computes_every_score",
    ),
    "AVX-512 saturates": Fault(
        "kernels/micro/avx512_vnni.py",
        '"llvm.x86.avx512.vpdpbusd.512"',
        '"llvm.x86.avx512.vpdpbusds.512"',
        "tests/test_micro_kernels.py::test_extreme_codes",
        reason=(
            "A lane's sum starts at its correction and adds products of one sign at a time: up to "
            "131,072 dimensions it stays within 127 * 128 * dims < 2**31 wherever it is."
        ),
    ),
    "portable sums take a row's bytes as signed": Fault(
        "kernels/micro/generic.py",
        "(builder.lshr(codes, eight), builder.ashr(queries, eight))",
        "(builder.ashr(codes, eight), builder.ashr(queries, eight))",
        "tests/test_micro_kernels.py::test_rows[generic]",
    ),
    "portable products stay in 16 bits": Fault(
        "kernels/micro/generic.py",
        "products = builder.mul(builder.sext(a, _WIDE), builder.sext(b, _WIDE))",
        "products = builder.sext(builder.mul(a, b), _WIDE)",
        "tests/test_micro_kernels.py::test_rows[generic]",
        reason="A byte of a row is at most 255 and a code of a query 127 in magnitude: 32,385 < 2**15.",
    ),
    "queries have the levels of other micro-kernels": Fault(
        "kernels/micro/avx2.py", "    levels=_LEVELS,\n", "", "tests/test_avx2.py", python=True
    ),
    "there may be more dimensions than sums of 32 bits hold": Fault(
        "fastvec/_checks.py",
        "MAX_DIMS = 131_072",
        "MAX_DIMS = 140_000",
        "tests/test_micro_kernels.py::test_sums_of_codes_fit_32_bits",
    ),
    "AMX is used though Linux did not permit it": Fault(
        "kernels/micro/amx_int8.py",
        (
            "if libc.syscall(arch_prctl, check, ctypes.byref(permitted)) != 0 or not permitted.value "
            ">> tile_data & 1:"
        ),
        "if libc.syscall(arch_prctl, check, ctypes.byref(permitted)) != 0:",
        "tests/test_amx_int8.py::test_a_permission_is_believed_only_if_linux_says_so",
        python=True,
    ),
    # Rows of other types.
    "int8 rows are taken for unsigned ones": Fault(
        "kernels/lanes.py",
        "builder.sitofp(value, simd.f32x32.ir)",
        "builder.uitofp(value, simd.f32x32.ir)",
        "tests/test_operations.py::test_norms_of_int8_rows",
    ),
    "the last dimensions of a row are read from its beginning": Fault(
        "kernels/lanes.py",
        "at, count = offset(builder, row, full, values.size), builder.sub(dims, full)",
        "at, count = row, builder.sub(dims, full)",
        "tests/test_operations.py::test_norms_of_int8_rows",
    ),
    "rows that are added to int8 ones are cut to int8": Fault(
        "fastvec/_stores/int8.py",
        "if self.rows and rows.dtype != np.int8:",
        "if False:",
        "tests/test_int8.py::test_what_takes_float32_rows tests/test_int8.py::test_changes",
    ),
    "ranges of int8 rows are read as float32": Fault(
        "fastvec/_stores/int8.py",
        "return super().ranges(_of_int8(request), least)",
        "return super().ranges(request, least)",
        ("tests/test_int8.py::test_rows_of_signs tests/test_int8.py::test_answers_are_those_of_float32_rows"),
    ),
    "packed signs of int8 are those of uint8": Fault(
        "fastvec/similarity.py",
        "array = array.view(np.uint8) ^ np.uint8(128)",
        "array = array.view(np.uint8)",
        "tests/test_bits.py",
    ),
    # Shards.
    "shards are merged by float32 scores": Fault(
        "fastvec/_stores/shard.py",
        "order = np.lexsort((last, -scores), axis=1)",
        "order = np.lexsort((last, -scores.astype(np.float32)), axis=1)",
        "case:shards case:shards_of_changed_rows",
    ),
    "ties between shards fall to the higher row": Fault(
        "fastvec/_stores/shard.py",
        "order = np.lexsort((last, -scores), axis=1)",
        "order = np.lexsort((-last, -scores), axis=1)",
        "case:shards case:shards_of_changed_rows",
    ),
    "ranges of shards are merged by float32 scores": Fault(
        "fastvec/_stores/shard.py",
        "np.lexsort((indices, -scores, query))",
        "np.lexsort((indices, -scores.astype(np.float32), query))",
        "case:shards case:shards_of_changed_rows",
    ),
    "ranges of shards are in the order of rows": Fault(
        "fastvec/_stores/shard.py",
        "np.lexsort((indices, -scores, query))",
        "np.lexsort((-scores, indices, query))",
        "case:shards case:shards_of_changed_rows",
    ),
    "the first row of a run has a number of the run before": Fault(
        "fastvec/_stores/shard.py",
        'run = np.searchsorted(self.at, places, "right") - 1',
        'run = np.searchsorted(self.at, places, "left") - 1',
        "case:shards case:shards_of_changed_rows",
    ),
    "the row behind a run is the first of the next": Fault(
        "fastvec/_stores/shard.py",
        "(places < self.at[run + 1])",
        "(places <= self.at[run + 1])",
        "case:shards case:shards_of_changed_rows",
    ),
    "rows before the first run are those of the last": Fault(
        "fastvec/_stores/shard.py",
        "np.where((run >= 0) & (places",
        "np.where((places",
        "case:shards case:shards_of_changed_rows",
        reason="Such a place comes out below 0, and every reader takes what is below 0 for no row.",
    ),
    "runs that do not meet become one": Fault(
        "fastvec/_stores/shard.py",
        "if first and start == first[-1] + at[-1] - at[-2]:",
        "if first and start >= first[-1] + at[-1] - at[-2]:",
        "case:shards case:shards_of_changed_rows",
    ),
    "later questions of a shard have the inputs of the first": Fault(
        "fastvec/_stores/shards.py",
        "some = inputs.part(first, last)",
        "some = inputs.part(0, last - first)",
        "case:shards case:shards_of_changed_rows",
    ),
    "later queries of a shard have the exclusions of the first": Fault(
        "fastvec/_stores/shards.py",
        "part = request.exclusions.part(first, last)",
        "part = request.exclusions.part(0, last - first)",
        "case:shards case:shards_of_changed_rows",
    ),
    "offsets of exclusions in later batches are those of all": Fault(
        "fastvec/_stores/shards.py",
        "offsets, rows = part.offsets - part.offsets[0], ",
        "offsets, rows = part.offsets, ",
        "case:shards case:shards_of_changed_rows",
    ),
    "masks of single queries do not reach the shards": Fault(
        "fastvec/_stores/shards.py",
        "exclusions._replace(mask=layout.cut(part.mask))",
        "exclusions",
        "case:shards case:shards_of_changed_rows",
    ),
    "a mask is that of the first rows for every shard": Fault(
        "fastvec/_stores/shards.py",
        "allowed = layout.cut(request.allowed)",
        "allowed = request.allowed[: layout.rows]",
        "case:shards case:shards_of_changed_rows",
    ),
    "folders of two metrics are one Index": Fault(
        "fastvec/_stores/shards.py", "        if other != metric:", "        if False:", "case:shards"
    ),
    "numbers of the second folder begin at 0": Fault(
        "fastvec/_stores/shards.py",
        "return [0, *itertools.accumulate(rows for _, rows, _ in known[:-1])]",
        "return [0] * len(known)",
        "case:shards",
    ),
    "a bad row of a shard is numbered within it": Fault(
        "fastvec/_stores/shard.py",
        '_checks.refuse_row(bad, rows, "vectors", first)',
        '_checks.refuse_row(bad, rows, "vectors", 0)',
        "case:shards case:shards_of_changed_rows",
    ),
    "a changed row of a shard is named by its place": Fault(
        "fastvec/_stores/shard.py",
        "base.RowChangedError(int(self.layout.numbers(np.array([error.args[0]]))[0]))",
        "base.RowChangedError(int(error.args[0]))",
        "case:shards case:shards_of_changed_rows",
    ),
    "scores of a shard are those of positions": Fault(
        "fastvec/_stores/shard.py",
        'store, positions = self.rows.store, self.rows.positions(places, "rows")',
        "store, positions = self.rows.store, places",
        "case:shards case:shards_of_changed_rows",
    ),
    "the last positive input of a shard's question is negative": Fault(
        "fastvec/_stores/shard.py",
        "counts, step < positives)",
        "counts, step + 1 < positives)",
        "case:shards case:shards_of_changed_rows",
    ),
    "fetched rows of shards are in the order of shards": Fault(
        "fastvec/_stores/shards.py",
        "rows[places] = part",
        "rows[: len(part)] = part",
        "case:shards case:shards_of_changed_rows",
    ),
    "the middle of a later question is counted from the first": Fault(
        "kernels/analogy.py",
        "self.middle[first:last] - begin, self.numbers",
        "self.middle[first:last], self.numbers",
        "case:shards case:shards_of_changed_rows",
        python=True,
    ),
    # Rows of files: windows, passes, reading.
    "rows of a window are numbered within it": Fault(
        "fastvec/_stores/windows.py",
        "int(starts[place]) + first, request.allowed",
        "int(starts[place]), request.allowed",
        "tests/test_disk.py::test_codes_that_are_mapped_while_they_are_used_give_the_same_answers",
    ),
    "a window reaches into the part of the next thread": Fault(
        "fastvec/_stores/windows.py",
        "min(first + step, stop, end) - base",
        "min(first + step, end) - base",
        "tests/test_disk.py::test_codes_that_are_mapped_while_they_are_used_give_the_same_answers",
    ),
    "codes that were cut short are mapped": Fault(
        "fastvec/files/rows.py",
        "if os.fstat(file.fileno()).st_size < self._offset + self.nbytes:",
        "if False:",
        "tests/test_disk.py::test_codes_that_are_cut_short_are_an_error_and_no_crash",
    ),
    "fetched rows come in the inverse order": Fault(
        "fastvec/files/rows.py",
        "found[order] = rows",
        "found[:] = rows[order]",
        "tests/test_disk.py::test_fetching_any_rows_in_any_order",
    ),
    "rows of later blocks of a pass are numbered from 0": Fault(
        "fastvec/files/rows.py",
        "yield base + start, np.ascontiguousarray",
        "yield start, np.ascontiguousarray",
        "tests/test_disk.py::test_rows_of_several_blocks_pass_by_under_their_numbers",
    ),
    "a slice of a file begins at the file's first row": Fault(
        "fastvec/files/rows.py",
        "return FileRows(self._file, self._offset + start * self.width, shape, self.dtype)",
        "return FileRows(self._file, self._offset, shape, self.dtype)",
        "tests/test_disk.py::test_rows_of_several_blocks_pass_by_under_their_numbers",
    ),
    "equal numbers are read as neighbors": Fault(
        "kernels/reading.py",
        "numbers[last] == numbers[last - 1] + 1",
        "numbers[last] <= numbers[last - 1] + 1",
        "case:reading",
    ),
    "a short read of what the system has in memory will do": Fault(
        "kernels/reading.py",
        ", _NOWAIT) == count:",
        ", _NOWAIT) > 0:",
        "case:reading",
    ),
    "a failed read is passed over": Fault(
        "kernels/reading.py",
        "                if failed > at:\n                    read(at, failed)\n",
        "                if failed > at:\n",
        "tests/test_disk.py::test_rows_that_the_system_has_not_in_memory_are_asked_for_and_read",
        python=True,
    ),
    "a range of fetched rows is of float64 scores": Fault(
        "fastvec/_stores/fetching.py",
        "kept = np.flatnonzero(published >= least)",
        "kept = np.flatnonzero(exact >= least)",
        "tests/test_disk.py::test_ranges_of_fetched_rows_are_of_float32_scores",
    ),
    "fetched rows are not compared with their intervals": Fault(
        "fastvec/_stores/fetching.py",
        "stale = -1 if inside.all() else int(survivors.row[inside.argmin()])",
        "stale = -1",
        "tests/test_disk.py::test_damage_is_found",
    ),
    "queries that left a scan keep places in place of numbers": Fault(
        "fastvec/_stores/fetching.py",
        "    kept[survivors.left] = False\n",
        "",
        "tests/test_disk.py::test_a_query_that_leaves_the_scan_is_finished_by_a_pass",
    ),
    "a file of another type is passed without its last piece": Fault(
        "fastvec/_stores/passing.py",
        "for first in range(0, n, step)])",
        "for first in range(0, n - n % step, step)])",
        "tests/test_disk.py::test_a_mapped_file_of_another_type_is_converted_some_rows_at_a_time",
    ),
    "only the last piece of a pass answers": Fault(
        "fastvec/_stores/passing.py",
        "merge([*answer, question",
        "merge([question",
        "tests/test_disk.py::test_a_mapped_file_of_another_type_is_converted_some_rows_at_a_time",
    ),
    # Index folders.
    "checksums are not compared": Fault(
        "fastvec/files/part_arrays.py",
        ' or digest.hexdigest() != entry["sha256"]',
        "",
        "tests/test_folder.py::test_a_changed_byte_is_found_by_whoever_reads_the_array",
    ),
    "a file that is longer than it was will do": Fault(
        "fastvec/files/part_arrays.py",
        'if file.identity.size != entry["bytes"]:',
        'if file.identity.size < entry["bytes"]:',
        "tests/test_folder.py::test_every_length_is_checked_when_it_is_opened",
    ),
    "slacks of a screen may be negative": Fault(
        "fastvec/files/part_arrays.py",
        ', "screen_tail", "screen_slack")',
        ', "screen_tail")',
        "tests/test_hostile_folder.py::test_hostile_arrays_are_refused_or_harmless",
    ),
    "leading words may be NaN": Fault(
        "fastvec/files/part_arrays.py",
        "if words is not None and (",
        "if words is None and (",
        "tests/test_hostile_folder.py::test_hostile_arrays_are_refused_or_harmless",
    ),
    "a pivot may be the row after the last": Fault(
        "fastvec/files/part_arrays.py",
        "not 0 <= array.min() <= array.max() < count:\n            raise",
        "not 0 <= array.min() <= array.max() <= count:\n            raise",
        "tests/test_hostile_folder.py::test_hostile_arrays_are_refused_or_harmless",
    ),
    "a number may be that of the next row": Fault(
        "fastvec/files/part_arrays.py",
        "not 0 <= found.min() <= found.max() < top:",
        "not 0 <= found.min() <= found.max() <= top:",
        "tests/test_hostile_folder.py::test_hostile_arrays_of_parts_are_refused",
    ),
    "numbers given before the last rows were removed are given again": Fault(
        "fastvec/files/part_arrays.py",
        'if state.top == state.facts["rows"] and all(',
        "if all(",
        "case:saved",
    ),
    "closed rows after the last are taken": Fault(
        "fastvec/files/part_arrays.py",
        "if found[-1] == 0 or (beyond > 0 and found[-1] >> (8 - beyond)):",
        "if found[-1] == 0:",
        "tests/test_hostile_folder.py::test_hostile_arrays_of_parts_are_refused",
    ),
    "headers of arrays are not compared with index.json": Fault(
        "fastvec/files/part_arrays.py",
        '            False,\n            entry["offset"],\n        ):',
        '            False,\n            entry["offset"],\n        ) and False:',
        "tests/test_hostile_folder.py::test_headers_that_differ_from_the_manifest",
    ),
    "a folder with other words keeps the old ones": Fault(
        "fastvec/files/parts.py",
        "    parts = parts[: _with_same_words(content, saved, parts)]\n",
        "",
        "tests/test_parts.py tests/test_vocabulary.py",
    ),
    "a removal alone is no change that refreshing would lose": Fault(
        "fastvec/files/parts.py",
        "        and np.array_equal(content.mask(), saved.mask)\n",
        "",
        "tests/test_parts.py::TestOthers::test_a_removal_alone_is_a_change_that_refreshing_would_lose",
    ),
    "parts whose files are damaged stay": Fault(
        "fastvec/files/parts.py",
        "count = next((at for at, part in enumerate(parts) if not intact(target, part)), len(parts))",
        "count = len(parts)",
        "tests/test_parts.py",
    ),
    "a refreshed Index keeps blocks that changed": Fault(
        "fastvec/files/parts.py",
        "        if part != known:\n            break\n",
        "",
        "tests/test_parts.py::TestOthers::test_refresh_reads_a_part_that_has_as_many_rows_as_before",
    ),
    "the seal of index.json is not compared": Fault(
        "fastvec/files/manifest.py",
        'if seal is None or manifest.get("sha256") != seal:',
        "if seal is None:",
        "tests/test_folder.py::test_every_flipped_byte_is_found",
    ),
    "the mask of closed rows is no file of the folder": Fault(
        "fastvec/files/manifest.py",
        '            names.setdefault(self.closed.folder, set()).add("closed.npy")\n',
        "            pass\n",
        "tests/test_parts.py tests/test_folder.py",
    ),
    "two parts may have one folder": Fault(
        "fastvec/files/manifest_checks.py",
        'if len({part["folder"] for part in parts}) < len(parts):',
        "if False:",
        "tests/test_hostile_folder.py::test_every_value_of_a_manifest_with_parts_is_checked",
    ),
    "an array may be shorter than its file": Fault(
        "fastvec/files/manifest_checks.py",
        'if entry["bytes"] != offset + size:',
        'if entry["bytes"] < offset + size:',
        "tests/test_hostile_folder.py",
    ),
    "parts may have more rows than the folder": Fault(
        "fastvec/files/manifest_checks.py",
        'if sum(part["rows"] for part in parts) != manifest["rows"]:',
        'if sum(part["rows"] for part in parts) < manifest["rows"]:',
        "tests/test_hostile_folder.py::test_every_value_of_a_manifest_with_parts_is_checked",
    ),
    "numbers of a part may reach beyond the top": Fault(
        "fastvec/files/manifest_checks.py",
        '_integer(part["first"], 0, top - part["rows"])',
        '_integer(part["first"], 0, top)',
        "tests/test_hostile_folder.py::test_every_value_of_a_manifest_with_parts_is_checked",
    ),
    "a screen may have more pivots than rows": Fault(
        "fastvec/files/manifest_checks.py",
        '("pivots", 0, first_rows)',
        '("pivots", 0, _MOST_ROWS)',
        "tests/test_hostile_folder.py::test_hostile_facts_of_a_screen_are_refused",
    ),
    "a new name is not forced to the disk": Fault(
        "fastvec/files/atomic.py",
        "    os.replace(made, place)\n    force_names(place.parent)\n",
        "    os.replace(made, place)\n",
        "tests/test_writes.py",
    ),
    "an error between two files leaves old beside new": Fault(
        "fastvec/files/atomic.py",
        "aside if _number(main) == before else made",
        "aside if _number(main) != before else made",
        "tests/test_writes.py tests/test_replacing.py",
    ),
    "companions in stages do not say whose they are": Fault(
        "fastvec/files/atomic.py",
        "            _note_owner(new, replaced, place)\n",
        "",
        "tests/test_writes.py tests/test_replacing.py",
    ),
    # Files of other formats, read and written in runs.
    "words of a later run of a text are counted within it": Fault(
        "fastvec/files/text.py",
        "                with counted_from(row):\n",
        "                with counted_from(0):\n",
        "tests/test_build.py::test_what_is_wrong_in_a_later_run_of_a_file_is_named_by_its_row",
    ),
    "rows of later runs of a text are not added up": Fault(
        "fastvec/files/text.py",
        "at, row = end, row + rows\n",
        "at, row = end, rows\n",
        "tests/test_build.py::test_what_is_wrong_in_a_later_run_of_a_file_is_named_by_its_row",
    ),
    "a run of a text ends with a row more": Fault(
        "fastvec/files/text.py",
        "                    rows -= 1  # the last newline",
        "                    rows -= 0  # the last newline",
        "tests/test_build.py::test_words_come_along",
    ),
    "a later run of records begins a byte early": Fault(
        "fastvec/files/binary.py",
        "                at = int(ends[-1]) + 1 + 4 * dims\n",
        "                at = int(ends[-1]) + 4 * dims\n",
        "tests/test_build.py::test_words_come_along",
    ),
    "lines after the first thousand have the vectors of those": Fault(
        "fastvec/files/text.py",
        "vectors[start : start + _LINES].tolist()",
        "vectors[:_LINES].tolist()",
        "tests/test_files.py::test_many_rows_are_written_in_blocks_and_writing_tells_how_many",
    ),
    "records after the first thousand have the vectors of those": Fault(
        "fastvec/files/binary.py",
        "vectors[start : start + _RECORDS].astype",
        "vectors[:_RECORDS].astype",
        "tests/test_files.py::test_many_rows_are_written_in_blocks_and_writing_tells_how_many",
    ),
    "later groups of Parquet have the vectors of the first": Fault(
        "fastvec/files/arrow_writing.py",
        "vectors[start : start + rows], values)",
        "vectors[: len(texts)], values)",
        "tests/test_files.py::test_many_rows_are_written_in_blocks_and_writing_tells_how_many",
    ),
    "labels after the first piece are not looked at": Fault(
        "fastvec/files/building.py",
        "while lines := file.readlines(_LINES_BYTES):",
        "if lines := file.readlines(_LINES_BYTES):",
        "tests/test_build.py::test_words_of_blocks_and_repeated_words",
    ),
    "later batches of questions are those of the first": Fault(
        "fastvec/evaluation.py",
        "batch = group[start : start + _BATCH]",
        "batch = group[:_BATCH]",
        "tests/test_evaluation.py::test_answers_are_those_of_analogy",
    ),
    # Evaluation.
    "the row behind the restricted ones may be an answer": Fault(
        "fastvec/evaluation.py",
        "np.arange(n) < len(words)",
        "np.arange(n) <= len(words)",
        "tests/test_evaluation.py::test_the_first_word_beyond_the_restriction_is_no_answer",
    ),
    "a pair may have a score that is not finite": Fault(
        "fastvec/evaluation.py",
        "return (a, b, score) if np.isfinite(score) else None",
        "return a, b, score",
        "tests/test_evaluation.py::test_pairs_between_tabs_may_have_spaces_and_need_a_finite_score",
    ),
    "words between tabs end at spaces": Fault(
        "fastvec/evaluation.py",
        'if "\\t" in line else line.split()',
        "if False else line.split()",
        "tests/test_evaluation.py::test_pairs_between_tabs_may_have_spaces_and_need_a_finite_score",
    ),
    "a correlation may be above 1": Fault(
        "fastvec/evaluation.py",
        "return max(-1.0, min(1.0, float(x @ y) / length))",
        "return float(x @ y) / length",
        "tests/test_evaluation.py::test_no_correlation_is_beyond_one",
    ),
    "lists are full if those of the first query are": Fault(
        "fastvec/results.py",
        "self.indices[:, -1].min() >= 0",
        "self.indices[0, -1] >= 0",
        "tests/test_answers.py::test_lists_of_queries_that_found_more_and_less",
    ),
    "lists are as wide as that of the first query": Fault(
        "fastvec/results.py",
        "None if counts is None else counts.max()",
        "None if counts is None else counts[0]",
        "tests/test_answers.py::test_lists_of_queries_that_found_more_and_less",
    ),
    # Rows that change.
    "masks of single queries are by number where positions differ": Fault(
        "fastvec/_snapshot.py",
        "mask = np.ascontiguousarray(mask[:, self.numbers])",
        "mask = np.ascontiguousarray(mask[:, : len(self.numbers)])",
        "case:packed case:replaced case:living case:history",
    ),
    "rows that tie in a range are ranked for the query before": Fault(
        "fastvec/_snapshot.py",
        'np.searchsorted(offsets, ties, "right") - 1',
        'np.searchsorted(offsets, ties, "left") - 1',
        "case:packed case:replaced case:living case:history",
    ),
    "3CosMul's answers after a change are positions": Fault(
        "fastvec/_snapshot.py",
        "numbers = np.append(self.numbers[self.order], -1)",
        "numbers = np.append(self.order, -1)",
        "case:packed case:replaced case:living case:history",
    ),
    "a changed row is named by its position": Fault(
        "fastvec/_snapshot.py",
        "raise base.RowChangedError(int(self.numbers[error.args[0]]))",
        "raise base.RowChangedError(int(error.args[0]))",
        "case:packed case:replaced case:living case:history",
    ),
    "rows that are left are in the order of positions": Fault(
        "fastvec/_snapshot.py",
        "return positions[np.argsort(self.numbers[positions])]",
        "return positions",
        "case:packed case:replaced case:living case:history case:living",
    ),
    "a removal is not shown to searches": Fault(
        "fastvec/_living.py",
        "            self.seen = None\n            self._state.open",
        "            self._state.open",
        "case:living",
    ),
    "what searches see is made without the lock": Fault(
        "fastvec/_living.py",
        "            with self._lock.here:\n                seen = self._shown()\n        return seen",
        "            seen = self._shown()\n        return seen",
        "tests/test_living.py::test_what_is_shown_is_not_older_than_a_change",
    ),
    "a change shows the new rows before the old are hidden": Fault(
        "fastvec/_living.py",
        (
            "        self.seen = None  # first: nothing is shown that is not the state\n"
            "        self._state = state\n"
        ),
        "        self._state = state\n        self.seen = None\n",
        "tests/test_living.py::test_a_change_that_ends_before_it_is_shown_hides_no_rows",
    ),
    "removed rows count as left when rows are packed": Fault(
        "fastvec/_living.py",
        "        self._closed = 0\n\n    def take_over",
        "        pass\n\n    def take_over",
        "case:packed case:replaced case:living case:history",
        reason="The count says only whether to count: closed rows are counted before any are packed.",
    ),
    "the number after compaction is that before it": Fault(
        "fastvec/_living.py",
        "self._show(_State(store, EVERY, None, None, store.rows, labels))",
        "self._show(_State(store, EVERY, None, None, seen.top, labels))",
        "case:packed case:replaced case:living case:history case:living",
    ),
    "the top of a restored Index is its rows": Fault(
        "fastvec/_living.py",
        "return Snapshot(store, open_=open_, numbers=numbers, places=places, top=top, labels=labels)",
        "return Snapshot(store, open_=open_, numbers=numbers, places=places, labels=labels)",
        "case:saved",
    ),
    "all rows of a block with room have a screen": Fault(
        "fastvec/_stores/blocks.py",
        "more._replace(screened=last.screened, screened_rows=last.screened_rows)",
        "more._replace(screened=last.screened, screened_rows=len(more.vectors))",
        "tests/test_screen.py::test_few_rows_added_later_get_their_screen_in_lots",
    ),
    "appended rows keep the prefixes of the block as it was": Fault(
        "fastvec/_stores/blocks.py",
        "more = more._replace(screened=last.screened,",
        "more = more._replace(prefixes=last.prefixes, screened=last.screened,",
        "case:prefix",
    ),
    "a changed row is counted from the start of its block": Fault(
        "fastvec/_stores/blocks.py",
        "return base + first + (bad if",
        "return first + (bad if",
        "tests/test_add.py::test_changed_vectors_are_named_by_their_number",
    ),
    "a row of a screen is counted from the start of its block": Fault(
        "fastvec/_stores/blocks.py",
        "                return base + bad\n",
        "                return bad\n",
        "case:verified",
    ),
    "int8 values pass for rows whose codes are of float32": Fault(
        "fastvec/_stores/blocks.py",
        "differs &= ~(small & _same",
        "differs &= ~(small | _same",
        "case:verified",
    ),
    "few queries have the filter of the search before": Fault(
        "fastvec/_stores/cpu.py", "if whole is None or last is not allowed:", "if whole is None:", "case:few"
    ),
    "searches of fewer columns have the codes of all": Fault(
        "fastvec/_stores/cpu.py",
        "allowed, key = request.allowed, (request.dims, by_screens is not None)",
        "allowed, key = request.allowed, (self.dims, by_screens is not None)",
        "case:prefix",
    ),
    "rows that are encoded while they are scanned are numbered by block": Fault(
        "fastvec/_stores/cpu.py",
        "yield scan.Piece(0, len(rows), scan.rows_of(buffer, first, request.allowed))",
        "yield scan.Piece(0, len(rows), scan.rows_of(buffer, 0, request.allowed))",
        "case:one_shot",
    ),
    "an added block is written down with the rows before it": Fault(
        "fastvec/_stores/cpu.py",
        "store._ready_before = self._ready or self._ready_before",
        "store._ready = self._ready",
        "case:prefix case:living",
    ),
    "callers of other columns are scanned together": Fault(
        "fastvec/_stores/callers.py",
        "request.metric, request.dims, request.num_threads, allowed",
        "request.metric, request.num_threads, allowed",
        "tests/test_callers.py::test_only_like_requests_are_scanned_together",
    ),
    "callers of other filters are scanned together": Fault(
        "fastvec/_stores/callers.py",
        "allowed = id(request.allowed) if len(request.allowed) else 0",
        "allowed = 0",
        (
            "tests/test_living.py::test_callers_of_one_snapshot_are_scanned_together "
            "tests/test_callers.py::test_only_like_requests_are_scanned_together"
        ),
    ),
    "callers with masks of their own are joined": Fault(
        "fastvec/_stores/callers.py",
        "return len(request.queries) > 0 and not own and not len(request.exclusions.mask)",
        "return len(request.queries) > 0 and not own",
        "tests/test_living.py::test_callers_of_one_snapshot_are_scanned_together",
    ),
    "a joined caller gets the answers of the first": Fault(
        "fastvec/_stores/callers.py",
        "first, last = last, last + len(other.request.queries)",
        "first, last = 0, len(other.request.queries)",
        "tests/test_callers.py::test_answers_are_those_of_a_lone_caller",
    ),
    # Joins, filters and questions.
    "equal rows are one group though they score too little": Fault(
        "fastvec/_stores/joins.py",
        "enough[place] = score(at, originals[place], originals[place], asked.dims) >= least",
        "enough[place] = True",
        "case:pairs",
    ),
    "equal rows are one group only if they score enough": Fault(
        "fastvec/_stores/joins.py",
        "enough = np.bincount(found, minlength=n)[found[originals]] > 1",
        "enough = np.zeros(len(originals), np.bool_)",
        "case:pairs",
    ),
    "pairs that reach a score as float32 alone are left out": Fault(
        "fastvec/_stores/joins.py",
        "root = float(np.nextafter(asked.least, np.float32(-np.inf)))",
        "root = float(asked.least)",
        "case:pairs case:ranges",
        reason=(
            "A join scores every pair that the scan lets pass, whose thresholds have 2**-19 of slack "
            "for float32."
        ),
    ),
    "left rows of a join are read beyond their block": Fault(
        "fastvec/_stores/joins.py", "if last <= end:", "if True:", "case:pairs"
    ),
    "runs keep their offsets when missing numbers are left out": Fault(
        "fastvec/_row_numbers.py",
        "return before[offsets], rows[valid]",
        "return offsets, rows[valid]",
        "case:missing",
    ),
    "a row number may be that of the row after the last": Fault(
        "fastvec/_row_numbers.py",
        "if low < least or high >= n:",
        "if low < least or high > n:",
        "case:missing",
    ),
    "later questions have the rows of others": Fault(
        "fastvec/_row_numbers.py",
        "rows[_places(middle, minus)] = minus.rows",
        "rows[_places(middle, minus)[::-1]] = minus.rows",
        "case:analogies",
    ),
    "a mask of one query is taken for several": Fault(
        "fastvec/_row_numbers.py",
        "if array.shape not in ((n,), (m, n)):",
        "if array.shape not in ((n,), (m, n), (1, n)):",
        "tests/test_inputs.py::test_where_of_another_form_is_refused",
    ),
    "questions exclude rows by position": Fault(
        "fastvec/analogies.py",
        "filters.Exclusions.of_runs(inputs.offsets, numbers) if",
        "filters.Exclusions.of_runs(inputs.offsets, inputs.numbers) if",
        (
            "case:packed case:replaced case:living case:history "
            "tests/test_disk.py::test_removed_rows_and_other_operations"
        ),
    ),
    "unit rows of a question are those of all columns": Fault(
        "kernels/analogy.py",
        "squares = rows.sum_of_squares(x, dims)",
        "squares = rows.sum_of_squares(x, vectors.dims)",
        "case:analogies",
    ),
    "chosen queries keep the masks of the first": Fault(
        "kernels/filters.py",
        "self.mask[chosen] if len(self.mask)",
        "self.mask[: len(chosen)] if len(self.mask)",
        "case:masks",
        python=True,
    ),
    "exclusions of joined requests begin where the first ends": Fault(
        "kernels/filters.py",
        "return cls(np.cumsum(lengths), np.concatenate([part.rows for part in parts]), parts[0].mask)",
        (
            "return cls(np.cumsum(lengths), np.concatenate([part.rows for part in parts[::-1]]), "
            "parts[0].mask)"
        ),
        "tests/test_callers.py::test_exclusions_and_more_neighbors_than_rows",
        python=True,
    ),
    # Audits and results.
    "a row that ties with the last right one is wrong": Fault(
        "fastvec/referee.py", "own >= kth[:, np.newaxis]", "own > kth[:, np.newaxis]", "tests/test_audit.py"
    ),
    "a row counts as often as it is named": Fault(
        "fastvec/referee.py",
        "counts = exists & may & ~repeated",
        "counts = exists & may",
        "tests/test_audit.py",
    ),
    "rows of equal scores are errors of order": Fault(
        "fastvec/referee.py",
        "(ranked[:, 1:] > ranked[:, :-1])",
        "(ranked[:, 1:] >= ranked[:, :-1])",
        "tests/test_audit.py",
    ),
    "a score that is NaN is no error": Fault(
        "fastvec/referee.py",
        "np.where(np.isnan(errors), np.inf, errors)",
        "np.where(np.isnan(errors), 0.0, errors)",
        "tests/test_audit.py",
    ),
    "rows that a filter forbids are right": Fault(
        "fastvec/referee.py",
        "        may[exists] = allowed[given[exists]]\n",
        "        pass\n",
        "tests/test_audit.py",
    ),
    "a referee of blocks sees the mask of the first": Fault(
        "fastvec/referee.py",
        "allowed[start:stop] if len(allowed)",
        "allowed[: stop - start] if len(allowed)",
        "tests/test_audit.py",
    ),
    "the best row that is left out is one of the answer": Fault(
        "fastvec/referee.py",
        "inside = np.isin(line + right.indices, (line + given)[counts])",
        "inside = np.isin(right.indices, given[counts])",
        "tests/test_audit.py",
    ),
    "the digest has −0.0": Fault(
        "fastvec/referee.py",
        '.astype("<f4") + np.float32(0)',
        '.astype("<f4")',
        "tests/test_audit.py::test_the_digest_has_no_negative_zero",
    ),
    "answers of blocks are merged by float32 scores": Fault(
        "fastvec/_answers.py",
        "order = np.lexsort((last, -scores), axis=1)",
        "order = np.lexsort((last, -scores.astype(np.float32)), axis=1)",
        "tests/test_answers.py::test_answers_of_blocks_are_merged_by_float64",
    ),
    "rows of a later block are numbered within it": Fault(
        "fastvec/_answers.py",
        "indices + self.start)",
        "indices)",
        "tests/test_audit.py tests/test_answers.py",
    ),
    "lists leave out row 0 of one query": Fault(
        "fastvec/results.py",
        "if pair[0] >= 0]",
        "if pair[0] > 0]",
        "tests/test_answers.py::test_lists_leave_out_what_is_filled_up",
    ),
    "lists leave out row 0": Fault(
        "fastvec/results.py",
        "np.count_nonzero(self.indices >= 0, axis=1)",
        "np.count_nonzero(self.indices > 0, axis=1)",
        "tests/test_answers.py::test_lists_leave_out_what_is_filled_up",
    ),
    "tables have the filling": Fault(
        "fastvec/results.py",
        "found = indices >= 0\n",
        "found = indices >= -1\n",
        "tests/test_frames.py::test_rows_that_do_not_exist_are_left_out",
    ),
    # Selection.
    "the last entries of a row are taken twice": Fault(
        "kernels/selection.py", "bits = bits >> (j - first) << (j - first)", "bits = bits", "case:selection"
    ),
    "entries at the threshold are left out": Fault(
        "kernels/selection.py",
        "if key < threshold or (key == threshold and not ties):",
        "if key <= threshold:",
        "case:selection",
    ),
    "NaN passes for a number below the threshold": Fault(
        "kernels/sort_keys.py",
        "compare = builder.fcmp_unordered if",
        "compare = builder.fcmp_ordered if",
        "tests/test_operations.py::test_keys_of_a_selection",
    ),
    "0.0 and −0.0 differ in a selection": Fault(
        "kernels/sort_keys.py",
        "return builder.fadd(key, ir.Constant(kind, 0.0)) if _is_float(kind) else key",
        "return key",
        "tests/test_operations.py::test_keys_of_a_selection",
    ),
    "NaN in a later piece of a row is counted within it": Fault(
        "kernels/selection.py", "(row, start + nan[1])", "(row, nan[1])", "tests/test_topk.py", python=True
    ),
    "unsigned values are published as signed": Fault(
        "kernels/sort_keys.py",
        "builder.select(unsigned, builder.uitofp",
        "builder.select(unsigned, builder.sitofp",
        "tests/test_operations.py::test_keys_of_a_selection",
    ),
    # Devices.
    "a device's threshold is the largest lower end": Fault(
        "kernels/cuda/tighten.py",
        "prefix, needed = types.int64(0), types.int64(k)",
        "prefix, needed = types.int64(0), types.int64(1)",
        "cuda:rows_far_apart",
    ),
    "a device's threshold is the (k + 1)-th largest lower end": Fault(
        "kernels/cuda/tighten.py",
        "if above < needed and needed <= above + histogram[b]:",
        "if above <= needed and needed < above + histogram[b]:",
        "cuda:rows_far_apart",
        reason="A lower threshold leaves more candidates, and all of them are scored.",
    ),
    "an overflowed list keeps the candidates of its chunk": Fault(
        "kernels/cuda/tighten.py",
        "if place < size and (total <= capacity or place < before):",
        "if place < size:",
        "cuda:overflow_loses_and_repeats_nothing",
    ),
    "excluded rows stay in a device's lists": Fault(
        "kernels/cuda/tighten.py",
        "if is_excluded(excluded, q, row):",
        "if False:",
        "cuda:excluded_rows_raise_no_threshold",
    ),
    "a list that overflowed is not marked": Fault(
        "kernels/cuda/tighten.py",
        "            marks[q] = 1\n",
        "            pass\n",
        "cuda:overflow_is_scanned_again",
    ),
    "a device's list is written past its end": Fault(
        "kernels/cuda/scan.py",
        "if slot < lists.capacity:",
        "if slot <= lists.capacity:",
        "cuda:overflow_is_scanned_again",
    ),
    "masks of a device's later queries are those of the first": Fault(
        "kernels/cuda/scan.py",
        "closed.bits[q * words + (number >> 5)]",
        "closed.bits[number >> 5]",
        "cuda:rows_closed_to_one_query",
    ),
    "a warp's next tiles begin with the steps of the last": Fault(
        "kernels/cuda/scan.py",
        "ahead = beyond * tile_words + lane * 4",
        "ahead = at",
        "cuda:a_warp_walks_over_many_tiles",
    ),
    "intervals of fewer columns are those of all on a device": Fault(
        "kernels/cuda/exact.py",
        "unit = unit_scale(encoded.scale[row], error, norm, encoded.full_norm[row])",
        "unit = unit_scale(encoded.scale[row], error, norm, norm)",
        "cuda:fewer_dimensions",
    ),
    "a device's pass takes rows that tie with the last": Fault(
        "kernels/cuda/exact.py",
        "if lane == 0 and value > least:",
        "if lane == 0 and value >= least:",
        "cuda:overflow_that_remains_leaves",
        reason=(
            "Rows come in rising order of their numbers, and rank() puts a row behind those of the "
            "same score and lower numbers: it is beaten there."
        ),
    ),
    "ties on a device fall to the higher row": Fault(
        "kernels/cuda/exact.py",
        "(rival == score and number < row)",
        "(rival == score and number > row)",
        "cuda:equal_rows",
    ),
    "a device's pass forgets the spans before": Fault(
        "kernels/cuda/scoring.py",
        "min(first + capacity, walk.rows.n)), part > 0",
        "min(first + capacity, walk.rows.n)), False",
        "cuda:overflow_that_remains_leaves",
    ),
    "the reach of a panel is rounded to the nearest": Fault(
        "kernels/cuda/terms.py",
        "types.float32(longest * (1.0 + 2.0**-23))",
        "types.float32(longest)",
        "tests/test_cuda_model.py",
        reason="Slacks are raised by 2**-20 of themselves, which is sixteen such roundings.",
    ),
    "the error of a panel is rounded to the nearest": Fault(
        "kernels/cuda/terms.py",
        "types.float32(most * (1.0 + 2.0**-23))",
        "types.float32(most)",
        "tests/test_cuda_model.py",
        reason="Slacks are raised by 2**-20 of themselves, which is sixteen such roundings.",
    ),
    "short panels have no least length": Fault(
        "kernels/cuda/terms.py",
        "longest, most = 2.0**-40, 0.0",
        "longest, most = 0.0, 0.0",
        "cuda:rows_that_are_tiny_beside_others",
    ),
    "a query of a device without the slack for float32": Fault(
        "kernels/cuda/terms.py",
        "raised_error = error + FLOAT32_SLACK",
        "raised_error = error",
        "tests/test_cuda_model.py::test_the_slack_of_a_query_is_that_of_the_proof",
    ),
    "only the last chunk says which queries leave a device": Fault(
        "kernels/cuda/walk.py",
        "left=marked.any(axis=0)",
        "left=marked[-1]",
        "cuda:overflow_that_remains_leaves",
    ),
    "chunks are scanned again for all queries": Fault(
        "kernels/cuda/walk.py",
        "        lanes[:, others], lanes[ROOT, others] = 0.0, HIGHEST\n",
        "",
        "cuda:overflow_of_one_query_repeats_nothing_of_another",
    ),
    "a recorded search is replayed with other terms": Fault(
        "kernels/cuda/walk.py",
        "last.terms is self.terms and last.finish",
        "last.finish",
        "cuda:searches_of_the_same_kind",
    ),
    "a device's errors without the growth of their sums": Fault(
        "kernels/cuda/encode.py",
        "product(math.sqrt(total) / scaled, growth_of(dims)) + MEASURED_SLACK",
        "math.sqrt(total) / scaled + MEASURED_SLACK",
        "cuda:codes_are_those_of_the_processor",
    ),
    "a NaN in the last rows of a device is not found": Fault(
        "kernels/cuda/encode.py",
        "            cuda.atomic.min(wrong, 0, row)\n            width",
        "            width",
        "cuda:nan_on_the_device_is_named",
    ),
    "rows of a prefix on a device have the norms of all columns": Fault(
        "kernels/cuda/encode.py",
        "step = types.float64(measured.scale[row]) * full_norm[row]",
        "step = types.float64(measured.scale[row])",
        "cuda:codes_are_those_of_the_processor",
    ),
    "a bit of a device's mask is that of the row before": Fault(
        "kernels/cuda/terms.py",
        "shut = (closed[row >> 5] >> (row & 31)) & 1",
        "shut = (closed[row >> 5] >> ((row - 1) & 31)) & 1",
        "cuda:rows_closed_to_all",
    ),
    # Embedding.
    "tokens of requests that are a minute old still count": Fault(
        "fastvec/_embedding/pace.py",
        "            self._sum -= old_tokens\n",
        "",
        "tests/test_embedding_refusals.py::test_requests_a_minute_are_spread_evenly",
    ),
    "embeddings are placed in the order in which they come": Fault(
        "fastvec/_embedding/answers.py",
        'ordered[index] = item.get("embedding")',
        'ordered[sum(seen) - 1] = item.get("embedding")',
        "tests/test_embedding_refusals.py::test_indices_that_are_left_out",
    ),
    "an embedding that is all zero is kept": Fault(
        "fastvec/_embedding/answers.py",
        "    if not vector.any():",
        "    if False:",
        (
            "tests/test_embedding_refusals.py "
            "tests/test_embedding_cache.py::test_good_rows_of_a_bad_answer_are_kept tests/test_openai.py"
        ),
    ),
    "a damaged row of the cache is kept": Fault(
        "fastvec/_embedding/cache.py",
        "            and checksum == self._checksum(digest, blob)\n",
        "",
        (
            "tests/test_embedding_cache.py::test_a_damaged_row_is_asked_for_again_and_mended "
            "tests/test_embedding_cache.py::test_no_damage_brings_another_row"
        ),
    ),
    "rows of the cache may be of several widths": Fault(
        "fastvec/_embedding/cache.py",
        "if row.size == width and _could_be(row)}\n        bad",
        "if _could_be(row)}\n        bad",
        "tests/test_embedding_cache.py::test_rows_of_another_width_than_most_are_asked_for_again",
    ),
    # Code that is written as instructions.
    "one lane more than asked is loaded": Fault(
        "kernels/simd.py",
        'return builder.icmp_unsigned("<", lanes, limit)',
        'return builder.icmp_unsigned("<=", lanes, limit)',
        "tests/test_operations.py::test_lanes",
    ),
    "the lower half of a word is its upper": Fault(
        "kernels/simd.py",
        "builder.shl(words, ir.Constant(words.type, [16] * 16))",
        "builder.shl(words, ir.Constant(words.type, [0] * 16))",
        "tests/test_operations.py::test_memory_and_bits",
    ),
    "bytes are signed": Fault(
        "kernels/simd.py",
        "return builder.zext(builder.load(pointer(builder, at, _i8)), _i32)",
        "return builder.sext(builder.load(pointer(builder, at, _i8)), _i32)",
        "tests/test_operations.py::test_memory_and_bits",
    ),
    "a counter says what it is after the addition": Fault(
        "kernels/simd.py",
        'return builder.atomic_rmw("add", pointer(builder, at, _i64), amount, "monotonic")',
        "return builder.add(amount, builder.load(pointer(builder, at, _i64)))",
        "tests/test_operations.py::test_memory_and_bits",
    ),
    "sums are added from one end to the other": Fault(
        "kernels/simd.py",
        "ir.Constant(ir.VectorType(_i32, width), list(range(start, start + width))),",
        "ir.Constant(ir.VectorType(_i32, width), list(range(start // width, 2 * width, 2))),",
        "tests/test_operations.py::test_lanes",
    ),
    "cosines below −1 are not clipped": Fault(
        "kernels/simd.py",
        'for compare, limit in ((">", 1.0), ("<", -1.0)):',
        'for compare, limit in ((">", 1.0), ("<", -2.0)):',
        "tests/test_dense.py::test_every_way_at_every_border[70x97x385-tiles-avx2]",
    ),
    "cosines by slices below −1 are not clipped": Fault(
        "kernels/dense/slices.py",
        'for compare, end in ((">", 1.0), ("<", -1.0)):',
        'for compare, end in ((">", 1.0), ("<", -2.0)):',
        "tests/test_dense.py::test_every_way_at_every_border[70x97x385-slices]",
    ),
    "full lanes are 16": Fault(
        "kernels/lanes.py",
        "full = builder.and_(dims, ir.Constant(_i64, -simd.LANES))",
        "full = builder.and_(dims, ir.Constant(_i64, -16))",
        "tests/test_operations.py::test_norms_of_int8_rows",
    ),
    "the last lanes are read with those behind the row": Fault(
        "kernels/lanes.py",
        "converted(values.to_float32(builder, simd.load_first_at(builder, at, count, values.vector)))",
        (
            "converted(builder.select(simd._below(builder, count), values.to_float32("
            "builder, builder.load(pointer(builder, at, values.vector), align=1)), "
            "ir.Constant(simd.f32x32.ir, None)))"
        ),
        "tests/test_memory_ends.py::test_nothing_is_read_past_the_rows[normalize-narrow-last]",
    ),
    "queries are read as the rows are": Fault(
        "kernels/lanes.py",
        "(total, load(other, q_values), row)",
        "(total, load(other, x_values), row)",
        "tests/test_operations.py::test_sums_of_float32_rows_with_int8_rows",
    ),
    "the magnitudes of negative keys keep their order": Fault(
        "kernels/sort_keys.py",
        "rising = builder.xor(bits, builder.lshr(sign, ir.Constant(bits.type, 1)))",
        "rising = bits",
        "tests/test_operations.py::test_keys_of_a_selection",
    ),
    "NaN may be among the best of a lane": Fault(
        "kernels/sort_keys.py",
        "compare = builder.fcmp_ordered if _is_float(kind) else builder.icmp_signed\n    builder.store",
        "compare = builder.fcmp_unordered if _is_float(kind) else builder.icmp_signed\n    builder.store",
        "tests/test_operations.py::test_keys_of_a_selection",
    ),
    "tiles of products go on past the last row": Fault(
        "kernels/products.py",
        "last = builder.sub(count, ir.Constant(_i64, 1))",
        "last = count",
        "tests/test_products.py::test_nothing_is_written_past_the_last_row",
    ),
    "of four words the last is the third": Fault(
        "kernels/cosmul.py",
        "builder.mul(dims, ir.Constant(dims.type, 4 * z))) for z in range(4)]",
        "builder.mul(dims, ir.Constant(dims.type, 4 * min(z, 2)))) for z in range(4)]",
        "tests/test_operations.py::test_halves_of_cosines",
    ),
    "rows of a written table are as far apart as there are rows": Fault(
        "kernels/native.py",
        "for length in shape[:0:-1]:",
        "for length in shape[:-1]:",
        "tests/test_native.py::test_compiled_code_reads_what_was_written_down",
    ),
    # Micro-kernels' instructions.
    "all queries have the corrections of the first": Fault(
        "kernels/micro/register_tile.py",
        "builder.load(pointer(builder, offset(builder, corrections, vector, size), lanes), align=4)",
        "builder.load(pointer(builder, offset(builder, corrections, 0), lanes), align=4)",
        "tests/test_vnni.py::test_tiles_of_every_number_of_blocks",
    ),
    "three blocks of queries are two": Fault(
        "kernels/micro/avx512_vnni.py",
        "            _tile3(at, stride",
        "            _tile2(at, stride",
        "tests/test_vnni.py::test_tiles_of_every_number_of_blocks",
    ),
    "the lower half of a tile is written over the upper": Fault(
        "kernels/micro/avx512_vnni.py",
        "scores + half * _HALF * 4 * _QUERIES",
        "scores + half * 4 * _QUERIES",
        "tests/test_vnni.py::test_tiles_of_every_number_of_blocks",
    ),
    "VNNI multiplies rows as signed bytes": Fault(
        "kernels/micro/avx_vnni.py",
        "_LANES, total, unsigned, signed)",
        "_LANES, total, signed, unsigned)",
        "tests/test_vnni.py::test_rows",
    ),
    "portable sums take a query's even bytes as unsigned": Fault(
        "kernels/micro/generic.py",
        "builder.ashr(builder.shl(queries, eight), eight)",
        "builder.and_(queries, low)",
        "tests/test_micro_kernels.py::test_rows[generic]",
    ),
    "a dot product leaves out every other vector of sums": Fault(
        "kernels/micro/register_tile.py",
        "results = [builder.add(a, b) for a, b in zip(results[::2], results[1::2], strict=True)]",
        "results = [builder.add(a, a) for a, b in zip(results[::2], results[1::2], strict=True)]",
        "tests/test_micro_kernels.py::test_rows[generic]",
    ),
    "NEON flips the top bits of three bytes of four": Fault(
        "kernels/micro/neon_dotprod.py",
        "[0x80808080] * lanes.count",
        "[0x80808000] * lanes.count",
        "tests/test_neon_dotprod.py::test_rows_on_a_model_of_the_instruction",
    ),
    "AMX's tiles are half as wide": Fault(
        "kernels/micro/amx_int8.py",
        "configuration[16 + 2 * tile] = 64",
        "configuration[16 + 2 * tile] = 32",
        "tests/test_amx_int8.py::test_the_configuration_is_of_eight_tiles_of_16_rows_of_64_bytes",
    ),
    "AMX's last tile is not configured": Fault(
        "kernels/micro/amx_int8.py",
        "for tile in range(8):\n        configuration",
        "for tile in range(7):\n        configuration",
        "tests/test_amx_int8.py::test_the_configuration_is_of_eight_tiles_of_16_rows_of_64_bytes",
    ),
    "Linux is asked for another feature than tile data": Fault(
        "kernels/micro/amx_int8.py",
        "0x1023, 0x1022, 18",
        "0x1023, 0x1022, 17",
        "tests/test_amx_int8.py::test_permission_is_asked_of_linux",
        python=True,
    ),
    # Dense cosines, and equal rows.
    "a bad vector of a later block of few queries is numbered within it": Fault(
        "kernels/dense/exact.py",
        "return -1, block + j",
        "return -1, j",
        "tests/test_dense.py::test_what_is_not_finite_is_found[3x40x4000-nan-exact]",
    ),
    "later blocks of few queries are the first": Fault(
        "kernels/dense/exact.py",
        "x = at.vectors + (block + j) * at.vector_stride",
        "x = at.vectors + j * at.vector_stride",
        "tests/test_dense.py::test_every_way_at_every_border[240x301x140-exact]",
    ),
    "a bad query of a later panel of slices is numbered within it": Fault(
        "kernels/dense/slices.py",
        "return (first + q if q >= 0 else -1), x",
        "return (q if q >= 0 else -1), x",
        "tests/test_dense.py::test_what_is_not_finite_is_found[700x40x5-nan-slices]",
        python=True,
    ),
    "a bad query of a later part of tiles is numbered within it": Fault(
        "kernels/dense/tiles.py",
        "queries_bad = [first + q if q >= 0 else -1",
        "queries_bad = [q if q >= 0 else -1",
        "tests/test_dense.py::test_what_is_not_finite_is_found[150x2x9-nan-tiles-avx2]",
        python=True,
    ),
    "rows past the last are packed for a tile": Fault(
        "kernels/dense/tiles.py",
        "last, block = builder.sub(count, ir.Constant(_i64, 1)), []",
        "last, block = ir.Constant(_i64, lanes), []",
        "tests/test_memory_ends.py::test_nothing_is_read_past_the_rows[tiles-avx2-40-wide-last]",
    ),
    "a tile of the last queries is packed with those behind them": Fault(
        "kernels/dense/tiles.py",
        "rows_here, x = min(lanes, count - first), row_at(queries, first)",
        "rows_here, x = lanes, row_at(queries, first)",
        "tests/test_memory_ends.py::test_nothing_is_read_past_the_rows[tiles-avx2-40-wide-last]",
    ),
    "few queries are widened with what lies behind them": Fault(
        "kernels/dense/exact.py",
        "    if rest >= 32:\n",
        "    if rest > 16:\n",
        "tests/test_memory_ends.py::test_nothing_is_read_past_the_rows[exact-40-wide-last]",
    ),
    "vectors of later lanes have the lengths of the first": Fault(
        "kernels/dense/tiles.py",
        "scale = inverses.ctypes.data + 8 * j",
        "scale = inverses.ctypes.data",
        "tests/test_dense.py::test_every_way_at_every_border[40x65x129-tiles-avx2]",
    ),
    "rows at the threshold do not pass": Fault(
        "kernels/tiles.py",
        'return builder.bitcast(builder.fcmp_ordered(">=", value, threshold), _i16)',
        'return builder.bitcast(builder.fcmp_ordered(">", value, threshold), _i16)',
        "tests/test_operations.py::test_scores_against_thresholds",
    ),
    "the upper end of a row is that with the other margin": Fault(
        "kernels/tiles.py",
        "builder.store(builder.fadd(value, margin), pointer(builder, ends",
        "builder.store(builder.fadd(value, other), pointer(builder, ends",
        "tests/test_operations.py::test_scores_against_thresholds",
    ),
    "rows are equal though their last dimension differs": Fault(
        "kernels/equal.py",
        "for at in range(0, 4 * dims, 4):",
        "for at in range(0, 4 * dims - 4, 4):",
        "case:equal_rows",
    ),
    "a row that is not the first of its key is led to it": Fault(
        "kernels/equal.py",
        "                same[place] = False\n",
        "                pass\n",
        "case:equal_rows",
    ),
}
