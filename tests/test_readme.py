"""What the README says of the library, and of what fits, is what they do."""

import doctest
import re
from pathlib import Path

import pytest

from app.library.catalogue import catalogue
from app.library.fit import fit
from app.library.machine import GIB, Machine

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.soak
def test_the_library_section_runs(starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / starter.name).symlink_to(starter)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    # The closing fence of a block would be read as output; an empty line ends that.
    results = doctest.testfile(str(README), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert results.attempted > 15
    assert results.failed == 0


def test_the_fit_table_is_what_is_foretold() -> None:
    cells = (r"([\w. ]+)", *[r"([\d.]+)"] * 4, r"(\d+)", r"([\d,]+)")
    row = r"^\| " + r" \| ".join(cells) + r" \|$"
    rows = re.findall(row, README.read_text(), re.MULTILINE)
    assert len(rows) > 5
    offers = {offer.name: offer for offer in catalogue()}
    for name, *shown, memory, longest in rows:
        mac = Machine("Mac", int(memory) * GIB, int(memory) * GIB, "macOS", "Metal")
        judged = fit(offers[name].weights, offers[name].config, mac)
        need = judged.need
        assert shown == [f"{size / GIB:.1f}" for size in (need.weights, need.kv, need.workspace, need.total)]
        assert judged.verdict == "fits" and longest == f"{judged.roomy:,}"
