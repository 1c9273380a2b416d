"""llama.cpp as someone to be measured, played by a script: what it is asked, what is made of what it prints, and how it
ends. No llama.cpp is needed."""

import asyncio
import contextlib
import json
import os
import select
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.benching.llama_cpp import VARIABLE, LlamaCpp, llama_bench
from app.benching.messages import Bandwidth, Decode, Prefill, Prepared, Restore, Sample, Thing, Turn, Unmeasured
from app.errors import QuietlyError
from app.library.local import InstalledModel
from tests.waiting import PATIENCE

ROW = {
    "build_commit": "0c1e570",
    "build_number": 7000,
    "cpu_info": "AMD EPYC",
    "gpu_info": "",
    "backends": "CPU",
    "model_type": "llama 256M Q4_1",
    "n_ubatch": 512,
    "n_threads": 2,
    "type_k": "f16",
    "type_v": "f16",
    "n_gpu_layers": -1,
    "flash_attn": -1,
    "something_new": {"of": ["another", "version"]},
}
PLAYED = """\
import json, os, sys
arguments = sys.argv[1:]
with open({asked!r}, "a") as file:
    file.write(json.dumps(arguments) + "\\n")
said = dict(zip(arguments[::2], arguments[1::2]))
row = json.loads({row!r}) | {{"n_prompt": int(said["-p"]), "n_gen": int(said["-n"])}}
row["n_depth"] = int(said.get("-d", 0))
row["samples_ns"] = [1000000 * (row["n_prompt"] + row["n_gen"]) + row["n_depth"]]
print("a line of something else", file=sys.stderr)
print(json.dumps(row))
"""
Play = Callable[[str], None]


@pytest.fixture
def model(tmp_path: Path) -> InstalledModel:
    file = tmp_path / "a model.gguf"
    file.write_bytes(b"GGUF")
    return InstalledModel(name="a model", path=file, source="folder", context=2048)


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Let this Python program be the llama-bench on the PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()

    def play(program: str) -> None:
        file = folder / "llama-bench"
        file.write_text(f"#!{sys.executable}\n{program}")
        file.chmod(0o755)

    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(folder))
    return play


@pytest.fixture
def asked(play: Play, tmp_path: Path) -> Callable[[], list[list[str]]]:
    """A llama-bench that does as it is told; what it has been asked so far."""
    file = tmp_path / "asked"
    play(PLAYED.format(asked=str(file), row=json.dumps(ROW)))
    return lambda: [json.loads(line) for line in file.read_text().splitlines()]


@contextlib.asynccontextmanager
async def ready(model: InstalledModel):
    runner = LlamaCpp(model)
    try:
        await runner.prepare(lambda done, total: None)
        yield runner
    finally:
        await runner.close()


async def refused(model: InstalledModel) -> str:
    """The sentence with which it cannot begin."""
    with pytest.raises(QuietlyError) as caught:
        async with ready(model):
            pass
    sentence = str(caught.value)
    assert "\n" not in sentence and "\x1b" not in sentence
    return sentence


async def test_it_says_how_it_is_set_up(asked, model: InstalledModel) -> None:
    runner = LlamaCpp(model)
    assert await runner.prepare(lambda done, total: None) == Prepared(
        version="llama.cpp b7000 (0c1e570)",
        device="AMD EPYC",
        configuration=(
            ("weights", "llama 256M Q4_1"),
            ("back end", "CPU"),
            ("threads", "2"),
            ("keys and values", "f16"),
            ("chunk", "512 tokens"),
            ("clock", "llama-bench's own, without sampling"),
        ),
        context=2048,
    )
    await runner.close()


@pytest.mark.parametrize(
    ("thing", "counts", "seconds"),
    [
        (Prefill(128), ["-p", "128", "-n", "0"], 0.128),
        (Decode(0, 64), ["-p", "0", "-n", "64"], 0.064),
        (Decode(1024, 64), ["-p", "0", "-n", "64", "-d", "1024"], 0.064001024),
        (Turn(1000, 50), ["-p", "50", "-n", "0", "-d", "1000"], 0.050001),
    ],
)
async def test_each_thing_is_a_test_of_its_own(
    asked, model: InstalledModel, thing: Thing, counts: list[str], seconds: float
) -> None:
    async with ready(model) as runner:
        sample = await runner.measure(thing)
    assert isinstance(sample, Sample) and sample.seconds == pytest.approx(seconds)
    assert sample.memory is not None and 1 << 20 < sample.memory < 1 << 30
    assert asked()[1:] == [["-m", str(model.path), *counts, "-r", "1", "-o", "jsonl"]]


@pytest.mark.parametrize("thing", [Restore(1000, 50), Bandwidth(1 << 20)])
async def test_what_it_has_no_test_for_is_not_measured(asked, model: InstalledModel, thing: Thing) -> None:
    async with ready(model) as runner:
        assert isinstance(await runner.measure(thing), Unmeasured)
    assert len(asked()) == 1


