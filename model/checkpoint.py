"""From files to a model in memory: `load`.

Every file is checked before MLX reads it, and nothing that a checkpoint brings is run.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from model.choices import Choices, choices_for
from model.config import (
    Quantization,
    TransformerConfig,
    parse_config,
    parse_model_type,
    parse_quantization,
    read_object,
    with_window,
)
from model.errors import ModelError
from model.language_model import LanguageModel, Traits
from model.registry import OURS, mlx_lm_network
from model.sampling import Sampling
from model.tokenizer import Tokenizer
from model.tokenizer_files import LIBRARY, SENTENCEPIECE, WORLD, has_tokenizer, is_world
from model.weights.blinkdl import read_fields
from model.weights.conversions import converted, is_pth
from model.weights.counting import has_head, weight_count
from model.weights.gguf_header import is_gguf
from model.weights.place import Files, Placement
from model.weights.precision import NumberType, bring_in, this_device
from model.weights.safetensors import shards

Stage = Literal["convert", "load"]
LoadProgress = Callable[[Stage, int, int], None]
"""Called with the stage, what is done and what there is to do: tensors for "convert", bytes for "load"."""

WORLD_SAMPLING = Sampling(temperature=1.0, top_p=0.85, presence_penalty=0.2, frequency_penalty=0.2, penalty_decay=0.996)
"""`PIPELINE_ARGS` of the package rwkv."""

_SAMPLES, _SAMPLE = 16, 64 * 1024


def load(
    path: str | Path,
    *,
    dtype: NumberType | None = None,
    window: int | None = None,
    window_layers: int | None = None,
    conversions: Path | None = None,
    choices: Choices | None = None,
    progress: LoadProgress = lambda stage, done, total: None,
) -> LanguageModel:
    """Open a checkpoint: a folder with config.json and safetensors, or a GGUF file, whatever its name.

    A GGUF file, or an RWKV's .pth file, is converted once into `conversions` (by default the user's cache folder) and
    opened from there. Ours is the architecture where we have it, else mlx-lm's. ModelError names the file and the way
    out, a NaN in the weights included.

    For experts: `dtype` is the type to compute in; by default it is what suits checkpoint and device, and float16 is
    refused where the model does not hold in it. `window` puts a sliding window of so many tokens on the top
    `window_layers` layers (all of them, by default) of a checkpoint that was trained without: off the distribution it
    knows, and labelled so in `Traits.notes`. `choices` are ways to compute that were measured on this machine; by
    default those that the rule knows for it.
    """
    source = Path(path).expanduser()
    folder = source
    if not source.is_dir() and (source.suffix.lower() == ".gguf" or is_pth(source) or is_gguf(source)):
        folder = _converted(
            source,
            conversions or _default_conversions(),
            lambda done, total: progress("convert", done, total),
        )
    elif not source.is_dir():
        raise ModelError(f"{source} is not a model folder; give one that holds config.json and weights.")
    name = source.stem if source.suffix.lower() in (".gguf", ".pth") else source.absolute().name
    fields = read_fields(folder)
    kind = parse_model_type(fields, name)
    files = shards(folder)
    tokenizer = Tokenizer.from_folder(folder, fields) if has_tokenizer(folder) else None

    def loaded(done: int, total: int) -> None:
        progress("load", done, total)

    if kind in OURS:
        opened = _open_ours(fields, name, files, dtype, window, window_layers, loaded)
    elif window is not None:
        raise ModelError(f"{name} runs in mlx-lm's implementation, where no window can be put on it.", "request")
    else:
        opened = _open_theirs(folder, fields, kind, name, dtype, loaded)
    opened.network.eval()
    parameters = weight_count(files, opened.quantization)
    device = this_device()
    choices = choices or choices_for(device.gpu, device.architecture, parameters, opened.recurrent)
    opened.network.arrange(choices)
    traits = Traits(
        name=name,
        path=source,
        architecture=kind,
        implementation=opened.implementation,
        fingerprint=_fingerprint(folder, files, opened.settings),
        notes=opened.notes,
        parameters=parameters,
        bits=opened.quantization.default.bits if opened.quantization else None,
        vocabulary=_vocabulary(name, opened.rows, tokenizer),
        context=opened.context,
        trained=opened.trained,
        choices=choices,
        defaults=_generation_defaults(folder, name, is_world(folder, fields)),
        stops=tokenizer.stops if tokenizer else (),
    )
    return LanguageModel(opened.network, traits, tokenizer)


@dataclass(frozen=True)
class _Opened:
    """A network with its weights, and what only its implementation's reading of config.json tells."""

    network: Any
    implementation: str
    rows: int
    """Of the vocabulary."""
    context: int
    trained: int
    """Tokens that it can hold, and those of the texts it was trained on."""
    quantization: Quantization | None
    recurrent: bool = False
    """Whether it has no attention."""
    settings: str = ""
    """What was chosen here and changes the results, for the fingerprint."""
    notes: tuple[str, ...] = ()


