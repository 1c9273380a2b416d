"""A long conversation after a restart, read again or restored: `python -m tests.benchmarks.kept [tokens] [rounds]`.

Real engines over the starter and a text of this project, each answer by a fresh process; the two alternate. What is
told is the time to the first token, by an engine that has said a word already, and whether the answers are the same.
Then what the bits of a stored number cost: sessions stored exactly and packed go on greedily, and are compared.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from app import kept
from app.engine.pool import Pool
from app.engine.protocol import SCRATCH, ChatMessage, Finished, Keeping, SamplingOptions
from app.library.starter import starter_file
from app.settings import Paths

SESSION = "conversation-1"
ANSWER, SHORT = 64, 24
"""Tokens."""
STORED, ONLY_RESTORED, READ = Keeping(disk=4 << 30, rest=1e6), Keeping(disk=4 << 30, worth=1e6), Keeping()
CHARACTERS = 4
"""A token, about."""
DOCUMENTS = ("tour.md", "commands.md", "settings.md", "database.md")


def text(tokens: int) -> str:
    folder = Path(__file__).parents[2] / "assets" / "docs"
    return "".join((folder / name).read_text() for name in DOCUMENTS)[: CHARACTERS * tokens]


async def answer(
    places: Paths, model: Path, keeping: Keeping, messages: list[ChatMessage]
) -> tuple[Finished, str | None, float]:
    """By an engine of its own: how it ended, the model's fingerprint, and how long the engine took to end."""
    pool = Pool(places, keeping=lambda: keeping)
    facts = await pool.load(model)
    async for _ in pool.ask(model, [ChatMessage("user", "Hello")], session=SCRATCH, max_tokens=1):
        pass  # its weights have all been touched
    finished = None
    turn = pool.ask(model, messages, session=SESSION, sampling=SamplingOptions(temperature=0), max_tokens=ANSWER)
    async for event in turn:
        if isinstance(event, Finished):
            finished = event
    assert finished
    began = time.perf_counter()
    await pool.close()
    return finished, facts.fingerprint, time.perf_counter() - began


async def restart(places: Paths, model: Path, tokens: int, rounds: int) -> None:
    question = [ChatMessage("user", f"{text(tokens)}\n\nWhat is this text about?")]
    first, fingerprint, ending = await answer(places, model, STORED, question)
    (file,) = kept.kept(places.sessions)
    print(
        f"{first.prompt_tokens} tokens read in {first.first_token_seconds:.1f} s; stored in {file.size / 1e6:.0f} MB as"
        f" the engine ended, which took {ending:.2f} s"
    )
    said = ChatMessage("assistant", "", first.token_ids, fingerprint)
    going_on = [*question, said, ChatMessage("user", "Say that in one sentence.")]
    restored, read = [], []
    for _ in range(rounds):
        restored.append((await answer(places, model, ONLY_RESTORED, going_on))[0])
        read.append((await answer(places, model, READ, going_on))[0])
    assert all(one.reused_tokens == 0 for one in read) and all(
        one.reused_tokens >= first.prompt_tokens for one in restored
    )
    slow, fast = (statistics.median(one.first_token_seconds for one in some) for some in (read, restored))
    print(f"to the first token: read again {slow:.2f} s, restored {fast:.2f} s, {slow / fast:.0f}x")
    print(f"the same {ANSWER} tokens: {all(one.token_ids == read[0].token_ids for one in restored)}")


def packing(model: Path, places: Paths, tokens: int, texts: int = 4) -> None:
    """Greedy answers behind several texts, from sessions as they were, and packed in larger and smaller groups."""
    import mlx.core as mx

    import model as models
    from model import saving

    loaded = models.load(model, conversions=places.conversions)
    ids = loaded.tokenizer.encode_plain(text(2 * texts * tokens))

    def going_on(session: models.Session, prompt: list[int]) -> tuple[mx.array, list[int]]:
        """The chances of the next token, and the greedy answer."""
        chances = mx.softmax(session.prefill(prompt).astype(mx.float32))
        answer = loaded.generate(prompt, models.Sampling(temperature=0), SHORT, session=session)
        return chances, [token.id for token in answer]

    ways = {"8 bits in groups of 64": (8, 64), "8 bits in groups of 32": (8, 32), "4 bits in groups of 32": (4, 32)}
    same, elsewhere, sizes = dict.fromkeys(ways, 0), dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0.0)
    for start in range(0, texts * tokens, tokens):
        prompt = ids[start : start + tokens]
        session = loaded.session()
        session.prefill(prompt)
        for way, (bits, group) in ways.items():
            saving._GROUPS = (group,)
            session.save(places.cache / way, packing=bits)
            sizes[way] += (places.cache / way).stat().st_size / tokens
        chances, answer = going_on(session, [*prompt, ids[-1]])
        for way in ways:
            others, packed = going_on(saving.load_session(places.cache / way, loaded), [*prompt, ids[-1]])
            elsewhere[way] += float(mx.abs(chances - others).sum().item()) / 2
            same[way] += answer == packed
    for way in ways:
        print(
            f"{way}: {sizes[way] / texts / 1e3:.1f} kB a token, {same[way]} of {texts} answers of {SHORT} tokens the"
            f" same, {elsewhere[way] / texts:.5f} of the chances of the next token elsewhere"
        )


def main(tokens: int, rounds: int) -> None:
    model = starter_file()
    assert model is not None, "the starter is missing: quietly models get starter"
    with tempfile.TemporaryDirectory() as home:
        places = Paths.below(Path(home))
        asyncio.run(restart(places, model, tokens, rounds))
        packing(model, places, tokens // 16)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # it may be cut short
    given = [int(number) for number in sys.argv[1:]]
    main(given[0] if given else 4000, given[1] if len(given) > 1 else 3)
