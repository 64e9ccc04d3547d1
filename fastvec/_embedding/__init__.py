"""The implementation of ``fastvec.openai``: texts in, checked rows out.

``texts`` checks texts (``tokens`` counts their tokens) -> ``job`` groups them into requests -> ``window``
keeps a few requests in flight, in threads or on an event loop -> ``exchange`` sends each one, checks it,
repeats it or halves it -> ``answers`` reads a body into vectors -> ``job`` places them in the matrix, and
``cache`` stores them on disk. ``roles`` distinguishes documents from queries, ``progress`` reports, ``plan``
counts without sending, and ``errors`` holds what users see.

``clients`` makes and calls the ``openai`` clients; ``transfer`` limits the time and size of their requests.
``connections`` restricts a client to one process and event loop, ``forks`` closes files before a fork, and
``surroundings`` names the setting that makes a client fail.

``server`` holds what is known about a server, ``sizes`` the sizes of requests that it accepts, and ``pace``
how fast it may be asked; ``refusals`` interprets its refusals, and ``part`` is a part of a batch.
"""