def _converted(source: Path, conversions: Path, progress: Callable[[int, int], None]) -> Path:
    """The checkpoint folder of a GGUF or .pth file. What converts is imported only where something is converted: the
    one brings numpy, and takes as long to import as MLX and all of ours."""
    if (folder := converted(source, conversions)) is not None:
        return folder
    if is_pth(source):
        from model.weights.pth_conversion import convert as convert_pth

        return convert_pth(source, conversions, progress)
    from model.weights.gguf import convert

    return convert(source, conversions, progress)


def _default_conversions() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("Quietly", appauthor=False) / "converted"


def _open_ours(
    fields: Mapping[str, object],
    name: str,
    files: Files,
    dtype: NumberType | None,
    window: int | None,
    window_layers: int | None,
    progress: Callable[[int, int], None],
) -> _Opened:
    config = parse_config(fields, name)
    notes: tuple[str, ...] = ()
    settings = ""
    if window is not None:
        if not isinstance(config, TransformerConfig):
            raise ModelError(f"{name} has no attention, so no window can be put on it.", "request")
        layers = config.num_hidden_layers if window_layers is None else window_layers
        config = with_window(config, window, layers)
        notes = (f"A window of {window:,} tokens was put on {layers} layers; it was not trained with one.",)
        settings = f"window {window} {layers}"
    tied = bool(config.tie_word_embeddings) or not has_head(files)
    network = OURS[config.model_type](replace(config, tie_word_embeddings=tied))
    Placement(network, config, files, name, tied, dtype).fill(progress)
    return _Opened(
        network,
        "quietly",
        rows=config.vocab_size,
        context=config.context,
        trained=config.trained,
        quantization=config.quantization,
        recurrent=config.recurrent,
        settings=settings,
        notes=notes,
    )


def _open_theirs(
    folder: Path,
    fields: Mapping[str, object],
    kind: str,
    name: str,
    dtype: NumberType | None,
    progress: Callable[[int, int], None],
) -> _Opened:
    text = fields.get("text_config")
    language = text if isinstance(text, dict) else fields  # multimodal checkpoints nest what concerns us
    network = mlx_lm_network(folder, kind)
    network.eval()
    bring_in(network.module, network, name, kind, _whole_number(language, "vocab_size", 256), dtype, progress)
    context = _whole_number(language, "max_position_embeddings", 4096)
    return _Opened(
        network,
        "mlx-lm",
        rows=_whole_number(language, "vocab_size", 1 << 24),
        context=context,
        trained=context,
        quantization=_mlx_quantization(fields, name),
    )


def _vocabulary(name: str, rows: int, tokenizer: Tokenizer | None) -> int:
    """Ids that are tokens. ModelError where the tokenizer knows ids that the model has no row for."""
    if tokenizer is None:
        return rows
    if tokenizer.size > rows:
        raise ModelError(
            f"{name}: its vocabulary has {tokenizer.size:,} tokens and the model rows for {rows:,}; the two do not "
            "belong together, download the model again."
        )
    return tokenizer.size


def _whole_number(fields: Mapping[str, object], key: str, default: int) -> int:
    """A count of a configuration whose other fields only mlx-lm knows; `default` where it names none."""
    value = fields.get(key)
    return value if isinstance(value, int) and value > 0 else default


def _mlx_quantization(fields: Mapping[str, object], name: str) -> Quantization | None:
    """MLX's own quantisation; mlx-lm also opens other methods' checkpoints, of which we then say nothing."""
    try:
        return parse_quantization(fields, name)
    except ModelError:
        return None


def _generation_defaults(folder: Path, name: str, world: bool) -> Sampling:
    """The checkpoint's generation_config.json as transformers reads it: a file that asks for no sampling gets none.

    World models come without such a choice, and are drawn from as their author's library does by default.
    """
    path = folder / "generation_config.json"
    fields = read_object(path, name) if path.exists() else {}
    known: dict[str, Any] = {
        key: value
        for key in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
        if isinstance(value := fields.get(key), int | float) and not isinstance(value, bool)
    }
    if world and not known and "do_sample" not in fields:
        return WORLD_SAMPLING
    if not fields.get("do_sample", "temperature" in known):
        known["temperature"] = 0
    if "top_k" in known:
        known["top_k"] = int(known["top_k"])
    try:
        return Sampling(**known)
    except ModelError as error:
        raise ModelError(f"{name}: generation_config.json: {error}") from None


def _fingerprint(folder: Path, files: Files, settings: str) -> str:
    """A short name for exactly these weights, configuration, tokenizer and settings that change what they compute.

    Weights are known by their header and by samples, not by every byte: opening a model should not read it twice.
    """
    digest = hashlib.sha256(settings.encode())
    for small in ("config.json", LIBRARY, WORLD, SENTENCEPIECE):
        if (folder / small).exists():
            digest.update((folder / small).read_bytes())
    for path in sorted(files):
        size = path.stat().st_size
        with path.open("rb") as file:
            for part in range(_SAMPLES):
                file.seek(size * part // _SAMPLES)
                digest.update(file.read(_SAMPLE))
        digest.update(size.to_bytes(8, "big"))
    return digest.hexdigest()[:16]
