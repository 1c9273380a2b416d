"""The commands as a shell runs them: with the real starter where its words matter, else with a tiny model."""

import io
import json
import os
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.chat.store import GenerationSettings, Preset, Store
from app.cli.shared import Progress
from tests.app.tui.window import converse
from tests.checkpoints import speaking_checkpoint
from tests.terminal import Terminal
from tests.watching import WatchedTerminal

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


@pytest.mark.soak
def test_the_capital_of_france(quietly, starter):
    done = quietly("ask", "What is the capital of France?")
    assert (done.returncode, done.stdout) == (0, "The capital of France is Paris.\n")
    assert done.stderr == ""


@pytest.mark.soak
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


def test_what_is_too_big_for_this_machine_is_not_loaded_unless_one_insists(quietly, tmp_path):
    wide = {"num_hidden_layers": 8, "hidden_size": 256, "num_attention_heads": 32, "num_key_value_heads": 32}
    config = speaking_checkpoint(tmp_path / "endless", **wide) / "config.json"
    config.write_text(
        config.read_text().replace('"max_position_embeddings": 4096', f'"max_position_embeddings": {10**8}')
    )
    asking = ("ask", "-m", str(config.parent), "--context", "10000000", "--max-tokens", "3", "hello")
    refused = quietly(*asking)
    assert refused.returncode == 1 and refused.stdout == ""
    assert "endless takes about" in refused.stderr and "load it all the same with --insist" in refused.stderr
    assert quietly(*asking, "--insist").returncode == 0


def test_bytes_that_are_no_utf_8_become_text_and_what_is_no_text_is_refused(quietly, tiny, places):
    assert quietly("ask", "-m", tiny, "--max-tokens", "3", stdin=b"caf\xe9 \xff").returncode == 0
    with Store.open(places.database) as store:
        assert store.branch(store.latest().id)[0].content == "caf\ufffd \ufffd"
    done = quietly("ask", "-m", tiny, stdin=b"\x7fELF\0\0")
    assert (done.returncode, done.stdout) == (1, "") and "no text" in done.stderr


@pytest.mark.soak
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


@pytest.mark.soak
def test_the_same_seed_gives_the_same_answer(quietly, tiny):
    settings = ("-m", tiny, "--temperature", "1", "--seed", "5", "--max-tokens", "8")
    assert quietly("ask", *settings, "hello").stdout == quietly("ask", *settings, "hello").stdout


@pytest.mark.soak
def test_how_it_is_answered_is_said_or_chosen_before_and_is_kept(quietly, tiny, places):
    places.config.mkdir(parents=True)
    places.settings.write_text('system_prompt = "Be kind."\n[generation]\nmax_tokens = 3\ntop_k = 9\ntop_p = 0.5\n')
    with Store.open(places.database) as store:
        store.keep_model_settings("tiny", GenerationSettings(top_k=5, min_p=0.1))
        short = GenerationSettings(temperature=0, context=300, overflow="stop")
        store.keep_preset(Preset("short", tiny, "Be brief.", short))
    penalties = ("--repetition-penalty", "1.5", "--presence-penalty", "0.2")
    flags = (*penalties, "--seed", "2", "--context", "400", "--no-thinking")
    for arguments in (["-m", tiny], ["--preset", "short", *flags], ["-c", "-m", tiny, "--overflow", "rolling"]):
        assert quietly("ask", *arguments, "hello").returncode == 0
    with Store.open(places.database) as store:
        second, first = store.conversations()
        assert (first.system_prompt, first.settings) == ("Be kind.", GenerationSettings())
        assert (second.system_prompt, second.settings) == ("Be brief.", short)
        asked = [message.sampling for each in (first, second) for message in store.branch(each.id)[1::2]]
        assert all(message.completion_tokens == 3 for message in store.branch(second.id)[1::2])
    layers = {"max_tokens": 3, "top_k": 5, "top_p": 0.5, "min_p": 0.1}
    preset = {**layers, "temperature": 0, "context": 300, "overflow": "stop"}
    said = {"repetition_penalty": 1.5, "presence_penalty": 0.2, "seed": 2, "context": 400, "thinking": False}
    assert asked == [layers, {**preset, **said}, {**preset, "overflow": "rolling"}]


