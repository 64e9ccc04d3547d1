"""A search on an NVIDIA device: the processor's scan on tensor cores, and the processor's certificate.

The path of a search, top to bottom, on the device unless it says otherwise:

    float32 rows (n, dims)                 float32 queries (m, dims)
      |  encode, in fragments                |  the same                    [encode.py, layout.py]
    codes, terms of rows                   codes, terms of queries                      [terms.py]
      |                                      |
      +---------------- scan ----------------+   chunk by chunk, each longer than all before:
                          |                      integer scores on tensor cores, one float32
                          |                      comparison each; what passes is appended to
                          |                      its query's list                         [scan.py]
                       tighten                   k-th largest lower end: the new root; what is
                          |                      beaten or excluded leaves the list     [tighten.py]
                          |                      (again, where a list overflowed: walk.py)
                (query, row, integer score)
                          |
          score_lists, rank                      exact scores in the contract's order, each
                          |                      checked against the interval that its codes
                          |                      prove; the k best                        [exact.py]
                       answer

    Float32 rows that do not fit beside their codes stay in this computer's memory: they pass
    through the device to be encoded, and candidates get intervals and exact scores from the
    processor's own scan and rescoring (handover.py). The bits are the same.

A tile of rows in memory, 512 bytes for each step of 32 dimensions; lane 4g + t loads 16 bytes:

                 dims 0…3  4…7  8…11 12…15 | 16…19 20…23 24…27 28…31
        row g      a0 of t=0   1    2    3 |    a2 of t=0    1    2    3
        row g + 8  a1 of t=0   1    2    3 |    a3 of t=0    1    2    3

    [tile 0: step 0: lane 0: a0 a1 a2 a3, lane 1: …, lane 31][step 1 …] … [tile 1 …]

Each file uses those above it. On this computer, whether there is a device, and how to launch a kernel:

    device.py      whether there is a device, and what it is
    layout.py      how codes and terms lie in memory; the records that kernels take
    arithmetic.py  the scan's float32 comparison, as instructions
    launches.py    how kernels are compiled and launched
    intrinsics.py  all that names an instruction: the operations that kernels are made of
    operations.py  those operations by name, or a stand-in's where Numba simulates a device

The kernels:

    terms.py       from proved bounds to a float32 comparison, and why that is safe
    encode.py      make codes
    excluded.py    whether a query must not return a row
    scan.py        read all rows
    tighten.py     between scans, raise thresholds and shorten lists
    exact.py       score candidates, or all rows, and rank them

What queues them:

    rows.py        rows on the device, and all that is known of them
    batch.py       queries that are searched together, and the chunks of rows
    stream.py      what is queued on the device, recorded and replayed
    workspace.py   the arrays of a search
    walk.py        scans of all chunks, again where a list overflowed
    scoring.py     exact scores and the ranking
    handover.py    candidates for the processor to score
    search.py      a search of a batch, from start to end

Importing this package asks for no device; ``device.why_not()`` says what is missing.
"""
