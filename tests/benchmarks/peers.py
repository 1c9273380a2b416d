"""Quietly beside others, as a person measures it: `python -m tests.benchmarks.peers MODEL [OPTIONS of quietly bench]`.

Runs `quietly bench MODEL OPTIONS --json` and prints its figures as rows for LOG.md: a column for each that was
measured, with how many times as fast as it Quietly is.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

Figure = dict[str, Any]


def rows(report: dict[str, Any]) -> Iterator[list[str]]:
    """The head of the table, and a row for each thing that was measured; the first runner is Quietly."""
    runners = report["runners"]
    yield ["", *(runner["name"] for runner in runners)]
    yield ["---"] * (1 + len(runners))
    for own, *others in zip(*(runner["figures"] for runner in runners), strict=True):
        about = (f"{name} {own[name]:,}" for name in ("tokens", "depth", "held", "new") if name in own)
        yield [", ".join([own["what"], *about]), told(own), *(told(other, own) for other in others)]
    yield [
        "memory",
        *(f"{runner['memory_bytes'] / 1e6:,.0f} MB" if runner["memory_bytes"] else "" for runner in runners),
    ]


def told(figure: Figure, beside: Figure | None = None) -> str:
    """A figure in its unit, and how it stands beside Quietly's."""
    if figure["seconds"] is None:
        return f"not measured: {figure['why_not']}" if figure["why_not"] else ""
    rate = figure["tokens_per_second"]
    value = f"{rate:,.1f} tok/s" if rate else f"{figure['seconds']:.3f} s"
    if beside is None or not beside["seconds"]:
        return value
    return f"{value} ({figure['seconds'] / beside['seconds']:.2f} times)"


def main(arguments: list[str]) -> int:
    command = [sys.executable, "-m", "app", "bench", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return done.returncode
    print("`quietly bench " + " ".join(arguments) + "`\n")
    for row in rows(json.loads(done.stdout)):
        print("| " + " | ".join(row) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
