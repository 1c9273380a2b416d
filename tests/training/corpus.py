"""From documents to rows of token ids to learn from, and the tokenizer that goes along with a checkpoint.

It knows no model.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.training.text import ASSISTANT, CHAT_TEMPLATE, CONTROLS, END, START, documents

VOCABULARY = 1024
_ENOUGH = 8000
"""Documents that the vocabulary is taken from; more of them bring no new words."""

Batch = tuple[NDArray[np.int32], NDArray[np.float32]]
"""Ids (rows, length + 1), and for each but the first what being right about it counts: 1, or 0 (rows, length)."""


@dataclass(frozen=True)
class Rows:
    """Whole documents side by side in rows (rows, length + 1), and what of them counts (rows, length)."""

    ids: NDArray[np.uint16]
    counts: NDArray[np.bool_]

    def batches(self, size: int, seed: int) -> Iterator[Batch]:
        """Without end: all rows in one order after another."""
        random = np.random.default_rng(seed)
        while True:
            order = random.permutation(len(self.ids))
            for first in range(0, max(1, len(order) - size + 1), size):
                yield self.batch(order[first : first + size])

    def batch(self, chosen: NDArray[np.int64]) -> Batch:
        return self.ids[chosen].astype(np.int32), self.counts[chosen].astype(np.float32)


def tokens_of(tokenizer: Tokenizer, seed: int, count: int) -> list[list[int]]:
    """The ids of `count` documents of a seed."""
    written = [document.written() for document in documents(seed, count)]
    return [encoded.ids for encoded in tokenizer.encode_batch_fast(written, add_special_tokens=False)]


def rows_of(tokenizer: Tokenizer, texts: list[list[int]], length: int) -> Rows:
    """The documents in rows of `length` + 1 ids, in their order. What is longer is cut off; what stays empty is filled.

    What counts is what the model is to write itself: answers to their end, and stories.
    """
    width, full = length + 1, tokenizer.token_to_id(END)
    rows: list[list[int]] = [[]]
    for ids in texts:
        if len(rows[-1]) + len(ids) > width and rows[-1]:
            rows.append([])
        rows[-1] += ids[:width]
    array = np.full((len(rows), width), full, np.uint16)
    written = np.zeros((len(rows), width), np.bool_)
    for row, ids in enumerate(rows):
        array[row, : len(ids)] = ids
        written[row, : len(ids)] = True
    opens = np.array([tokenizer.token_to_id(control) for control in CONTROLS if control != END])
    own = np.array([tokenizer.token_to_id(control) for control in (START, ASSISTANT)])
    opening = np.isin(array, opens)
    # The last token before each that opened something: whose words these are.
    speaker = np.maximum.accumulate(np.where(opening, np.arange(width), 0), axis=1)
    counts = np.isin(np.take_along_axis(array, speaker, axis=1), own) & ~opening & written
    return Rows(array, counts[:, 1:])


def tokenizer_for(seed: int, size: int = VOCABULARY, count: int = _ENOUGH) -> Tokenizer:
    """A byte-level BPE of `size` tokens, the control tokens first, for `count` documents of a seed."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(CONTROLS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (text for document in documents(seed, count) for text in document.texts())
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def control_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """What a config.json says of a tokenizer."""
    ids = tokenizer.get_vocab()
    return {"vocab_size": len(ids), "bos_token_id": ids[START], "eos_token_id": ids[END]}


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """The files of a checkpoint that say how text becomes tokens, and how an answer is drawn by default."""
    tokenizer.save(str(folder / "tokenizer.json"))
    start, end = tokenizer.token_to_id(START), tokenizer.token_to_id(END)
    described: dict[str, dict[str, Any]] = {
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": START,
            "eos_token": END,
            "pad_token": END,
            "add_bos_token": False,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
        "generation_config.json": {
            "bos_token_id": start,
            "eos_token_id": end,
            "pad_token_id": end,
            "do_sample": True,
            "temperature": 0.7,
            "top_p": 0.9,
        },
    }
    for name, content in described.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
