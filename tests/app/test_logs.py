"""What of a log may be shown to others: where and of what kind something was, whatever else stands in it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.logs import tail, without_paths

MARKER = "zqxjkvbz"
LOG = f"""\
2026-11-22 11:16:39,123 INFO BLAS: OpenBLAS of the system (libopenblas.so.0)
2026-11-22 11:16:40,123 INFO BLAS: OpenBLAS 0.3.34.481.3 (SkylakeX kernels) of scipy-openblas32
Fetching {MARKER}: 100%
the second line of {MARKER}
2026-11-22 11:16:41,001 ERROR request 7 failed with ValueError
  File "/Users/{MARKER}/quietly/app/engine/worker.py", line 320, in _report
    raise ValueError("{MARKER}")
  File "/opt/{MARKER}/lib/python3.12/site-packages/tokenizers/models.py", line 12, in <module>
  File "/home/{MARKER}.py", line 3, in main
model.errors.ModelError: no such word as {MARKER}
2026-11-22 11:16:42,001 WARNING {MARKER}
libc++abi: terminating due to uncaught exception of type std::runtime_error: [METAL] Command buffer execution failed: \
Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory) {MARKER}
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "engine.log"
    file.write_text(LOG)
    return file


def test_known_lines_are_shown_and_the_others_counted(log: Path) -> None:
    assert tail(log, 40) == [
        "2026-11-22 11:16:39 INFO BLAS: OpenBLAS of the system (libopenblas.so.0)",
        "2026-11-22 11:16:40 INFO BLAS: OpenBLAS 0.3.34.481.3 (SkylakeX kernels) of scipy-openblas32",
        "(2 lines left out)",
        "2026-11-22 11:16:41 ERROR request 7 failed with ValueError",
        "  app/engine/worker.py:320 in _report",
        "(1 line left out)",
        "  tokenizers/models.py:12 in <module>",
        "  (another file):3 in main",
        "model.errors.ModelError",
        "2026-11-22 11:16:42 WARNING (left out)",
        "libc++abi: terminating due to uncaught exception of type std::runtime_error:, [METAL], "
        "Command buffer execution failed: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
    ]
    assert tail(log, 2) == tail(log, 40)[-2:]


@given(st.lists(st.text(max_size=20), max_size=6), st.sampled_from(LOG.splitlines()), st.text(max_size=6))
def test_no_word_comes_through_whatever_stands_around_it(
    tmp_path_factory, before: list[str], line: str, end: str
) -> None:
    file = tmp_path_factory.mktemp("log") / "engine.log"
    around = [f"{words} {MARKER} {words}" for words in before]
    file.write_text("\n".join([*around, f"{line} {MARKER}{end}", *around]), errors="replace")
    assert MARKER not in "\n".join(tail(file, 100))


def test_where_there_is_no_log_nothing_is_shown(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log", 40) == tail(tmp_path, 40) == []


@pytest.mark.parametrize(
    "path", ["/Users/anna/Library/Application Support/Quietly/logs/a.log", "~/notes", "/tmp/x", "/Volumes/My Disk/y"]
)
def test_no_path_stays_in_a_sentence(path: str) -> None:
    assert without_paths(f"Its log is {path}.") == "Its log is (a path)"
    assert without_paths(f'cannot read "{path}": why') == 'cannot read "(a path)": why'


def test_a_fraction_is_no_path() -> None:
    assert without_paths("12 tok/s, 3/4 and / or 1 / 2") == "12 tok/s, 3/4 and / or 1 / 2"
