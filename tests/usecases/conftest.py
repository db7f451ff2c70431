"""One running application per test, over a store of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.governed import Governed, governed


@pytest.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Governed]:
    """Running, with a host that keeps all five promises and is known to."""
    async with governed(tmp_path) as running:
        yield running
