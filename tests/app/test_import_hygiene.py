"""What a process may have loaded by when: the window is on screen before anything slow, and only a worker loads MLX."""

import subprocess
import sys

import pytest

SLOW = {
    "typer": "the command line's, a tenth of a second",
    "huggingface_hub": "needed to download only",
    "jinja2": "templates are rendered in the engine",
    "pypdf": "PDF files are read in a process of their own",
    "tokenizers": "tokens are counted in the engine",
    "tomlkit": "settings are written only where someone changes them",
    "gguf": "a GGUF file is converted in the engine",
    "numpy": "nothing the window does needs it",
    "mlx": "no process but a worker loads it",
    "mlx_lm": "no process but a worker loads it",
    "transformers": "mlx-lm's, and a second to import",
    "app.engine.client": "engines start after the first frame",
    "app.library.local": "models are looked for after the first frame",
    "app.tui.desks": "nothing is asked for before the first frame",
    "app.tui.widgets.filter_line": "hidden until it is asked for",
    "app.tui.widgets.saying": "nothing to say on the first frame",
}


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["app.tui.app", "app.__main__"])
def test_nothing_slow_is_loaded_before_the_window_stands(module):
    assert not SLOW.keys() & loaded_by(f"import {module}")


@pytest.mark.parametrize(
    "module",
    [
        "app.cli",
        "app.cli.bench",
        "app.cli.scaling",
        "app.benching.llama_cpp",
        "app.benching.rounds",
        "app.benching.telling",
        "app.benching.tuning",
        "app.reporting",
        "app.diversity.telling",
        "app.doctor",
        "app.inspecting.apart",
        "app.inspecting.figures",
        "app.inspecting.reading",
        "app.engine.pool",
        "app.library.download",
        "app.library.catalogue",
        "app.tui.library",
        "app.plain.program",
    ],
)
def test_no_process_but_a_worker_loads_mlx(module):
    assert not {"mlx", "mlx.core", "mlx_lm"} & loaded_by(f"import {module}")


@pytest.mark.parametrize("module", ["app.cli", "app.plain.program"])
def test_the_commands_and_plain_mode_load_no_window(module):
    loaded = loaded_by(f"import {module}")
    assert "textual" not in loaded and not any(name.startswith("app.tui") for name in loaded)


def test_naming_the_library_loads_no_mlx_and_using_it_does():
    assert "mlx.core" not in loaded_by("import model, model.config, model.facts, model.tokenizer, model.template")
    assert "mlx.core" in loaded_by("import model\nmodel.load")


def test_our_own_architectures_never_need_mlx_lm():
    assert "mlx_lm" not in loaded_by("import model\nmodel.load\nimport model.checkpoint")
