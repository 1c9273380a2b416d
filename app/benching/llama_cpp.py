"""llama.cpp as someone to be measured: its own llama-bench, on the same GGUF file, a process for each thing.

Found on the PATH, or where QUIETLY_LLAMA_BENCH says. Its clock leaves sampling out, and it counts as many steps as it
writes tokens. What it prints is another program's: read as data, never trusted.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import msgspec

from app.benching.messages import Decode, Prefill, Prepared, Sample, Thing, Turn, Unmeasured
from app.benching.runner import Progress
from app.chat.text import one_line
from app.ending import gone
from app.errors import QuietlyError
from app.home import expanded
from model.weights.conversions import is_pth

if TYPE_CHECKING:
    from app.library.local import InstalledModel

VARIABLE = "QUIETLY_LLAMA_BENCH"
"""Of the environment: where llama-bench lies, for who has it elsewhere than on the PATH."""
_PROGRAM = "llama-bench"
_MOST = 1 << 20
"""Bytes that it may print; it prints a thousand."""
_LAST_WORDS = 4096
"""Bytes of its complaints in which it says why it ended."""


class _Row(msgspec.Struct, frozen=True):
    """What llama-bench says of one test; what newer ones say beside it is not looked at."""

    samples_ns: Annotated[
        list[Annotated[int, msgspec.Meta(gt=0, lt=1 << 62)]], msgspec.Meta(min_length=1, max_length=1)
    ]
    """Nanoseconds, one for each repetition."""
    n_prompt: int
    n_gen: int
    n_depth: int = 0
    """Those of before 2025 have none, and refuse to be asked for one."""
    build_commit: str = ""
    build_number: int = 0
    cpu_info: str = ""
    gpu_info: str = ""
    backends: str = ""
    model_type: str = ""
    n_threads: int | None = None
    n_gpu_layers: int | None = None
    n_ubatch: int | None = None
    type_k: str = ""
    type_v: str = ""


class _Ended(msgspec.Struct, frozen=True):
    """How a process has ended, by `app.benching.guarded`: its exit status, and the most bytes that it held."""

    status: int
    memory: int


def llama_bench() -> Path:
    """Where llama-bench lies. QuietlyError where there is none, with the way to get it."""
    named = os.environ.get(VARIABLE, "")
    if named:
        found = shutil.which(expanded(named))
        if found is None:
            raise QuietlyError(f"{VARIABLE} names {one_line(named)}, which is no program: let it name llama-bench.")
    else:
        found = shutil.which(_PROGRAM)
    if found is None:
        raise QuietlyError(
            f"llama.cpp is not here, or not on the PATH: `brew install llama.cpp` brings it, or let {VARIABLE} name "
            "its llama-bench."
        )
    return Path(found).absolute()


class LlamaCpp:
    """llama.cpp with one GGUF file, as its llama-bench sets it up where nothing is asked of it."""

    name = "llama.cpp"

    def __init__(self, model: "InstalledModel") -> None:
        self._model = model
        self._bench: Path | None = None
        self._starting: asyncio.Task[Process] | None = None

    async def prepare(self, progress: Progress) -> Prepared:
        """Read the file once, and say how llama.cpp is set up. QuietlyError where it is missing or cannot read it."""
        model = self._model
        if model.path.is_dir() or is_pth(model.path):
            kind = "a .pth file" if is_pth(model.path) else "a folder of safetensors"
            raise QuietlyError(
                f"llama.cpp reads GGUF files, and {one_line(model.name)} is {kind}: compare with another, or measure a "
                "GGUF model."
            )
        self._bench = await asyncio.to_thread(llama_bench)
        row, _ = await self._asked(prompt=1)
        known = (
            ("weights", row.model_type),
            ("back end", row.backends),
            ("threads", "" if row.n_threads is None else str(row.n_threads)),
            ("layers on the GPU", _layers(row)),
            ("keys and values", row.type_k if row.type_k == row.type_v else f"{row.type_k}, {row.type_v}"),
            ("chunk", "" if row.n_ubatch is None else f"{row.n_ubatch} tokens"),
            ("clock", "llama-bench's own, without sampling"),
        )
        build = f"b{row.build_number}" if row.build_number > 0 else "of an unknown build"
        commit = f" ({row.build_commit})" if row.build_commit not in ("", "unknown") else ""
        return Prepared(
            version=one_line(f"llama.cpp {build}{commit}"),
            device=one_line(row.gpu_info or row.cpu_info or "unknown"),
            configuration=tuple((name, one_line(value)) for name, value in known if value),
            context=model.context or sys.maxsize,
        )

    async def measure(self, thing: Thing) -> Sample | Unmeasured:
        """Measure one thing in a process of its own, after a warm-up that does not count."""
        match thing:
            case Prefill():
                row, memory = await self._asked(prompt=thing.tokens)
            case Turn():
                row, memory = await self._asked(prompt=thing.new, depth=thing.held)
            case Decode():
                row, memory = await self._asked(generate=thing.tokens, depth=thing.depth)
            case _:
                return Unmeasured("llama-bench has no such test")
        return Sample(seconds=row.samples_ns[0] / 1e9, memory=memory)

    async def close(self) -> None:
        """End what runs, and wait until it has."""
        if self._starting is None:
            return
        with contextlib.suppress(OSError):  # it never began
            process = await asyncio.shield(self._starting)
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):  # as macOS says of what has just ended
                    os.killpg(process.pid, signal.SIGKILL)
            await gone(process)

    # --- llama-bench ---

    async def _asked(self, prompt: int = 0, generate: int = 0, depth: int = 0) -> tuple[_Row, int]:
        """What it says of one test, and the most bytes that it held. QuietlyError where that cannot be had."""
        assert self._bench is not None, "prepare comes first"
        counts = ["-p", str(prompt), "-n", str(generate), *(["-d", str(depth)] if depth else [])]
        command = [str(self._bench), "-m", str(self._model.path), *counts, "-r", "1", "-o", "jsonl"]
        with tempfile.TemporaryFile() as errors:
            printed, _, last = (await self._run(command, errors)).rstrip().rpartition(b"\n")
            try:
                ended = msgspec.json.decode(last, type=_Ended)
            except ValueError:  # it printed more than any llama-bench, or was ended by somebody
                ended = _Ended(1, 0)
            if ended.status != 0:
                raise QuietlyError(_complaint(ended.status, errors))
        row = _read(printed)
        if (row.n_prompt, row.n_gen, row.n_depth) != (prompt, generate, depth):
            raise QuietlyError("llama-bench measured something else than it was asked for: use another version of it.")
        return row, ended.memory

    async def _run(self, command: Sequence[str], errors: IO[bytes]) -> bytes:
        """What a command prints, and how it ended. Who cancels this ends it."""
        self._starting = asyncio.create_task(
            asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "app.benching.guarded", *command),
                stdin=asyncio.subprocess.PIPE,  # its end tells the process that nobody waits any more
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # a group of its own, to be ended as one; Ctrl+C is ours to answer
            )
        )
        printed = b""
        try:
            try:
                # Cancelled within, asyncio would end this one process and leave those that it has started.
                process = await asyncio.shield(self._starting)
            except OSError as error:
                raise QuietlyError(
                    f"llama-bench could not be started ({error.strerror}): close other programs and try again."
                ) from error
            assert process.stdout is not None
            while len(printed) <= _MOST and (more := await process.stdout.read(_MOST)):
                printed += more
            return printed
        finally:
            await self.close()


def _read(printed: bytes) -> _Row:
    """The one row that it printed. QuietlyError where that is something else."""
    lines = [line for line in printed.splitlines() if line.lstrip().startswith(b"{")]
    try:
        (line,) = lines
        return msgspec.json.decode(line, type=_Row)
    except (ValueError, RecursionError):
        raise QuietlyError(
            "What llama-bench printed is not what is known of it: use another version of llama.cpp."
        ) from None


def _layers(row: _Row) -> str:
    """How many of the model's layers it wants on the GPU; nothing where it has none."""
    if row.n_gpu_layers is None or not row.gpu_info:
        return ""
    return "all" if row.n_gpu_layers < 0 or row.n_gpu_layers >= 99 else str(row.n_gpu_layers)


def _complaint(status: int, errors: IO[bytes]) -> str:
    """The sentence for a process that failed, with the last words of what it complained of."""
    how = f"by signal {-status}" if status < 0 else f"with code {status}"
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - _LAST_WORDS))
    said = [line for line in errors.read().decode(errors="replace").splitlines() if line.strip()]
    last = f", saying: {one_line(said[-1], 200)}" if said else ""
    return f"llama-bench ended {how}{last.rstrip('.')}; try it by hand, or another version of llama.cpp."
