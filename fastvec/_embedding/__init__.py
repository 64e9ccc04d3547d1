"""Behind ``fastvec.openai``: texts in, checked rows out.

``texts`` checks what is given -> ``job`` plans requests and keeps what has arrived -> ``window`` keeps a few
requests in flight, each led by ``conversation`` (send, check, ask again, split) -> ``answers`` reads a body
into vectors -> ``job`` places them, and ``cache`` keeps them on disk. ``clients`` makes and explains the
``openai`` clients. ``errors`` holds what users see.
"""