@pytest.mark.soak
def test_what_goes_on_is_told_something_else_and_takes_up_a_preset(quietly, tiny, places):
    with Store.open(places.database) as store:
        store.keep_preset(Preset("short", None, "Be brief.", GenerationSettings(max_tokens=2)))
    for arguments in (["--system", "Be kind.", "--max-tokens", "3"], ["-c", "--preset", "short"], ["-c", "-s", ""]):
        assert quietly("ask", "-m", tiny, *arguments, "hello").returncode == 0
        with Store.open(places.database) as store:
            told = store.latest()
        assert told.system_prompt == ("Be kind." if "-c" not in arguments else "" if "-s" in arguments else "Be brief.")
    assert told.settings == GenerationSettings(max_tokens=2)


def test_a_folder_that_holds_its_own_modules_is_not_run(quietly, tiny, tmp_path):
    for name in ("app", "model", "textual"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('theirs was run')")
    (tmp_path / "json.py").write_text("raise SystemExit('theirs was run')")
    done = quietly("ask", "-m", tiny, "--max-tokens", "3", "hello", cwd=tmp_path)
    assert done.returncode == 0 and "theirs" not in done.stdout + done.stderr


@pytest.mark.soak
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ask"], "Nothing was asked"),
        (["ask", "-m", "no-such-model", "hello"], "no-such-model"),
        (["ask", "-m", "", "hello"], "No model was named"),
        (["ask", "-c", "hello"], "no conversation"),
        (["ask", "-m", ".", "hello"], "config.json is missing"),
        (["ask", "--temperature", "-1", "hello"], "temperature"),
        (["ask", "--seed", str(1 << 64), "hello"], "seed"),
        (["ask", "--max-tokens", str(1 << 64), "hello"], "max-tokens"),
        (["ask", "--context", "0", "hello"], "context"),
        (["ask", "--overflow", "never", "hello"], "overflow"),
        (["ask", "--preset", "terse", "hello"], "no preset called terse"),
        (["ask", "--preset", "", "hello"], 'no preset called "":'),
        (["export", str(1 << 64)], str(1 << 64)),
        (["export"], "no conversation"),
        (["export", "7"], "7"),
        (["export", "--all", "7"], "leave them out, or the numbers"),
        (["export", "-o", ""], "no folder"),
        (["search"], "Nothing was looked for"),
        (["search", "--after", "someday", "x"], "someday"),
        (["search", "after:2026-13-45"], "2026-13-45 is no day;"),
        (["search", "--before", "2026-02-30", "x"], "2026-02-30 is no day;"),
        (["import", "nowhere.json"], "nowhere.json"),
        (["settings", "set", "themes", "nord"], "did you mean theme?"),
        (["settings", "set", "backups", "many"], "whole number"),
        (["settings", "set", "backups", "-1"], "whole number"),
        (["import", ""], "no file"),
        (["settings", "unset", "colour"], "no setting"),
        (["settings", "unset", ""], '"" is no setting'),
        (["delete"], "--everything"),
        (["delete", "7", "--yes"], "7"),
        ([], "needs a terminal"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_a_status(quietly, starter, arguments, says):
    done = quietly(*arguments)
    assert done.returncode in (1, 2)
    assert says in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_window_whose_errors_go_elsewhere_says_so_where_it_is_seen(home, tmp_path):
    """That is where it is drawn: the screen would stay empty."""
    terminal = Terminal(["/bin/sh", "-c", f"{shlex.join(QUIETLY)} 2>errors"], tmp_path)
    try:
        assert terminal.ends() == 1
        assert "needs a terminal for input, output and errors" in terminal.text
    finally:
        terminal.close()
    assert (tmp_path / "errors").read_text() == ""


def test_a_bad_model_folder_is_one_sentence(quietly, tmp_path):
    (tmp_path / "empty").mkdir()
    done = quietly("ask", "-m", str(tmp_path / "empty"), "hello")
    assert done.returncode == 1 and "config.json" in done.stderr and "Traceback" not in done.stderr


def test_a_sentence_stays_on_one_line_whatever_a_file_is_called(quietly, tmp_path):
    (tmp_path / "a\nb.gguf").write_bytes(b"junk")
    said = quietly("inspect", str(tmp_path / "a\nb.gguf")).stderr
    assert "a b.gguf is no GGUF file" in said and said.count("\n") == 1


def test_an_unreadable_database_is_named_and_left_alone(quietly, places):
    places.data.mkdir(parents=True)
    places.database.write_bytes(b"not a database at all" * 100)
    done = quietly("ask", "hello")
    assert done.returncode == 1 and str(places.database) in done.stderr and "Traceback" not in done.stderr
    assert places.database.read_bytes() == b"not a database at all" * 100


@pytest.mark.soak
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
    [rule] = [line for line in said.splitlines() if line.startswith("connections ")]
    assert "0 by this command" in rule and "only searching and bringing models" in rule and "refused" in rule


def test_models_lists_the_starter(quietly, starter):
    assert quietly("models").stdout.startswith("starter")
    assert quietly("models", "get", "starter").stdout.strip() == str(starter)


@pytest.mark.soak
def test_fit_is_told_of_what_is_here_in_the_catalogue_and_in_a_file(quietly, tiny):
    here = quietly("models", "fit", tiny)
    assert here.stdout.startswith("fits: tiny takes about") and "KV cache" in here.stdout
    offered = json.loads(quietly("models", "fit", "qwen2.5 7b", "--context", "4096", "--json").stdout)
    assert offered["context"] == 4096 and offered["total"] > offered["weights"] > 3 * 1024**3
    packed = json.loads(quietly("models", "fit", "qwen2.5 7b", "--context", "4096", "--kv-bits", "8", "--json").stdout)
    assert packed["kv"] < 0.6 * offered["kv"]
    assert json.loads(quietly("models", "fit", f"{tiny}/config.json", "--json").stdout)["verdict"] == "fits"
    assert "It holds 4,096 tokens at most" in quietly("models", "fit", tiny, "--context", "9000").stderr
    for arguments, says in ((("nothing",), "no model"), ((tiny, "--kv-bits", "3"), "4 or 8 bits, not 3")):
        refused = quietly("models", "fit", *arguments)
        assert refused.returncode == 1 and says in refused.stderr and "Traceback" not in refused.stderr


def test_a_conversations_file_that_was_set_aside_is_said_once(quietly, places):
    with Store.open(places.database) as store:
        store.create(title="before")
    content = places.database.read_bytes()
    places.database.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    done = quietly("models")
    assert done.returncode == 0 and "damaged" in done.stderr
    assert quietly("models").stderr == ""


# --- what was said, found, carried and deleted --------------------------------------------------------------------


@pytest.fixture
def told(places) -> list[int]:
    """Three conversations, the last of them the latest."""
    with Store.open(places.database) as store:
        return [converse(store, f"Where is {city}?", f"{city} lies in the east.") for city in ("Riga", "Lviv", "東京")]


def test_a_search_names_where_it_was_said_and_marks_nothing_in_a_pipe(quietly, told):
    done = quietly("search", "riga", "lies")
    title, snippet = done.stdout.splitlines()
    assert title.startswith("Where is Riga?") and f"conversation {told[0]}, message 2, starter" in title
    assert snippet.strip() == "Riga lies in the east." and done.stderr == ""


def test_words_may_be_of_any_script_and_the_last_is_whole(quietly, told):
    assert "東京 lies" in quietly("search", "東京").stdout
    done = quietly("search", "Lvi")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "Nothing was found.\n")


def test_a_search_in_json_has_what_the_search_has(quietly, told):
    found = json.loads(quietly("search", '"in the east"', "--json", "--limit", "2").stdout)
    assert found["more"] and [hit["role"] for hit in found["hits"]] == ["assistant"] * 2
    hit = found["hits"][0]
    assert [hit["snippet"][start:end] for start, end in hit["marks"]] == ["in the east"]


def test_a_search_may_be_for_a_day_or_a_model_alone(quietly, told):
    assert len(json.loads(quietly("search", "--model", "START", "--json").stdout)["hits"]) == 6
    assert quietly("search", "--model", "other").stdout == quietly("search", "--before", "yesterday").stdout == ""
    assert len(json.loads(quietly("search", "--after", "today", "riga", "--json").stdout)["hits"]) == 3


def test_on_a_terminal_what_was_found_is_bold(quietly, told, tmp_path):
    terminal = WatchedTerminal([*QUIETLY, "search", "riga", "lies"], tmp_path, columns=120)
    assert terminal.ends() == 0
    assert b"\x1b[1mRiga\x1b[22m \x1b[1mlies\x1b[22m in the east" in terminal.received


def test_several_are_exported_and_come_back_once(quietly, told, tmp_path, places):
    numbers = str(told[0]), str(told[2]), str(told[0])
    done = quietly("export", *numbers, "--format", "json", "-o", str(tmp_path / "made" / "for this"))
    files = [Path(line) for line in done.stdout.splitlines()]
    assert [file.suffix for file in files] == [".json"] * 2
    assert quietly("import", *map(str, files)).stdout == "Nothing new was imported; 2 were here already.\n"
    with Store.open(places.database) as store:
        store.delete(told[0])
    assert len(json.loads(quietly("import", "--json", *map(str, files)).stdout)["added"]) == 1


def test_all_are_exported_as_it_is_set(quietly, told, tmp_path, places):
    places.config.mkdir(parents=True)
    places.settings.write_text(f'export_format = "html"\nexport_folder = "{tmp_path}"\n')
    files = json.loads(quietly("export", "--all", "--json").stdout)
    assert sorted(row["conversation"] for row in files) == told
    assert {Path(row["file"]) for row in files} == set(tmp_path.glob("*.html"))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_output_that_knows_few_letters_gets_what_it_can_and_json_whole(quietly, told, monkeypatch, encoding):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    listed = quietly("export", "--list")
    assert (listed.returncode, listed.stderr) == (0, "") and "Where is ??" in listed.stdout
    assert json.loads(quietly("export", "--list", "--json").stdout)[0]["title"] == "Where is 東京?"


def test_a_path_that_is_no_unicode_is_found_again_in_json(quietly, told, tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    try:
        Path(folder).mkdir()
    except OSError:
        return  # a file system that takes Unicode alone has no such paths
    (written,) = json.loads(quietly("export", "--json", "-o", folder).stdout)
    assert Path(written["file"]).parent == Path(folder) and Path(written["file"]).is_file()


def test_a_file_that_is_no_export_does_not_keep_the_others_out(quietly, told, tmp_path, places):
    kept = quietly("export", "--format", "markdown", "-o", str(tmp_path)).stdout.strip()
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0 ftyp")
    with Store.open(places.database) as store:
        store.delete(told[2])
    done = quietly("import", str(tmp_path / "film.mp4"), kept)
    assert (done.returncode, done.stdout) == (1, "One conversation was imported.\n")
    assert "film.mp4 is no export" in done.stderr


@pytest.mark.soak
def test_what_is_set_is_said_with_where_it_comes_from(quietly, places, monkeypatch):
    assert quietly("settings", "set", "theme", "nord").stdout == "theme is nord\n"
    assert quietly("settings", "set", "generation.top_p", "0.5").returncode == 0
    assert quietly("settings", "set", "generation.presence_penalty", "-1").stdout.endswith(" is -1\n")
    assert quietly("settings", "unset", "generation.presence_penalty").returncode == 0
    assert quietly("settings", "set", "system_prompt", "Be kind.\nBe brief.").stdout.endswith(" is Be kind. …\n")
    assert quietly("settings", "unset", "system_prompt").returncode == 0
    monkeypatch.setenv("QUIETLY_BACKUPS", "3")
    rows = json.loads(quietly("settings", "--json").stdout)
    assert rows["theme"] == {"value": "nord", "from": "file"}
    assert rows["generation.top_p"] == {"value": 0.5, "from": "file"}
    assert rows["backups"] == {"value": 3, "from": "environment"}
    assert rows["reasoning"] == {"value": "folded", "from": "default"}
    assert "QUIETLY_BACKUPS stands over it" in quietly("settings", "set", "backups", "5").stderr
    assert quietly("settings", "unset", "theme").stdout == "theme is textual-dark\n"
    assert places.settings.read_text() == "backups = 5\n\n[generation]\ntop_p = 0.5\n"


@pytest.mark.parametrize("sure", [True, False])
def test_a_conversation_is_deleted_by_who_is_sure(quietly, told, places, sure):
    done = quietly("delete", str(told[1]), *(["--yes"] if sure else []))
    assert (done.returncode, "--yes" in done.stderr) == ((0, False) if sure else (1, True))
    with Store.open(places.database) as store:
        assert (told[1] in [record.id for record in store.conversations()]) is not sure


@pytest.mark.parametrize("word", ["delete", "no"])
def test_on_a_terminal_everything_goes_only_for_the_word(quietly, told, places, tmp_path, word):
    terminal = Terminal([*QUIETLY, "delete", "--everything"], tmp_path, columns=200)
    terminal.until("3 conversations and everything")
    terminal.type(f"{word}\r")
    assert terminal.ends() == (0 if word == "delete" else 1)
    assert ("the conversations file: empty" in terminal.text) == (word == "delete")
    with Store.open(places.database) as store:
        assert len(store.conversations()) == (0 if word == "delete" else 3)


def test_long_work_says_on_a_terminal_how_far_it_has_come(monkeypatch):
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("app.cli.shared._AT_ONCE", 0.0)
    for stream in (Screen(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        with Progress("Exporting") as progress:
            progress(1, 1000)
        assert stream.getvalue() == ("\rExporting 1 of 1,000\r                    \r" if stream.isatty() else "")
