"""Behind ``fastvec.openai``: texts in, checked rows out.

``texts`` checks what is given (``tokens`` counts) -> ``job`` says which requests to send and keeps what has
arrived -> ``window`` has a few of them in flight, in threads or on an event loop, each led by a
``conversation`` (send, check, ask again, halve) -> ``answers`` reads a body into vectors -> ``job`` places
them, and ``cache`` keeps them on disk. ``clients`` makes, asks and explains the ``openai`` clients, whose
requests ``transfer`` keeps within bounds; ``progress`` reports, ``plan`` counts without sending. ``errors``
holds what users see.
"""
