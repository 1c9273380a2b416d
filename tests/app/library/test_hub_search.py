"""Searching the Hub: the real client in its real process, against a small Hub on loopback."""

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from huggingface_hub.errors import HfHubHTTPError
from hypothesis import given
from hypothesis import strategies as st

from app import connections
from app.cli import searching
from app.connections import Ledger
from app.errors import QuietlyError
from app.library import asking, judging
from app.library import hub as hub_room
from app.library.catalogue import OVERHEAD
from app.library.fit import fit_of
from app.library.hub import Found, look_up, reachable, search
from app.library.judging import Model, Unfit, weighed
from app.library.machine import GIB, Machine
from model.config import parse_config
from tests.app.library.hub import COMMIT, Hub

REPO = "mlx-community/Tiny-4bit"
SHAPE = {
    "model_type": "qwen2",
    "num_hidden_layers": 1,
    "hidden_size": 64,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 256,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "quantization": {"group_size": 64, "bits": 4},
}
FILES = {
    "config.json": json.dumps(SHAPE).encode(),
    "tokenizer.json": b"{}" * 200,
    "README.md": b"---\nlicense: apache-2.0\n---\n",
    "model.safetensors": bytes(50_000),
    "consolidated.safetensors": bytes(50_000),
    "pytorch_model.bin": b"pickle",
}


def mlx(kind: str = "qwen2", downloads: int = 10, tags: tuple[str, ...] = (), **more: object) -> dict[str, object]:
    """What the Hub says of a model of 4 bits for MLX: 640 million parameters."""
    return {
        "downloads": downloads,
        "gated": False,
        "tags": ["mlx", "safetensors", "license:apache-2.0", *tags],
        "pipeline_tag": "text-generation",
        "safetensors": {"parameters": {"U32": 80_000_000, "BF16": 20_000_000}, "total": 100_000_000},
        "config": {"model_type": kind, "quantization_config": {"bits": 4}},
        "cardData": {"license": "apache-2.0", "datasets": ["anything"]},
        **more,
    }


def plain(parameters: int, **more: object) -> dict[str, object]:
    """What it says of one that is not quantised."""
    counts = {"parameters": {"BF16": parameters}}
    return mlx() | {"config": {"model_type": "llama"}, "tags": ["safetensors"], "safetensors": counts} | more


@pytest.fixture(autouse=True)
def listed(hub: Hub) -> None:
    """The Hub has one model that runs here."""
    hub.repositories, hub.said = {REPO: FILES}, {REPO: mlx()}


@pytest.fixture
def silent(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Where the Hub should be somebody takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listening.getsockname()[1]}")
        yield listening