async def test_where_it_is_missing_the_way_to_get_it_is_said(
    model: InstalledModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "`brew install llama.cpp`" in await refused(model)
    monkeypatch.setenv(VARIABLE, "no\x1bwhere\nelse")
    assert (await refused(model)).startswith(f"{VARIABLE} names nowhere, which is no program")


def test_the_variable_stands_over_the_path(play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play("")
    assert llama_bench() == tmp_path / "programs" / "llama-bench"
    other = tmp_path / "mine"
    other.touch(mode=0o755)
    monkeypatch.setenv(VARIABLE, str(other))
    assert llama_bench() == other
    other.chmod(stat.S_IRUSR)
    with pytest.raises(QuietlyError, match="is no program"):
        llama_bench()


async def test_what_is_no_gguf_file_is_not_for_it(asked, model: InstalledModel, tmp_path: Path) -> None:
    folder = InstalledModel(name="wide", path=tmp_path, source="folder")
    assert "llama.cpp reads GGUF files, and wide is a folder of safetensors" in await refused(folder)
    file = InstalledModel(name="old", path=tmp_path / "old.pth", source="folder")
    assert "llama.cpp reads GGUF files, and old is a .pth file" in await refused(file)


WHOLE = {**ROW, "samples_ns": [5], "n_prompt": 1, "n_gen": 0, "n_depth": 0}
STRANGE = {
    "nothing": "",
    "no JSON": "print('{build')",
    "another shape": "print('{}')",
    "text for numbers": f"print({json.dumps({**WHOLE, 'n_prompt': '1'})!r})",
    "no time at all": f"print({json.dumps({**WHOLE, 'samples_ns': [0]})!r})",
    "time that runs backwards": f"print({json.dumps({**WHOLE, 'samples_ns': [-5]})!r})",
    "time without end": f"print({json.dumps({**WHOLE, 'samples_ns': [10**400]})!r})",
    "no sample": f"print({json.dumps({**WHOLE, 'samples_ns': []})!r})",
    "two rows": f"print({json.dumps(WHOLE)!r}); print({json.dumps(WHOLE)!r})",
    "a nest": "print('{\"samples_ns\":' + '[' * 100_000)",
    "no UTF-8": "import sys; sys.stdout.buffer.write(b'{\\xff\\xfe}\\n')",
    "no end": "while True: print('{' + 'x' * 10_000)",
}


@pytest.mark.parametrize("program", STRANGE.values(), ids=STRANGE.keys())
async def test_what_it_should_not_print_is_one_sentence(play: Play, model: InstalledModel, program: str) -> None:
    play(program)
    assert "another version of llama.cpp" in await refused(model)


async def test_another_test_than_was_asked_for_is_not_taken_for_it(play: Play, model: InstalledModel) -> None:
    play(f"print({json.dumps({**WHOLE, 'n_prompt': 512})!r})")
    assert "something else than it was asked for" in await refused(model)


async def test_what_it_complains_of_is_part_of_the_sentence(play: Play, model: InstalledModel) -> None:
    play("import sys; print('first', file=sys.stderr); sys.exit('error: \\x1b[31mno such\\x07 option.\\n')")
    sentence = await refused(model)
    assert sentence.startswith("llama-bench ended with code 1, saying: error: [31mno such option; ")
    play("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert "ended by signal 9" in await refused(model)


async def test_names_of_its_build_cannot_act_on_a_terminal(play: Play, model: InstalledModel) -> None:
    row = {**WHOLE, "build_commit": "\x1b[2Jx\ny", "gpu_info": "a\x07\nb", "n_gpu_layers": 99, "build_number": 0}
    play(f"print({json.dumps(row)!r})")
    runner = LlamaCpp(model)
    prepared = await runner.prepare(lambda done, total: None)
    await runner.close()
    assert (prepared.version, prepared.device) == ("llama.cpp of an unknown build ([2Jx", "a")
    assert dict(prepared.configuration)["layers on the GPU"] == "all"


@pytest.fixture
def lasting(play: Play, tmp_path: Path) -> Path:
    """A llama-bench without an end; a pipe that it holds open: what reads there hears it begin and end."""
    pipe = tmp_path / "begun"
    os.mkfifo(pipe)
    play(f"import signal\npipe = open({str(pipe)!r}, 'w')\nprint('begun', file=pipe, flush=True)\nsignal.pause()")
    return pipe


async def test_giving_up_ends_it(lasting: Path, model: InstalledModel) -> None:
    runner = LlamaCpp(model)
    measuring = asyncio.create_task(runner.prepare(lambda done, total: None))
    with await asyncio.to_thread(lasting.open) as pipe:
        assert pipe.readline() == "begun\n"
        measuring.cancel()
        await asyncio.wait([measuring])
        await runner.close()
        assert measuring.cancelled()
        assert await asyncio.wait_for(asyncio.to_thread(pipe.read), PATIENCE) == ""


async def test_giving_up_while_it_begins_ends_it_too(
    lasting: Path, model: InstalledModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, go_on = asyncio.create_subprocess_exec, asyncio.Event()

    async def slowly(*command: str, **how) -> asyncio.subprocess.Process:
        process = await create(*command, **how)
        try:
            await go_on.wait()
        except asyncio.CancelledError:
            process.kill()  # as asyncio does, and no other
            raise
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", slowly)
    measuring = asyncio.create_task(LlamaCpp(model).prepare(lambda done, total: None))
    with await asyncio.to_thread(lasting.open) as pipe:
        assert pipe.readline() == "begun\n"
        measuring.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait([measuring])
        assert measuring.cancelled() and select.select([pipe], [], [], 20)[0] and pipe.read() == ""


def test_it_ends_with_whoever_wanted_it(lasting: Path, model: InstalledModel) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from app.benching.llama_cpp import LlamaCpp; from app.library.local import InstalledModel\n"
        "model = InstalledModel(name='a', path=Path(sys.argv[1]), source='folder')\n"
        "asyncio.run(LlamaCpp(model).prepare(lambda done, total: None))"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(model.path)]) as whoever, lasting.open() as pipe:
        assert pipe.readline() == "begun\n"
        whoever.kill()
        assert pipe.read() == ""


async def test_closing_what_never_began_is_nothing(model: InstalledModel) -> None:
    await LlamaCpp(model).close()
