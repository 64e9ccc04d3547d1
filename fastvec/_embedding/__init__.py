"""Behind ``fastvec.openai``: texts in, checked rows out.

``texts`` checks what is given (``tokens`` counts) -> ``job`` says which requests to send and keeps what has
arrived -> ``window`` has a few of them in flight, in threads or on an event loop, each led by a
``conversation`` (send, check, wait, ask again, halve a ``part``) -> ``answers`` reads a body into vectors,
``refusals`` what came instead -> ``job`` places them, and ``cache`` keeps them on disk. ``roles`` tells
documents from queries; ``progress`` reports, ``plan`` counts without sending, and ``errors`` holds what
users see.

``server`` holds what is known about a server: its width, the ``sizes`` of requests that it takes, the
``pace`` at which it may be asked. ``clients`` makes and asks the ``openai`` clients, whose requests
``transfer`` keeps within bounds. ``connections`` keeps them to one process and event loop, ``forks`` has
files closed around a fork, and ``surroundings`` names the setting that makes a client fail.
"""