@pytest.fixture
def nobody(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> str:
    """An endpoint at which nobody takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    return endpoint


@pytest.fixture
def no_names(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver of the processes that are started never answers."""
    hangs = "import socket, time\nsocket.getaddrinfo = lambda *_, **__: time.sleep(600)\n"
    tmp_path.joinpath("sitecustomize.py").write_text(hangs)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")


def judged(said: dict[str, object], repo: str = "someone/some-4bit") -> Found:
    return judging.found(msgspec.convert({"id": repo, **said}, Model))


def is_one_sentence(said: str) -> bool:
    return "\n" not in said and "Traceback" not in said and len(said) < 300 and said.endswith(".")


async def refusal(asked: Awaitable[object]) -> str:
    with pytest.raises(QuietlyError) as caught:
        await asked
    assert is_one_sentence(str(caught.value))
    return str(caught.value)


# --- what is found --------------------------------------------------------------------------------


async def test_a_search_brings_what_runs_here_with_all_that_a_person_must_know(hub: Hub) -> None:
    hub.said |= {
        "someone/Tiny-gated": mlx("phi3", 90, gated="manual", cardData={"license": "other", "license_name": "own-1"}),
        "someone/Tiny-whisper": mlx("whisper"),
        "someone/Tiny-elsewhere": mlx(tags=("another",)),
    }
    gated, tiny = [one for one in await search("tiny") if one.repo != "someone/Tiny-elsewhere"]
    assert (gated.repo, gated.gated, gated.licence, gated.runs) == ("someone/Tiny-gated", True, "own-1", "mlx-lm")
    assert tiny == Found(
        repo=REPO,
        name="Tiny-4bit",
        runs="quietly",
        architecture="qwen2",
        parameters=640_000_000,
        bits=4.5,
        stored="4 bit",
        size=360_000_000 + OVERHEAD,
        weights=360_000_000,
        licence="apache-2.0",
        downloads=10,
    )
    assert await search("nothing of that name") == ()


def found_by(words: str = "", most: int = 30) -> list[str]:
    return [one.repo for one in asking.search(words, most)]


def test_those_for_mlx_come_first_then_small_ones_as_they_are(hub: Hub) -> None:
    hub.said |= {
        "a/Tiny": plain(10**9, downloads=5000),
        "b/Tiny": plain(4 * 10**9, downloads=6000),
        "b/Tiny-large": plain(5 * 10**9, downloads=7000),
        "b/Tiny-unknown": plain(0, safetensors=None),
        "c/Tiny-8bit": mlx("llama", 20),
    }
    assert found_by("tiny") == ["c/Tiny-8bit", REPO, "b/Tiny", "a/Tiny"]
    assert found_by("tiny", 3) == ["c/Tiny-8bit", REPO, "b/Tiny"]


async def test_the_hub_is_asked_for_the_words_and_told_nothing_else(hub: Hub) -> None:
    assert [one.repo for one in await search(" Tiny 4bit ")] == [REPO]
    packed, whole = hub.searches
    assert packed["search"] == whole["search"] == ["Tiny 4bit"]
    assert packed["filter"] == ["mlx"] and whole["filter"] == ["safetensors"]
    assert packed["sort"] == ["downloads"] and "safetensors" in packed["expand"]
    assert {path for _, path in hub.asked} == {"/api/models"}
    assert not any("session" in agent or "agent/" in agent for agent in hub.agents)


def test_what_makes_no_sense_is_left_out_and_the_rest_is_found(hub: Hub) -> None:
    hub.said |= {
        "../../etc/Tiny": mlx(),
        "a/Tiny-\x1b[2J": mlx(),
        "a/Tiny--folder": mlx(),
        "a/Tiny-negative": mlx(safetensors={"parameters": {"U32": -5}}),
        "a/Tiny-word": mlx(downloads=7, safetensors={"parameters": "many"}),
        "a/Tiny-list": mlx(config=["qwen2"]),
        "a/Tiny-kind": mlx(kind="../../../etc/passwd"),
    }
    assert found_by("tiny") == [REPO]
    hub.said[REPO] = mlx(tags=("license:\x1b]0;x",), cardData={"license": "a b\nc" * 50})
    [one] = asking.search("tiny", 30)
    assert one.licence is None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (mlx("whisper"), "whisper model, and nothing here runs those"),
        (mlx(config=None), "what architecture"),
        (mlx(pipeline_tag="feature-extraction"), "not made to be talked to"),
        (mlx(tags=("sentence-transformers",)), "not made to be talked to"),
        (mlx(tags=("base_model:adapter:a/b",)), "adapts another model"),
        (mlx(config={"model_type": "qwen2", "quantization_config": {"bits": 4, "quant_method": "awq"}}), "awq"),
        (mlx(tags=(), safetensors=None) | {"tags": ["gguf"]}, "no safetensors"),
    ],
)
def test_what_cannot_run_says_why(said: dict[str, object], reason: str) -> None:
    with pytest.raises(Unfit, match=reason):
        judged(said)


# --- sizes from counts ----------------------------------------------------------------------------


