"""Where encoded rows live: one contract in ``base``, and one file for each home.

    base        Store, the contract of every home; HOMES, the table of homes
    cpu         this computer's memory: rows in blocks, or the rows of a single call
    blocks      how rows in memory are held, and how they grow
    cuda        an NVIDIA device
    shards      rows in several places, such as the workers of a cluster, whose answers are merged
    shard       rows of one of these places
    passes      how the CPU store answers a request: scan and rescore, or the direct pass

To add a home, write a file with the functions that ``base.Home`` names, and add its row to ``HOMES``.
"""
