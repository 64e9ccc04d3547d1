"""The soak at a size that a test run can afford."""

import os

import pytest
from embedding_soak import soak


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_job_that_is_killed_while_its_server_fails_at_random():
    assert "equal" in soak(2_000, 10, kills=3, seed=1)
