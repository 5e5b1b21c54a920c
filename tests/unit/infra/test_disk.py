"""The disk under a folder: what its free space says."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from cos.common.health import State
from cos.infra import disk

pytestmark = pytest.mark.usefixtures("free")


@pytest.fixture
def free(request, monkeypatch) -> None:
    """Let every disk have as many bytes free as the test's own mark says."""
    left = request.node.callspec.params["left"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=left, total=2**40))


@pytest.mark.parametrize(
    ("left", "state", "said"),
    [
        (disk.LOW_BYTES, State.OK, ""),
        (disk.LOW_BYTES - 1, State.DEGRADED, "low on space"),
        (disk.FULL_BYTES - 1, State.DEGRADED, "nearly full"),
    ],
)
async def test_its_part_of_health(left, state, said, tmp_path) -> None:
    [part] = await disk.Disk(folder=tmp_path).measure()
    assert part.state is state
    assert said in (part.cause or "")
    assert part.figures["free_bytes"] == left
