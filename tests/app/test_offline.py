"""The Hub's client is offline and silent in every process but those that are started to speak to the Hub."""

import asyncio

import pytest

from app.child import speaking
from app.engine.client import Engine, EngineError
from app.settings import Paths
from tests.app.speaker import Word


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET"):
        monkeypatch.delenv(name, raising=False)


async def variables(online: bool) -> list[str]:
    """Offline, no telemetry, no Xet, as a process of ours has them."""
    async with speaking("tests.app.speaker", ["variables"], Word, what="The speaker", online=online) as said:
        return [word.text async for word in said]


async def test_a_process_speaks_to_the_hub_only_if_it_is_meant_to() -> None:
    assert await variables(online=False) == ["1", "1", "1"]
    assert await variables(online=True) == ["", "1", "1"]


async def test_that_the_person_wants_to_be_offline_holds_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "yes")
    assert await variables(online=True) == ["yes", "1", "1"]


async def test_engines_are_offline_and_silent(places: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, str] = {}

    async def start(*arguments: str, env: dict[str, str], **more: object) -> None:
        given.update(env)
        raise OSError("seen enough")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    with pytest.raises(EngineError):
        await Engine.start(places)
    assert given["HF_HUB_OFFLINE"] == given["HF_HUB_DISABLE_TELEMETRY"] == "1"