@given(
    groups=st.integers(10_000, 10**9),
    vectors=st.integers(0, 5_000),
    bits=st.sampled_from([2, 3, 4, 5, 6, 8]),
)
def test_both_ways_in_which_the_hub_counts_packed_weights_mean_the_same(groups: int, vectors: int, bits: int) -> None:
    quantised = groups * 64
    stored = {"U32": quantised * bits // 32, "BF16": 2 * groups + vectors}
    stood_for = {"U32": quantised, "BF16": vectors}
    assert weighed(stored, bits) == (quantised + vectors, quantised * bits // 8 + 4 * groups + 2 * vectors)
    assert weighed(stood_for, bits) == weighed(stored, bits)


def test_sizes_are_those_of_published_models() -> None:
    """Counts that the Hub has given, after and before it began to count what packed weights stand for."""
    count, weights = weighed({"U32": 25_235_685_376, "BF16": 570_250_830}, 4)
    assert count == 25_805_936_206 and weights == pytest.approx(15.4e9, rel=0.01)
    count, _ = weighed({"BF16": 9_964_787_842, "U32": 78_613_118_976}, 8)
    assert count == pytest.approx(314_590_621_012, rel=1e-6)
    assert weighed({"BF16": 1000, "F32": 10}, None) == (1010, 2040)
    for counts in ({}, {"U32": 10}, {"F4_NEW": 10, "BF16": 10}):
        assert weighed(counts, None) == (None, None)


def test_older_repositories_say_in_their_name_how_they_are_packed() -> None:
    said = mlx(config={"model_type": "qwen2"})
    assert [judged(said, f"a/b-{name}").stored for name in ("4bit", "8-bit-mlx", "Q4", "7B-14bit", "1.5bit")] == [
        "4 bit",
        "8 bit",
        "",
        "",
        "",
    ]
    assert judged(plain(10**9), "a/b-4bit").stored == "bf16"
    assert judged(plain(10**9)).bits == 16


# --- one model ------------------------------------------------------------------------------------


async def test_looking_a_model_up_brings_its_shape_and_the_exact_size_of_its_download(hub: Hub) -> None:
    hub.said[REPO]["gated"] = "auto"
    one = await look_up(REPO)
    fetched = {
        name: content
        for name, content in FILES.items()
        if name not in ("pytorch_model.bin", "consolidated.safetensors")
    }
    assert one.size == sum(map(len, fetched.values())) and one.weights == 50_000
    assert one.config is not None and one.config.num_hidden_layers == 1 and one.config.quantization is not None
    assert one.context == 4096 and one.parameters == 256 * 64 * 2 + 3 * 64 * 128 + 64 * 64 * 4 + 3 * 64 + 3 * 64
    assert one.gated and one.licence == "apache-2.0" and one.downloads == 10
    assert {path for _, path in hub.asked} == {f"/api/models/{REPO}", f"/{REPO}/resolve/{COMMIT}/config.json"}


async def test_the_shape_is_whole_on_this_side_whatever_the_architecture(hub: Hub) -> None:
    shape = {"model_type": "rwkv7", "num_hidden_layers": 2, "hidden_size": 64, "vocab_size": 256}
    hub.repositories[REPO] = {**FILES, "config.json": json.dumps({**shape, "context_length": 2048}).encode()}
    hub.said[REPO]["config"] = {"model_type": "rwkv7"}
    one = await look_up(REPO)
    assert one.config == parse_config({**shape, "context_length": 2048}, one.name) and one.context == 2048
    judged = fit_of(one, Machine("Apple M2", 8 * GIB, 8 * GIB, "macOS 15.1", "Metal"), 10**6)
    assert judged.verdict == "fits" and judged.need.state > 0


def the_one(repo: str = REPO) -> Found:
    [one] = asking.look_up(repo)
    return one


def test_a_gated_model_is_described_though_its_files_are_barred(hub: Hub) -> None:
    hub.gated, hub.said[REPO]["gated"] = True, "manual"
    one = the_one()
    assert one.gated and one.config is None and one.parameters == 640_000_000 and one.size is not None


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (b"not json", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (json.dumps({**SHAPE, "num_attention_heads": 7}).encode(), "num_attention_heads|hidden_size"),
    ],
)
def test_a_config_that_cannot_be_is_said(hub: Hub, config: bytes, reason: str) -> None:
    hub.repositories[REPO] = {**FILES, "config.json": config}
    with pytest.raises(QuietlyError, match=reason) as caught:
        the_one()
    assert is_one_sentence(str(caught.value))


def test_whether_the_head_is_the_embedding_the_hub_s_count_tells_where_the_config_does_not(hub: Hub) -> None:
    untold = {**SHAPE, "tie_word_embeddings": None}
    hub.repositories[REPO] = {**FILES, "config.json": json.dumps(untold).encode()}
    assert the_one().parameters == 640_000_000


def test_a_model_that_cannot_run_or_has_no_weights_is_said(hub: Hub) -> None:
    hub.said[REPO] = mlx("whisper")
    with pytest.raises(QuietlyError, match="Tiny-4bit is a whisper model"):
        the_one()
    hub.said[REPO] = mlx()
    hub.repositories[REPO] = {"config.json": b"{}"}
    with pytest.raises(QuietlyError, match="no safetensors weights"):
        the_one()


async def test_a_model_that_is_missing_is_explained(hub: Hub) -> None:
    assert "check the name, or set HF_TOKEN" in await refusal(look_up("someone/nothing"))
    asked = len(hub.asked)
    assert "write organisation/name" in await refusal(look_up("nothing"))
    assert "write organisation/name" in await refusal(look_up("../../etc"))
    assert len(hub.asked) == asked


# --- whether it answers ---------------------------------------------------------------------------


async def test_a_hub_that_answers_is_reachable_and_the_ledger_has_it(hub: Hub, ledger: Ledger) -> None:
    assert await reachable(within=60) == ""
    [spoken] = ledger.connections
    assert spoken.host == connections.place("127.0.0.1", urlsplit(hub.url).port)
    assert (spoken.by, spoken.why) == ("search", "whether the Hub answers")
    assert spoken.sent is not None and spoken.received is not None and spoken.received > 0


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "check HF_TOKEN"), (429, "too many requests"), (500, "answers 500: try again later")],
)
def test_a_hub_that_refuses_is_one_sentence(hub: Hub, status: int, reason: str) -> None:
    hub.status = status
    with pytest.raises(HfHubHTTPError) as caught:
        found_by("tiny")
    assert reason in asking.why(caught.value) and is_one_sentence(asking.why(caught.value))


