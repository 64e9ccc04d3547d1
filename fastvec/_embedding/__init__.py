"""Behind ``fastvec.openai``: texts in, checked rows out.

``texts`` checks what is given (``tokens`` counts) -> ``job`` says which requests to send and keeps what has
arrived -> ``window`` has a few of them in flight, in threads or on an event loop, each led by a
``conversation`` (send, check, ask again, halve) -> ``answers`` reads a body into vectors -> ``job`` places
them, and ``cache`` keeps them on disk. ``roles`` tells documents from queries; ``progress`` reports, ``plan``
counts without sending; ``errors`` holds what users see.

``clients`` makes and asks the ``openai`` clients, whose requests ``transfer`` keeps within bounds.
``connections`` keeps them to one process and event loop, ``forks`` has files closed around a fork, and
``surroundings`` names the setting that makes a client fail.

What is known of a server is in ``server``, the ``sizes`` of requests that it takes, and the ``pace`` at which
it may be asked; ``refusals`` reads its refusals, ``part`` is what is left of a batch.
"""
