"""What all tests share."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread():
    """Tests run on small machines beside each other; sums are the same in every run."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