def test_a_certificate_that_is_not_trusted_is_told_from_a_missing_way() -> None:
    error = ConnectionError("barred")
    error.__cause__ = ssl.SSLCertVerificationError("self-signed")
    assert "SSL_CERT_FILE" in asking.why(error) and is_one_sentence(asking.why(error))
    assert "cannot be reached" in asking.why(ConnectionError("barred"))


async def test_an_answer_that_makes_no_sense_is_one_sentence(hub: Hub) -> None:
    hub.status = 200
    assert "makes no sense: check HF_ENDPOINT" in await refusal(search("tiny"))


async def test_without_a_way_to_the_hub_that_is_said_at_once(nobody: str) -> None:
    said = await refusal(search("tiny"))
    assert said.startswith(f"{nobody} cannot be reached") and "works without it" in said
    assert await reachable() == said


async def test_names_that_are_never_resolved_are_not_waited_for(
    no_names: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hub_room.WITHIN == 3
    monkeypatch.setattr(hub_room, "WITHIN", 1.0)
    begun = time.monotonic()
    said = await refusal(search("tiny"))
    assert time.monotonic() - begun < 10  # a name that is asked for takes minutes
    assert "has not answered for 1 s: check the connection" in said


async def test_a_hub_that_takes_connections_and_stays_silent_is_not_reachable(silent: socket.socket) -> None:
    begun = time.monotonic()
    assert "has not answered" in await reachable(within=1)
    assert time.monotonic() - begun < 10


async def test_a_search_that_is_cancelled_lets_go_of_the_hub(silent: socket.socket) -> None:
    task = asyncio.create_task(search("tiny"))
    await asyncio.to_thread(silent.accept)  # the knock
    with (await asyncio.to_thread(silent.accept))[0] as asked:
        await asyncio.to_thread(asked.recv, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        asked.settimeout(10)
        while await asyncio.to_thread(asked.recv, 1 << 16):
            pass


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
async def test_who_forbids_it_is_heeded_before_anybody_is_asked(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    assert f"{name} is set: unset it" in await refusal(search("tiny"))
    assert not hub.asked


async def test_the_person_s_proxy_and_token_are_used(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setenv("http_proxy", hub.url)
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert [one.repo for one in await search("tiny")] == [REPO]
    assert hub.tokens == {("hub.invalid/api/models", "Bearer hf_mine")}


@pytest.mark.parametrize("endpoint", ["nonsense", "http://", "http://127.0.0.1:none"])
def test_an_endpoint_that_is_none_is_one_sentence(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(QuietlyError, match="is no address: check HF_ENDPOINT") as caught:
        asking.knock()
    assert is_one_sentence(str(caught.value))


# --- in the shell ---------------------------------------------------------------------------------


def test_the_shell_lists_what_was_found(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.said["someone/Tiny-gated"] = mlx("phi3", 90, gated="manual", safetensors=None)
    searching.search(["tiny"])
    gated, tiny = capsys.readouterr().out.splitlines()
    assert gated.split() == ["someone/Tiny-gated", "4", "bit", "apache-2.0", "gated"]
    assert tiny.split() == [REPO, "640", "M", "4", "bit", "355", "MiB", "apache-2.0"]
    searching.search(["tiny"], as_json=True)
    other, one = json.loads(capsys.readouterr().out)
    assert one["repo"] == REPO and one["parameters"] == 640_000_000 and one["gated"] is False
    assert other["size"] is None and other["gated"] is True


def test_the_shell_says_when_there_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    searching.search(["nothing", "like", "it"])
    said = capsys.readouterr()
    assert said.out == "" and "try fewer of them" in said.err


def test_the_shell_says_when_there_is_no_way(nobody: str) -> None:
    command = [sys.executable, "-P", "-m", "app", "models", "search", "tiny"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "") and "cannot be reached" in done.stderr


@pytest.mark.parametrize("words", [None, [""], [" ", "\t"]])
def test_without_words_the_shell_lists_the_catalogue_and_asks_nobody(
    hub: Hub, capsys: pytest.CaptureFixture[str], words: list[str] | None
) -> None:
    searching.search(words)
    said = capsys.readouterr()
    assert said.out.startswith("starter") and "mlx-community/Qwen3-8B-4bit" in said.out
    assert "RWKV-4" in said.err and "is not offered" in said.err
    assert not hub.asked
