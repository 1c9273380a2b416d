"""RWKV's .pth files, as BlinkDL publishes them, converted once into a checkpoint folder that opens like any other.

Numbers and names stay as they are; config.json is written from the shapes, and the vocabulary comes from beside the
file. It knows no MLX.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from model.config import parse_config
from model.errors import ModelError
from model.weights.blinkdl import fields_of, vocabulary_beside, vocabulary_name
from model.weights.conversions import (
    PTH_FILES,
    alone,
    check_room,
    folder_name,
    identity,
    is_whole,
    remove_stale,
    taking_place,
)
from model.weights.pth import Archive, PthTensor, opened, pieces, tensors_of
from model.weights.writing import new_file, safetensors_header


def convert(path: Path, conversions: Path, progress: Callable[[int, int], None]) -> Path:
    """The checkpoint folder of a .pth file: the one made before, or a new one below `conversions`.

    `progress(done, total)` counts bytes. ModelError, one sentence, for what is no RWKV-4 or RWKV-7 of BlinkDL's, and
    where the vocabulary does not lie beside it.
    """
    try:
        state = identity(path)
        folder = conversions / folder_name(path, state, None)
        if is_whole(folder, PTH_FILES):
            return folder
        with opened(path) as archive:
            tensors = tensors_of(path, archive)
            fields = fields_of(tensors, path.stem)
            vocabulary = vocabulary_beside(path, parse_config(fields, path.stem).vocab_size)
            with alone(conversions):
                if is_whole(folder, PTH_FILES):
                    return folder
                size = sum(tensor.nbytes for tensor in tensors.values()) + vocabulary.stat().st_size
                check_room(path, conversions, size)
                with taking_place(folder, path, state) as unfinished:
                    with new_file(unfinished / "model.safetensors", 0o600) as file:
                        _write(path, archive, tensors, file, progress)
                    with new_file(unfinished / "config.json", 0o600) as file:
                        file.write(json.dumps(fields, indent=1).encode())
                    target = unfinished / vocabulary_name(vocabulary)
                    with new_file(target, 0o600) as file, vocabulary.open("rb") as original:
                        shutil.copyfileobj(original, file)
                remove_stale(folder)
    except OSError as error:
        raise ModelError(f"{path} cannot be converted into {conversions}: {error.strerror or error}") from None
    return folder


def _write(
    path: Path,
    archive: Archive,
    tensors: Mapping[str, PthTensor],
    file: BinaryIO,
    progress: Callable[[int, int], None],
) -> None:
    entries = ((name, tensor.dtype, tensor.shape, tensor.nbytes) for name, tensor in tensors.items())
    file.write(safetensors_header(entries))
    done, total = 0, sum(tensor.nbytes for tensor in tensors.values())
    progress(done, total)
    for tensor in tensors.values():
        for piece in pieces(path, archive, tensor):
            file.write(piece)
            done += len(piece)
            progress(done, total)
