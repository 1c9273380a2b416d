"""What the worker's process asks of the system.

macOS is imitated here: unproven there.
"""

import re
import subprocess
import sys

import pytest

from app.engine import limits
from model.allocation import CAPACITY_STEP
from model.config import UNBOUNDED

GIB = 1024**3


def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


@pytest.mark.soak
def test_the_blas_that_the_installer_brought_answers_and_says_what_it_is(starter, conversions):
    done = run_python(
        "import app.engine.blas as blas\n"
        "blas._SYSTEM_NAMES = ()\n"
        "print(blas.load_fast_blas())\n"
        "import model\n"
        "from pathlib import Path\n"
        "from model.tokenizer import Turn\n"
        f"loaded = model.load({str(starter)!r}, conversions=Path({str(conversions)!r}))\n"
        "prompt = loaded.prompt([Turn('user', 'What is the capital of France?')])\n"
        "generation = loaded.generation(loaded.session(), prompt, loaded.sampling({}), max_tokens=2)\n"
        "print(len(list(generation)))\n"
        "print(next(line for line in open('/proc/self/maps') if str(blas.BROUGHT) in line) and 'mapped')\n"
    )
    which, tokens, mapped = done.stdout.splitlines()
    assert re.fullmatch(r"OpenBLAS \d[\d.]+ \(\w+ kernels\) of scipy-openblas32", which)
    assert (tokens, mapped) == ("2", "mapped")


@pytest.mark.parametrize("content", [None, "no library"])
def test_a_blas_that_is_missing_or_damaged_is_passed_over(tmp_path, content):
    library = tmp_path / "libopenblas.so"
    if content is not None:
        library.write_text(content)
    done = run_python(
        "import app.engine.blas as blas\n"
        "from pathlib import Path\n"
        f"blas.BROUGHT, blas._SYSTEM_NAMES = Path({str(library)!r}), ('libm.so.6', 'missing.so')\n"
        "print(blas.load_fast_blas())\n"
    )
    assert done.stdout == "None\n"


class Mlx:
    """Remembers the limits it was given."""

    def __init__(self, working_set: int | None) -> None:
        self._info = {} if working_set is None else {"max_recommended_working_set_size": working_set}
        self.wired = self.cache = None

    def device_info(self):
        return self._info

    def set_wired_limit(self, limit):
        self.wired = limit

    def set_cache_limit(self, limit):
        self.cache = limit


@pytest.mark.parametrize(("weights", "wired"), [(1 * GIB, 1 * GIB + GIB // 4 + GIB // 2), (40 * GIB, 12 * GIB)])
def test_wired_memory_is_what_the_model_needs_and_never_more_than_recommended(weights, wired):
    mlx = Mlx(12 * GIB)
    limits.set_limits(mlx, weights=weights, kv=GIB // 4)
    assert mlx.wired == wired
    assert mlx.cache == 12 * GIB // 20


@pytest.mark.parametrize(("context", "tokens"), [(1000, 1000), (32_768, 8192)])
def test_memory_is_wired_for_a_conversation_of_usual_length_and_a_state_is_no_larger_after_it(context, tokens):
    kept = 10 * CAPACITY_STEP
    assert limits.usually_kept(kept, 3, context) == 10 * tokens
    assert limits.usually_kept(kept, 3, UNBOUNDED) == kept


def test_without_a_working_set_no_limit_is_set():
    mlx = Mlx(None)
    limits.set_limits(mlx, weights=GIB, kv=0)
    assert mlx.wired is None and mlx.cache is None


def test_linux_is_told_to_end_the_engine_before_the_window(tmp_path):
    score = tmp_path / "oom_score_adj"
    score.write_text("0\n")
    limits.go_first(score)
    assert 0 < int(score.read_text()) <= 1000
    limits.go_first(tmp_path / "nowhere" / "oom_score_adj")  # any other system


def test_only_macos_is_asked_for_a_thread_priority():
    asked = []

    class Library:
        def pthread_set_qos_class_self_np(self, quality, priority):
            asked.append((quality, priority))
            return 0

    assert limits.raise_thread_priority("darwin", Library())
    assert not limits.raise_thread_priority("linux", Library())
    assert asked == [(0x19, 0)]
