"""Quantising in a process of its own: what comes out is whole, measured and listed, and what was given up leaves
nothing."""

import asyncio
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from app.errors import QuietlyError
from app.library.local import InstalledModel, find, installed
from app.quantising import (
    Compared,
    Packed,
    Quantised,
    Step,
    Uncompared,
    as_data,
    comparing,
    figures,
    place_for,
    quantise,
    refusal,
    size_about,
)
from app.settings import Paths
from model.weights.safetensors import shards
from tests.app.library.children import children
from tests.checkpoints import random_checkpoint, speaking_checkpoint, write_checkpoint
from tests.model.pth_files import publish
from tests.terminal import Terminal

WIDE = {"hidden_size": 64, "intermediate_size": 128}


@pytest.fixture
def original(tmp_path: Path) -> InstalledModel:
    """A model in full precision, with a card and a licence."""
    folder = speaking_checkpoint(tmp_path / "Speaker-bf16", **WIDE)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "LICENSE").write_text("as you like")
    return find(str(folder))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes a moment."""
    return speaking_checkpoint(tmp_path_factory.mktemp("large") / "large", hidden_size=1024, intermediate_size=6144)


def in_folder(folder: Path) -> set[str]:
    """Everything that lies in a folder, hidden or not; nothing where there is none."""
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


async def test_what_comes_out_is_measured_whole_and_among_the_models(original: InstalledModel, places: Paths) -> None:
    steps: list[Step] = []
    made = await quantise(original, 4, progress=steps.append)
    assert made.path == places.models / "Speaker-4bit"
    assert in_folder(places.models) == {"Speaker-4bit"}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "LICENSE"} <= in_folder(made.path)
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.path.iterdir()} == {0o600}
    (listed,) = [model for model in installed() if model.source == "quietly"]
    assert (listed.name, listed.licence, listed.problem) == ("Speaker-4bit", "mit", None)
    assert refusal(listed)

    packed, compared = made.packed, made.comparison
    assert packed.before == (original.path / "model.safetensors").stat().st_size
    assert packed.after == (made.path / "model.safetensors").stat().st_size
    assert 0.05 < packed.error <= packed.worst_error < 0.15 and packed.worst.startswith("model.")
    assert isinstance(compared, Compared)
    assert compared.places == 256 and 0 < compared.same < 1 and compared.divergence > 0

    assert [step.doing for step in steps] == sorted((step.doing for step in steps), reverse=True)
    for doing, total in (("pack", stored(made.path)), ("compare", packed.before + packed.after)):
        done = [step.done for step in steps if step.doing == doing]
        assert {step.total for step in steps if step.doing == doing} == {total}
        assert done == sorted(done) and 0.9 * total < done[-1] <= total


async def test_a_pth_file_is_converted_first(tmp_path: Path, places: Paths) -> None:
    (tmp_path / "models").mkdir()
    path = publish(tmp_path / "models" / "RWKV-4-Pile-0M-ctx256.pth")
    steps: list[Step] = []
    made = await quantise(find(str(path)), 8, 32, progress=steps.append)
    assert made.path == places.models / "RWKV-4-Pile-0M-ctx256-8bit-g32" and made.packed.after < made.packed.before
    doing = [step.doing for step in steps]
    assert list(dict.fromkeys(doing)) == ["convert", "pack", "compare"]
    converted = steps[doing.index("pack") - 1]
    assert 0 < converted.done == converted.total < made.packed.before


def stored(folder: Path) -> int:
    """Bytes of the tensors of a checkpoint."""
    return sum(tensor.nbytes for tensors in shards(folder).values() for tensor in tensors.values())


async def during(
    doing: str, work: Callable[[Callable[[Step], None]], object], act: Callable[[], object]
) -> list[Quantised | BaseException]:
    """Quantise, and `act` at the first word of a step of this kind."""
    acted = False

    def progress(step: Step) -> None:
        nonlocal acted
        if step.doing == doing and not acted:
            acted = True
            act()

    made = work(progress)
    assert asyncio.iscoroutine(made)
    task = asyncio.ensure_future(made)
    return await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("doing", ["pack", "compare"])
async def test_giving_it_up_ends_it_at_once_and_leaves_nothing(
    original: InstalledModel, places: Paths, doing: str
) -> None:
    def give_up() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    (ended,) = await during(doing, lambda progress: quantise(original, 4, progress=progress), give_up)
    assert isinstance(ended, asyncio.CancelledError)
    assert not in_folder(places.models) and not children("app.quantising")


def kill_the_process() -> None:
    for pid in children("app.quantising"):
        os.kill(pid, signal.SIGKILL)


async def test_a_process_that_dies_while_packing_leaves_nothing(large: Path, places: Paths) -> None:
    slow = find(str(large))
    (ended,) = await during("pack", lambda progress: quantise(slow, 8, progress=progress), kill_the_process)
    assert isinstance(ended, QuietlyError) and "Quantising large ended early" in str(ended)
    assert not in_folder(places.models)


async def test_a_process_that_dies_while_comparing_has_packed_all_the_same(
    original: InstalledModel, places: Paths
) -> None:
    (made,) = await during("compare", lambda progress: quantise(original, 8, progress=progress), kill_the_process)
    assert isinstance(made, Quantised) and isinstance(made.comparison, Uncompared)
    assert "ended early" in made.comparison.why and in_folder(places.models) == {"Speaker-8bit"}
    assert find("Speaker-8bit").problem is None


async def test_what_a_power_cut_left_is_taken_away_and_what_others_work_in_is_not(
    original: InstalledModel, places: Paths
) -> None:
    left, used = places.models / ".left.quantising", places.models / ".used.quantising"
    for folder in (left, used):
        (folder / "half").mkdir(parents=True)
    weights = mx.load(str(original.path / "model.safetensors"))
    weights["model.norm.weight"][3] = float("nan")
    write_checkpoint(original.path, json.loads((original.path / "config.json").read_text()), weights)
    lock = os.open(used, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(QuietlyError, match=r"Speaker-bf16: model\.norm\.weight holds a NaN"):
        await quantise(original, 4)
    os.close(lock)
    assert in_folder(places.models) == {used.name}


async def test_a_disk_that_is_full_is_said_with_the_place_that_was_asked_for(
    original: InstalledModel, tmp_path: Path, full_disk: Callable[[int], None]
) -> None:
    target = tmp_path / "elsewhere" / "small"
    full_disk(20_000)
    with pytest.raises(QuietlyError) as caught:
        await quantise(original, 4, target=target)
    assert str(caught.value).startswith(f"{target} cannot be written (")
    assert not in_folder(target.parent)


async def test_without_a_tokenizer_there_is_a_model_and_no_comparison(tmp_path: Path) -> None:
    silent = find(str(random_checkpoint(tmp_path / "silent", **WIDE)))
    made = await quantise(silent, 8, 32, target=tmp_path / "small")
    assert made.path == tmp_path / "small" and made.packed.error < 0.01
    assert made.comparison == Uncompared("silent has no tokenizer.json to read a text with: not compared.")
    assert ("Answers", "silent has no tokenizer.json to read a text with: not compared.") in figures(made)
    assert as_data(made)["compared"] is None and as_data(made)["group_size"] == 32


async def test_what_cannot_be_quantised_is_refused_at_once(original: InstalledModel, places: Paths) -> None:
    packed = replace(original, bits=4.5, stored="4 bit")
    file = replace(original, path=original.path / "config.json", stored="Q4_K_M")
    broken = replace(original, problem="Speaker-bf16 has no weights: get it again.")
    assert "is stored in 4 bit already" in refusal(packed)
    assert "is a GGUF file with weights in Q4_K_M" in refusal(file)
    assert refusal(broken) == broken.problem and refusal(replace(original, bits=16.0)) == ""
    with pytest.raises(QuietlyError, match="already"):
        await quantise(packed, 4)
    (places.models / "Speaker-4bit").mkdir(parents=True)
    with pytest.raises(QuietlyError, match=r"Speaker-4bit is there already: delete it first"):
        await quantise(original, 4)
    blocked = original.path / "config.json" / "small"
    with pytest.raises(QuietlyError, match=r"cannot be written"):
        await quantise(original, 4, target=blocked)
    assert in_folder(places.models) == {"Speaker-4bit"}


@pytest.mark.parametrize(
    ("named", "repo", "group_size", "place"),
    [
        ("Tiny", None, 64, "Tiny-4bit"),
        ("Tiny-FP16", None, 32, "Tiny-4bit-g32"),
        ("0a1b2c3d", "someone/Tiny_bf16", 64, "Tiny-4bit"),
        (".hidden", None, 64, "hidden-4bit"),
        ("some--one", None, 64, "some-one-4bit"),
        ("...", None, 64, "model-4bit"),
    ],
)
def test_the_new_model_is_called_after_the_original(
    original: InstalledModel, places: Paths, named: str, repo: str | None, group_size: int, place: str
) -> None:
    model = replace(original, path=Path("/models") / named, repo=repo)
    assert place_for(model, 4, group_size) == places.models / place


def test_its_size_is_foretold_nearly(original: InstalledModel) -> None:
    assert size_about(replace(original, parameters=1_000_000), 4) == 562_500
    assert size_about(replace(original, parameters=1_000_000), 8, 32) == 1_125_000
    assert size_about(replace(original, parameters=None), 4) is None


# --- the comparison ---


def test_logits_are_compared_place_by_place() -> None:
    exact = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], np.float32))
    other = np.log(np.array([[0.5, 0.25, 0.25], [0.5, 0.3, 0.2]], np.float32))
    apart = sum(p * np.log(p / q) for p, q in ((0.1, 0.5), (0.2, 0.3), (0.7, 0.2)))
    found = comparing.alike(mx.array(exact + 3), mx.array(other - 5))
    assert (found.places, found.same) == (2, 0.5) and found.divergence == pytest.approx(apart / 2, rel=1e-5)
    assert comparing.alike(mx.array(exact), mx.array(exact)) == Compared(2, 1.0, pytest.approx(0, abs=1e-6))
    never = mx.array([[0.0, -float("inf")]])
    assert comparing.alike(never, never) == Compared(1, 1.0, 0.0)


def test_many_places_are_compared_in_parts_with_the_same_result() -> None:
    random = np.random.RandomState(0)
    exact, other = (mx.array(random.standard_normal((100, 7)).astype(np.float32)) for _ in range(2))
    whole = comparing.alike(exact, other)
    parts = [comparing.alike(exact[start : start + 10], other[start : start + 10]) for start in range(0, 100, 10)]
    assert whole.same == pytest.approx(np.mean([part.same for part in parts]))
    assert whole.divergence == pytest.approx(np.mean([part.divergence for part in parts]), rel=1e-5)


def test_what_memory_has_no_room_for_is_not_compared(original: InstalledModel, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = replace(comparing.this_machine(), available=1024**2)
    monkeypatch.setattr(comparing, "this_machine", lambda: machine)
    found = comparing.compare(original.path, original.path, "Speaker", lambda done, total: None)
    assert isinstance(found, Uncompared) and "1.0 MiB are free: not compared" in found.why


# --- in the shell ---


def quantised_by_shell(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "app", "models", "quantise", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_shell_shows_what_it_cost(original: InstalledModel, tmp_path: Path) -> None:
    done = quantised_by_shell(original.path, "--bits", 8, "--to", tmp_path / "small")
    assert (done.returncode, done.stderr) == (0, "")
    place, *rows = done.stdout.splitlines()
    assert place == str(tmp_path / "small")
    assert [row[:12].strip() for row in rows] == ["Weights", "Error", "At most", "Next token", "Divergence"]
    again = quantised_by_shell(original.path, "--to", tmp_path / "small", "--json")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == f"{tmp_path / 'small'} is there already: delete it first, or choose another folder.\n"


def test_programs_get_the_figures_as_data(places: Paths) -> None:
    packed = Packed(1000, 250, 0.09, "model.embed_tokens", 0.1)
    made = Quantised(places.models / "small", 4, 64, packed, Compared(200, 0.9, 0.03))
    assert json.loads(json.dumps(as_data(made))) == {
        "path": str(places.models / "small"),
        "bits": 4,
        "group_size": 64,
        "before": 1000,
        "after": 250,
        "error": 0.09,
        "worst": "model.embed_tokens",
        "worst_error": 0.1,
        "compared": {"places": 200, "same": 0.9, "divergence": 0.03},
        "not_compared": None,
    }


@pytest.mark.soak
@pytest.mark.parametrize("end", ["Ctrl+C", "closing the terminal"])
def test_what_ends_it_in_the_shell_leaves_nothing(large: Path, places: Paths, end: str) -> None:
    command = [sys.executable, "-P", "-m", "app", "models", "quantise", str(large), "--bits", "8"]
    terminal = Terminal(command, Path(__file__).parents[2])
    try:
        terminal.until("Quantising", "MiB")
        assert [name for name in in_folder(places.models) if name.endswith(".quantising")]
        if end == "Ctrl+C":
            terminal.type("\x03")
        else:
            os.kill(terminal.pid, signal.SIGHUP)
        assert terminal.ends() != 0
    finally:
        terminal.close()
    deadline = time.monotonic() + 10
    while in_folder(places.models):
        assert time.monotonic() < deadline, in_folder(places.models)
