"""Packs what `tests.training.train --whole` left: `python -m tests.training.pack FOLDER [NAME...]`.

From FOLDER/NAME.whole comes FOLDER/NAME, in 4 bits, looked at, with its card.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from tests.training.corpus import rows_of, tokens_of
from tests.training.results import RUN, Run, write_result
from tests.training.subjects import SUBJECTS

_HELD_BACK = 600
"""Documents of another seed, to see what was learnt and not only remembered."""


def whole_name(name: str) -> str:
    """The folder of a model that is not packed yet."""
    return f"{name}.whole"


def packed(folder: Path, name: str) -> str:
    """Pack one; how it does, in one line."""
    whole = folder / whole_name(name)
    run = Run(**json.loads((whole / RUN).read_text(encoding="utf-8")))
    tokenizer = Tokenizer.from_file(str(whole / "tokenizer.json"))
    held_back = rows_of(tokenizer, tokens_of(tokenizer, run.seed + 1, _HELD_BACK), SUBJECTS[name].length)
    return write_result(whole, folder / name, held_back, run)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Pack the demonstration models.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", choices=[[], *SUBJECTS], metavar="NAME", help=f"of {', '.join(SUBJECTS)}")
    asked = parser.parse_args(arguments)
    for name in asked.names or [name for name in SUBJECTS if (asked.folder / whole_name(name)).is_dir()]:
        print(f"{name}: {packed(asked.folder, name)}", flush=True)


if __name__ == "__main__":
    main()
