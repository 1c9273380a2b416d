"""The commands as a shell runs them: with the real starter where its words matter, else with a tiny model."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.chat.store import Store
from tests.checkpoints import speaking_checkpoint

QUIETLY = [sys.executable, "-P", "-m", "app"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> str:
    """The folder of a model that loads in no time and says nonsense."""
    return str(speaking_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny"))


@pytest.fixture
def quietly(home, conversions):
    """Run a command in this test's installation, its converted starter shared with the other tests'."""
    home.joinpath("cache").mkdir(parents=True)
    home.joinpath("cache", "converted").symlink_to(conversions, target_is_directory=True)

    def run(*arguments: str, stdin: str | bytes = "", cwd: Path | None = None) -> subprocess.CompletedProcess:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run([*QUIETLY, *arguments], input=given, capture_output=True, timeout=120, cwd=cwd)
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def test_the_capital_of_france(quietly, starter):
    done = quietly("ask", "What is the capital of France?")
    assert (done.returncode, done.stdout) == (0, "The capital of France is Paris.\n")
    assert done.stderr == ""


def test_json_tells_text_counts_and_timings_and_the_conversation_goes_on(quietly, starter):
    first = json.loads(quietly("ask", "--json", "What is the capital of France?").stdout)
    second = json.loads(quietly("ask", "--json", "--continue", "And of Italy?").stdout)
    assert "Paris" in first["text"] and "Rome" in second["text"]
    assert first["completion_tokens"] > 3 and first["first_token_seconds"] > 0 and first["reason"] == "stop"
    assert second["prompt_tokens"] > first["prompt_tokens"]
    assert second["conversation"] == first["conversation"]


def test_standard_input_is_added_to_the_question(quietly, tiny, places):
    assert quietly("ask", "-m", tiny, "One word about this:", "--max-tokens", "3", stdin="the sky\n").returncode == 0
    with Store.open(places.database) as store:
        question, answer = store.branch(store.latest().id)
    assert question.content == "One word about this:\n\nthe sky"
    assert answer.model == "tiny" and answer.status == "complete" and answer.token_ids


def test_bytes_that_are_no_utf_8_become_text_and_what_is_no_text_is_refused(quietly, tiny, places):
    assert quietly("ask", "-m", tiny, "--max-tokens", "3", stdin=b"caf\xe9 \xff").returncode == 0
    with Store.open(places.database) as store:
        assert store.branch(store.latest().id)[0].content == "caf\ufffd \ufffd"
    done = quietly("ask", "-m", tiny, stdin=b"\x7fELF\0\0")
    assert (done.returncode, done.stdout) == (1, "") and "no text" in done.stderr


@pytest.mark.parametrize("redirected", ["<&-", ">&-", ">/dev/full", "--json >/dev/full", "2>&-"])
def test_closed_and_full_streams_end_in_order(quietly, tiny, places, redirected):
    command = f'"$@" {redirected}'
    done = subprocess.run(
        ["sh", "-c", command, "sh", *QUIETLY, "ask", "-m", tiny, "--max-tokens", "3", "hello"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert done.returncode == (1 if "full" in redirected else 0)
    assert ("cannot be written" in done.stderr) == ("full" in redirected)
    with Store.open(places.database) as store:
        assert store.branch(store.latest().id)[-1].status in ("complete", "stopped")


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_answer_and_keeps_what_there_is(quietly, tiny, places, asked):
    command = [*QUIETLY, "ask", "-m", tiny, "hello"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        begun = process.stdout.read(20)
        process.send_signal(asked)
        said = begun + process.stdout.read()
    assert process.returncode == 130
    with Store.open(places.database) as store:
        answer = store.branch(store.latest().id)[-1]
    assert answer.status == "stopped" and answer.content == said.decode().removesuffix("\n")


def test_the_same_seed_gives_the_same_answer(quietly, tiny):
    settings = ("-m", tiny, "--temperature", "1", "--seed", "5", "--max-tokens", "8")
    assert quietly("ask", *settings, "hello").stdout == quietly("ask", *settings, "hello").stdout


def test_a_folder_that_holds_its_own_modules_is_not_run(quietly, tiny, tmp_path):
    for name in ("app", "model", "textual"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('theirs was run')")
    (tmp_path / "json.py").write_text("raise SystemExit('theirs was run')")
    done = quietly("ask", "-m", tiny, "--max-tokens", "3", "hello", cwd=tmp_path)
    assert done.returncode == 0 and "theirs" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ask"], "Nothing was asked"),
        (["ask", "-m", "no-such-model", "hello"], "no-such-model"),
        (["ask", "-c", "hello"], "no conversation"),
        (["ask", "-m", ".", "hello"], "config.json is missing"),
        (["ask", "--temperature", "-1", "hello"], "temperature"),
        (["ask", "--seed", str(1 << 64), "hello"], "seed"),
        (["ask", "--max-tokens", str(1 << 64), "hello"], "max-tokens"),
        (["export", str(1 << 64)], str(1 << 64)),
        (["export"], "no conversation"),
        (["export", "7"], "7"),
        ([], "needs a terminal"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_a_status(quietly, starter, arguments, says):
    done = quietly(*arguments)
    assert done.returncode in (1, 2)
    assert says in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_bad_model_folder_is_one_sentence(quietly, tmp_path):
    (tmp_path / "empty").mkdir()
    done = quietly("ask", "-m", str(tmp_path / "empty"), "hello")
    assert done.returncode == 1 and "config.json" in done.stderr and "Traceback" not in done.stderr


def test_an_unreadable_database_is_named_and_left_alone(quietly, places):
    places.data.mkdir(parents=True)
    places.database.write_bytes(b"not a database at all" * 100)
    done = quietly("ask", "hello")
    assert done.returncode == 1 and str(places.database) in done.stderr and "Traceback" not in done.stderr
    assert places.database.read_bytes() == b"not a database at all" * 100


def test_an_export_never_overwrites(quietly, tiny, tmp_path):
    quietly("ask", "-m", tiny, "--max-tokens", "3", "hello")
    written = [Path(quietly("export", "-o", str(tmp_path)).stdout.strip()) for _ in range(2)]
    assert written[0] != written[1]
    assert all("hello" in path.read_text() for path in written)
    assert "hello" in quietly("export", "--list").stdout


def test_what_is_kept_is_for_its_owner_only(quietly, tiny, home):
    quietly("ask", "-m", tiny, "--max-tokens", "3", "hello")
    for folder, _, files in os.walk(home / "data"):
        assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
        assert all(stat.S_IMODE((Path(folder) / file).stat().st_mode) == 0o600 for file in files)


def test_doctor_names_what_helpers_ask_for(quietly, starter):
    said = quietly("doctor").stdout
    for word in ("quietly", "python", "mlx 0.", "engine", "blas", "memory", "conversations", "logs", "starter"):
        assert word in said


def test_models_lists_the_starter(quietly, starter):
    assert quietly("models").stdout.startswith("starter")
    assert quietly("models", "get", "starter").stdout.strip() == str(starter)


def test_a_conversations_file_that_was_set_aside_is_said_once(quietly, places):
    with Store.open(places.database) as store:
        store.create(title="before")
    content = places.database.read_bytes()
    places.database.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    done = quietly("models")
    assert done.returncode == 0 and "damaged" in done.stderr
    assert quietly("models").stderr == ""
