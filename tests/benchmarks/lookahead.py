"""Answers with and without looking ahead, alternating: `python -m tests.benchmarks.lookahead [SIZE...]`.

Three kinds: a text repeated with one word changed, code written again with a name changed, and free chat. What is
written in the first two is given, whatever the model draws, because small models do not do as they are asked; in free
chat the starter says what it likes, greedily and drawing by a seed, and has to say the same both ways. With SIZEs of
`speed`, whose weights are random, all is given, a token a word, and free chat is a page of our documents.

The last column is CPU time, which other programs on the machine disturb less.
"""

import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx

from model.generation import Generation
from model.lookahead import LENGTHS, Costs, Gate, Lookahead, Lookup
from model.sampling import Sampler, Sampling
from model.session import Session

STORY = (
    "The old lighthouse stood at the end of the pier, where the gulls gathered every morning to wait for the fishing "
    "boats. Its keeper, a quiet woman named Martha, had polished the great lamp every evening for thirty years, and "
    "she knew the name of every ship that passed. In winter the storms came in from the west and shook the windows, "
    "but the light never failed, and the sailors said that it was the only thing on that coast which could be trusted."
)
CODE = '''def total(items, tax):
    """The price of all items, with tax."""
    result = 0
    for item in items:
        price = item.price * item.count
        if item.discount:
            price = price - item.discount
        result = result + price
    return result + result * tax


def average(items):
    """The mean price of an item."""
    result = 0
    for item in items:
        result = result + item.price
    return result / len(items)
'''
TASKS = {
    "one word changed": (f"Repeat this text with Martha called Helen:\n\n{STORY}", STORY.replace("Martha", "Helen")),
    "code edit": (
        f"Call the results sums:\n\n```python\n{CODE}```",
        f"```python\n{CODE.replace('result', 'amount')}```",
    ),
}
"""What is asked, and what is answered."""
CHAT = (
    "Why is the sky blue, and why are sunsets red? Explain it to a curious child.",
    "Write a short story about a fox who learns to swim.",
    "What are good things to cook with potatoes?",
    "How do I ask my neighbour to be quieter at night without a quarrel?",
)
PAGE = Path(__file__).parents[2] / "assets" / "docs" / "tour.md"
GREEDY, DRAWN = Sampling(temperature=0), Sampling(temperature=0.8, top_p=0.95, seed=11)
ROUNDS, MOST = 5, 160


class Given(Sampler):
    """Draws, and then says what it was given to say."""

    def __init__(self, answer: Sequence[int], vocabulary: int) -> None:
        super().__init__(GREEDY, vocabulary)
        self._answer = mx.array(answer)
        self._said = 0

    def __call__(self, logits: mx.array) -> mx.array:
        drawn = super().__call__(logits)
        self._said += 1
        return mx.where(drawn < 0, drawn, self._answer[self._said - 1])

    @property
    def state(self) -> tuple[int, None]:
        return self._said, None

    def restore(self, state: tuple[int, None]) -> None:
        self._said, _ = state


@dataclass
class Case:
    """One answer, to be written both ways."""

    name: str
    prompt: list[int]
    sampling: Sampling
    answer: list[int] | None
    """What is given; None leaves it to the model."""
    seconds: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})
    cpu: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})
    written: dict[bool, list[int]] = field(default_factory=dict)
    read: tuple[int, int] = (0, 0)


def write(case: Case, ahead: bool, session: Session, vocabulary: int, costs: Costs) -> None:
    """Write the answer once; the first time is for warming up."""
    limit = min(MOST, len(case.answer)) if case.answer else MOST
    lookahead = Lookahead([(Lookup(), Gate(costs))]) if ahead else None
    generation = Generation(
        session, case.prompt, case.sampling, vocabulary=vocabulary, max_tokens=limit, lookahead=lookahead
    )
    if case.answer:
        generation._sampler = Given(case.answer, vocabulary)
    started = 0.0
    for _ in generation:
        started = started or time.process_time()
    if ahead in case.written:
        assert case.written[ahead] == generation.token_ids
        case.seconds[ahead].append(generation.decode_seconds)
        case.cpu[ahead].append(time.process_time() - started)
    case.written[ahead] = generation.token_ids
    if ahead:
        case.read = generation.drafted_tokens, generation.kept_tokens


