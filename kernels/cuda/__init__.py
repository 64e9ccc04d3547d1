"""A search on an NVIDIA device: the processor's scan on tensor cores, and the processor's certificate.

The path of a search, top to bottom; all of it on the device, but for what is marked:

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
                          |                      (again, where a list overflowed: search.py)
                (query, row, integer score)
                          |
          score_lists, rank                      exact scores in the contract's order, each
                          |                      checked against the interval that its codes
                          |                      prove; the k best                        [exact.py]
                       answer

    host: where float32 rows do not fit beside their codes, they stay here: they pass through to be
    encoded, and candidates get intervals and exact scores from the processor's own scan and
    rescoring (log.drain, rescore). The bits are the same.

A tile of rows in memory, 512 bytes for each step of 32 dimensions; lane 4g + t loads 16 bytes:

                 dims 0…3  4…7  8…11 12…15 | 16…19 20…23 24…27 28…31
        row g      a0 of t=0   1    2    3 |    a2 of t=0    1    2    3
        row g + 8  a1 of t=0   1    2    3 |    a3 of t=0    1    2    3

    [tile 0: step 0: lane 0: a0 a1 a2 a3, lane 1: …, lane 31][step 1 …] … [tile 1 …]

    device.py      whether there is a device, and what it is
    layout.py      how codes and terms lie in memory
    terms.py       from proved bounds to a float32 comparison, and why that is safe
    arithmetic.py  that comparison, as instructions
    intrinsics.py  all that names a compiler or an instruction; how kernels are compiled and launched
    simulator.py   the same for Numba's CUDA simulator
    encode.py      the kernels that make codes
    rows.py        rows on the device, and all that is known of them
    scan.py        the kernel that reads all rows
    tighten.py     the kernels between its launches
    excluded.py    what a query must not return
    exact.py       the kernels after them
    search.py      the driver

Importing this package asks for no device; ``device.why_not()`` says what is missing.
"""
