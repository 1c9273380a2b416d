"""A conversation as a JSON file: what stands in it, and what is refused."""

import json

import pytest

from app.carrying.json_file import from_json, json_file
from app.chat.records import Attachment
from app.errors import QuietlyError
from tests.app.carrying.tales import answer, question, tale

TOLD = tale(
    question("Why?", Attachment("a.txt", "text")),
    answer("So.", "hm", packed_ids=b"\1\0\0\0\xff\xff\xff\xff", sampling={"temperature": 0.5}, status="stopped"),
    answer("東京\x00", parent=1),
    pinned=True,
)


def test_everything_stands_in_it_under_its_name() -> None:
    found = json.loads(json_file(TOLD))
    assert (found["format"], found["version"]) == ("quietly conversation", 1)
    assert found["conversation"] == {
        "title": "Light",
        "titled_by": "line",
        "created": 1_700_000_000.25,
        "updated": 1_700_000_100.0,
        "head": 3,
        "model": "starter",
        "pinned": True,
    }
    assert found["messages"] == [
        {
            "id": 1,
            "role": "user",
            "created": 1_700_000_001.5,
            "content": "Why?",
            "attachments": [{"name": "a.txt", "text": "text"}],
        },
        {
            "id": 2,
            "parent": 1,
            "role": "assistant",
            "created": 1_700_000_002.5,
            "content": "So.",
            "reasoning": "hm",
            "model": "starter",
            "status": "stopped",
            "sampling": {"temperature": 0.5},
            "token_ids": [1, 0xFFFFFFFF],
        },
        {
            "id": 3,
            "parent": 1,
            "role": "assistant",
            "created": 1_700_000_002.5,
            "content": "東京\x00",
            "model": "starter",
        },
    ]


def test_a_message_is_a_line() -> None:
    lines = json_file(TOLD).split("\n")
    assert [json.loads(line.removesuffix(","))["id"] for line in lines if line.startswith('{"id"')] == [1, 2, 3]


def test_another_program_s_spelling_is_read_as_well() -> None:
    found = json.loads(json_file(TOLD))
    found["later"] = found["messages"][0]["later"] = "unknown names are passed over"
    assert from_json(json.dumps(found, indent=4).encode(), "file") == TOLD


@pytest.mark.parametrize(
    ("those", "these"),
    [
        ('"id":2', '"id":"2"'),
        ('"id":2', '"id":-2'),
        ('"parent":1', '"parent":7'),
        ('"parent":1', '"parent":2'),
        ('"status":"stopped"', '"status":"writing"'),
        ('"role":"user"', '"role":"system"'),
        ('"token_ids":[1', '"token_ids":[4294967296'),
        ('"token_ids":[1', '"prompt_tokens":9223372036854775808,"token_ids":[1'),
        ('"created":1700000001.5', '"created":1e999'),
        ('"content":"So."', r'"content":"\ud800"'),
        ('"sampling":{', '"sampling":{"deep":' + "[" * 5000),
        ('"messages"', '"sayings"'),
        ('"version": 1', '"version": "1"'),
        ("]\n}", ""),
    ],
)
def test_a_damaged_file_is_one_sentence(those: str, these: str) -> None:
    text = json_file(TOLD)
    assert those in text
    with pytest.raises(QuietlyError, match=r"^a\.json is damaged \(.+\); export"):
        from_json(text.replace(those, these, 1).encode(), "a.json")


def test_a_file_of_a_newer_version_says_so() -> None:
    with pytest.raises(QuietlyError, match=r"^a\.json was written by a newer Quietly"):
        from_json(json_file(TOLD).replace('"version": 1', '"version": 2').encode(), "a.json")