def compare(name: str, cases: Sequence[Case], session: Callable[[], Session], vocabulary: int) -> None:
    costs = Costs()
    print(f"{name} on {mx.default_device()}, {ROUNDS} rounds")
    print(f"{'':>18} {'tokens':>6} {'plain tok/s':>11} {'ahead':>7} {'ratio':>6} {'worst, best':>12}"
          f" {'read, kept':>11} {'CPU time':>8}  same")  # fmt: skip
    for case in cases:
        for attempt in range(ROUNDS + 1):
            for ahead in (False, True) if attempt % 2 else (True, False):
                write(case, ahead, session(), vocabulary, costs)
        steps = len(case.written[False]) - 1
        plain, ahead_of_it = (statistics.median(case.seconds[way]) for way in (False, True))
        ratios = sorted(one / other for one, other in zip(case.seconds[False], case.seconds[True], strict=True))
        cpu = statistics.median(case.cpu[False]) / statistics.median(case.cpu[True])
        print(
            f"{case.name:>18} {steps + 1:>6} {steps / plain:>11.1f} {steps / ahead_of_it:>7.1f}"
            f" {plain / ahead_of_it:>6.2f} {ratios[0]:>6.2f}{ratios[-1]:>6.2f} {case.read[0]:>6}{case.read[1]:>5}"
            f" {cpu:>8.2f}  {'yes' if case.written[False] == case.written[True] else 'NO'}",
            flush=True,
        )
    told = ", ".join(f"{length}: {costs.of(length):.2f}" for length in LENGTHS)
    print(f"a pass over so many drafted tokens takes so many single steps: {told}")


def with_starter() -> None:
    import model
    from app.library.starter import starter_file
    from model.tokenizer import Turn

    path = starter_file()
    assert path is not None, "the starter is missing"
    with tempfile.TemporaryDirectory() as folder:
        starter = model.load(path, conversions=Path(folder))
        cases = [
            Case(name, starter.prompt([Turn("user", asked)]), GREEDY, starter.tokenizer.encode_plain(answer))
            for name, (asked, answer) in TASKS.items()
        ]
        for number, asked in enumerate(CHAT, 1):
            prompt = starter.prompt([Turn("user", asked)])
            cases += [Case(f"chat {number}", prompt, GREEDY, None), Case(f"chat {number}, drawn", prompt, DRAWN, None)]
        compare("starter", cases, starter.session, starter.traits.vocabulary)


def with_random(size: str) -> None:
    from tests.benchmarks.speed import SHAPES, a_session, chosen, twins

    vocabulary, known = SHAPES[size]["vocab"], {}

    def ids(text: str) -> list[int]:
        words = re.findall(r"\w+|\n\s*|[^\w\s]", text)
        return [known.setdefault(word, len(known) * 7919 % vocabulary) for word in words]

    _, network = twins(size)
    network.arrange(chosen(size))
    cases = [Case(name, ids(asked), GREEDY, ids(answer)) for name, (asked, answer) in TASKS.items()]
    page = ids(PAGE.read_text(encoding="utf-8"))
    cases += [Case(f"page from {at}", page[:at], GREEDY, page[at : at + MOST]) for at in (100, 500, 900)]
    compare(size, cases, lambda: a_session(network, size), vocabulary)


def main(sizes: list[str]) -> None:
    if not sizes:
        with_starter()
    for size in sizes:
        with_random(size)


if __name__ == "__main__":
    main(sys.argv[1:])
