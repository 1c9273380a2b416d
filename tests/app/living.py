"""An installation that somebody lives in: everything that the program writes, by the code that writes it.

Below the four folders stands afterwards a file of every kind there is, most of them with the words given.
"""

import os
from pathlib import Path

import pytest

from app import kept
from app.carrying.exporting import export_one
from app.chat.records import GenerationSettings, Preset, SystemPrompt
from app.chat.store import Attachment, Draft, Store, Template
from app.engine.pool import Pool
from app.engine.protocol import ChatMessage, Keeping
from app.failures import report
from app.library.download import fetch
from app.settings import Paths, save_settings
from tests.app.library.hub import Hub, running
from tests.model.gguf_files import write_gguf

REPO = "someone/tiny"
_FILES = {"config.json": b'{"model_type": "qwen2"}', "tokenizer.json": b"{}", "model.safetensors": b"weights" * 1000}


def write_everywhere(store: Store, words: str) -> int:
    """`words` wherever a person can write them; the conversation."""
    made = store.create(words, system_prompt=words, model=words).id
    asked = store.ask(made, None, words, [Attachment(words, words)])
    answer = store.begin_answer(made, asked.id, words, {"seed": 1})
    store.finish(answer.id, "failed", answer=words, reasoning=words, note=words, fingerprint=words)
    for place in (made, None):
        store.keep_draft(place, Draft(words, (Attachment(words, words),)))
    store.keep_template(Template(words, words))
    store.keep_system_prompt(SystemPrompt(words, words))
    store.keep_preset(Preset(words, words, words))
    store.keep_model_settings(words, GenerationSettings(seed=1))
    store.remember(words, words)
    store.remove_conversation(store.create(words).id)
    while store.catch_up():
        pass
    store.ask(made, answer.id, f"{words} not indexed yet")
    return made


def keep_read(folder: Path, conversation: int, size: int = 10, fingerprint: str = "print", age: int = 0) -> Path:
    """A file such as an engine keeps of what it has read, made so many seconds ago."""
    file = kept.file_of(folder, kept.session_of(conversation), fingerprint)
    assert file is not None
    file.write_bytes(bytes(size))
    os.utime(file, (1_700_000_000 - age, 1_700_000_000 - age))
    return file


async def live(places: Paths, elsewhere: Path, words: str, patch: pytest.MonkeyPatch) -> None:
    """Use every part of the program that writes; what lies outside of `places` is put `elsewhere`, a folder."""
    with Store.open(places.database) as store:
        made = write_everywhere(store, words)
        export_one(store, made, elsewhere)
        store.back_up()
    places.database.write_bytes(b"\0" + words.encode() * 1000)
    with Store.open(places.database) as store:  # from the backup; the damaged file is set aside
        made = store.conversations()[0].id
        store.begin_answer(made, store.branch(made)[0].id, words)
        report(ValueError(words), places.logs)
        save_settings(places.settings, {"copy_on_select": False})
        await _answer(places, write_gguf(elsewhere / "model.gguf"))
        with running(Hub(repositories={REPO: _FILES})) as hub:
            patch.setenv("HF_ENDPOINT", hub.url)
            patch.setenv("NO_PROXY", "127.0.0.1")
            await fetch(REPO)


async def _answer(places: Paths, model: Path) -> None:
    pool = Pool(places, memory=16 << 30, keeping=lambda: Keeping(disk=1 << 30, worth=0))
    async for _ in pool.ask(model, [ChatMessage("user", "ab")], session=kept.session_of(1), max_tokens=2):
        pass
    await pool.close()
