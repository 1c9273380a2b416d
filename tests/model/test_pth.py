"""A .pth file is read and never run: an RWKV opens from one, and whatever asks for more is refused in one sentence."""

import json
import math
import pickle
import re
import struct
import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import model
from model import ModelError
from model.config import Rwkv4Config, Rwkv7Config, parse_config
from model.tokenizer_files import WORLD
from model.weights.blinkdl import fields_of, read_fields
from model.weights.pth import LONGEST, PthTensor, opened, pieces, read
from tests.checkpoints import GOLDEN, golden_weights
from tests.model.pth_files import (
    by_blinkdl,
    named,
    number,
    numbers,
    program,
    publish,
    tensor,
    text,
    write_archive,
    write_pth,
)
from tests.model.test_rwkv7 import blinkdl

LITTLE = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("published") / "RWKV-4-Pile-0M-ctx256.pth")


def test_an_rwkv_4_opens_from_its_author_s_file(published: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    opened = model.load(published, conversions=tmp_path, progress=lambda *step: seen.append(step))
    expected = mx.load(str(GOLDEN / "rwkv4" / "expected.safetensors"))
    assert isinstance(expected, dict)
    logits = np.array(opened.logits(expected["input_ids"]))
    assert np.abs(logits - np.array(expected["logits"])).max() < 2e-4
    assert (opened.traits.name, opened.traits.trained) == ("RWKV-4-Pile-0M-ctx256", 256)
    assert opened.tokenizer.decode(opened.tokenizer.encode("Hello")) == "Hello"
    converting = [done for stage, done, _ in seen if stage == "convert"]
    (total,) = {total for stage, _, total in seen if stage == "convert"}
    assert converting == sorted(converting) and (converting[0], converting[-1]) == (0, total)


def test_an_rwkv_7_does_too(tmp_path: Path) -> None:
    weights = {blinkdl(name): array for name, array in golden_weights("rwkv7").items()}
    for name in [name for name in weights if re.search(r"att\.[wavg][12]$", name)]:
        weights[name] = weights[name].T
    opened = model.load(publish(tmp_path / "RWKV-x070-0M-ctx256.pth", weights), conversions=tmp_path / "conversions")
    expected = mx.load(str(GOLDEN / "rwkv7" / "expected.safetensors"))
    assert isinstance(expected, dict)
    assert mx.abs(opened.logits(expected["input_ids"]) - expected["logits"]).max().item() < 2e-4
    assert (opened.traits.architecture, opened.traits.trained) == ("rwkv7", 256)


def test_it_is_converted_once(published: Path, tmp_path: Path) -> None:
    model.load(published, conversions=tmp_path)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    written = (folder / "model.safetensors").stat()
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "tokenizer.json"}
    model.load(published, conversions=tmp_path)
    assert (folder / "model.safetensors").stat() == written


def test_numbers_come_as_they_are_stored(tmp_path: Path) -> None:
    weights = {"a": LITTLE.astype(np.float16), "b": np.array([0x3F80, 0xC000], np.uint16), "c": LITTLE}
    tensors = read(write_pth(tmp_path / "x.pth", weights))
    assert {name: (found.dtype, found.shape, found.nbytes) for name, found in tensors.items()} == {
        "a": ("F16", (2, 3), 12),
        "b": ("BF16", (2,), 4),
        "c": ("F32", (2, 3), 24),
    }


@pytest.mark.parametrize(("kind", "told"), [("i8", "I64"), ("i4", "I32"), ("i2", "I16"), ("i1", "I8"), ("u1", "U8")])
def test_whole_numbers_are_read_as_what_they_are(tmp_path: Path, kind: str, told: str) -> None:
    positions = np.array([3, 1, 2], kind)
    path = write_pth(tmp_path / "x.pth", {"w": LITTLE, "step": np.array(7, kind), "positions": positions})
    tensors = read(path)
    width = positions.itemsize
    assert {name: (found.dtype, found.shape, found.nbytes) for name, found in tensors.items()} == {
        "w": ("F32", (2, 3), 24),
        "step": (told, (), width),
        "positions": (told, (3,), 3 * width),
    }
    with opened(path) as archive:
        assert b"".join(pieces(path, archive, tensors["positions"])) == positions.tobytes()


def test_whole_numbers_of_a_name_that_is_ignored_are_no_obstacle(tmp_path: Path) -> None:
    weights: dict[str, np.ndarray] = {blinkdl(name): array for name, array in golden_weights("rwkv7").items()}
    for name in [name for name in weights if re.search(r"att\.[wavg][12]$", name)]:
        weights[name] = weights[name].T
    weights["blocks.0.att.v0"] = np.arange(5)
    weights["blocks.0.rotary_emb.inv_freq"] = np.array(1)
    loaded = model.load(publish(tmp_path / "RWKV-x070-0M-ctx256.pth", weights), conversions=tmp_path / "conversions")
    expected = mx.load(str(GOLDEN / "rwkv7" / "expected.safetensors"))
    assert isinstance(expected, dict)
    assert mx.abs(loaded.logits(expected["input_ids"]) - expected["logits"]).max().item() < 2e-4


def test_whole_numbers_of_a_name_nobody_knows_are_refused_as_in_any_checkpoint(tmp_path: Path) -> None:
    weights = {by_blinkdl(name): array for name, array in golden_weights("rwkv4").items()} | {"step": np.array([7])}
    with pytest.raises(ModelError, match="the weights hold step, which a rwkv model"):
        model.load(publish(tmp_path / "RWKV-4-0M.pth", weights), conversions=tmp_path / "conversions")
    mx.save_safetensors(str(tmp_path / "model.safetensors"), {name: mx.array(array) for name, array in weights.items()})
    with pytest.raises(ModelError, match="the weights hold step, which a rwkv model"):
        model.load(tmp_path)


@pytest.mark.parametrize(
    ("tensor", "ours"), [("emb.weight", "embeddings.weight"), ("blocks.0.att.time_decay", "attention.time_decay")]
)
def test_a_weight_of_whole_numbers_is_refused_by_its_name(tmp_path: Path, tensor: str, ours: str) -> None:
    weights = {by_blinkdl(name): array for name, array in golden_weights("rwkv4").items()}
    weights[tensor] = weights[tensor].astype(np.int64)
    path = publish(tmp_path / "RWKV-4-0M.pth", weights)
    with pytest.raises(ModelError, match=f"{ours} is stored as I64"):
        model.load(path, conversions=tmp_path / "conversions")


def test_part_of_what_is_stored_may_be_a_tensor_and_a_parameter_is_one(tmp_path: Path) -> None:
    part = tensor("0", LITTLE[1:], offset=3).replace(number(3) + b"tQ", number(6) + b"tQ")
    parameter = (
        named("torch._utils", "_rebuild_parameter")
        + b"("
        + part
        + b"\x88"
        + named("collections", "OrderedDict")
        + b")RtR"
    )
    table = named("collections", "OrderedDict") + b")R"
    pickled = b"\x80\x02" + table + b"(" + text("w") + parameter + b"u}" + text("_metadata") + table + b"sb."
    found = read(write_archive(tmp_path / "x.pth", pickled, {"0": LITTLE.tobytes()}))["w"]
    assert (found.shape, found.start, found.nbytes) == ((1, 3), 12, 12)


def test_a_vocabulary_that_is_put_right_later_is_taken(tmp_path: Path) -> None:
    path = publish(tmp_path / "RWKV-4-Pile-0M-ctx256.pth")
    vocabulary = path.with_name("20B_tokenizer.json")
    right = vocabulary.read_text()
    vocabulary.write_text("<html>404</html>")
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        model.load(path, conversions=tmp_path / "conversions")
    vocabulary.write_text(right)
    assert model.load(path, conversions=tmp_path / "conversions").tokenizer.encode("Hello")
    assert sum(entry.is_dir() for entry in (tmp_path / "conversions").iterdir()) == 1


def test_another_file_that_takes_its_place_meanwhile_is_not_mistaken_for_it(tmp_path: Path) -> None:
    path = publish(tmp_path / "RWKV-4-Pile-0M-ctx256.pth")
    other = write_pth(tmp_path / "other.pth", {"w": LITTLE})

    def replaced(stage: str, done: int, total: int) -> None:
        if stage == "convert" and done > total // 2 and other.exists():
            other.replace(path)

    with pytest.raises(ModelError, match="changed while it was read"):
        model.load(path, conversions=tmp_path / "conversions", progress=replaced)
    assert [entry.name for entry in (tmp_path / "conversions").iterdir()] == [".lock"]


def stored(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, PthTensor]:
    return {name: PthTensor("F16", shape, "", 0, 2 * math.prod(shape)) for name, shape in shapes.items()}


SHAPES_OF_7 = {
    "emb.weight": (65536, 128),
    "blocks.0.att.r_k": (2, 64),
    "blocks.0.att.w1": (128, 32),
    "blocks.0.att.a1": (128, 24),
    "blocks.0.att.g1": (128, 48),
    "blocks.0.ffn.key.weight": (512, 128),
    "blocks.1.att.v1": (128, 16),
}


def test_what_it_is_is_told_by_names_and_shapes() -> None:
    seven = parse_config(fields_of(stored(SHAPES_OF_7), "RWKV-x070-World-0.0B-ctx4096"), "seven")
    assert isinstance(seven, Rwkv7Config)
    assert seven.dtype == "float16"
    assert (seven.num_hidden_layers, seven.num_heads, seven.head_dim, seven.trained) == (2, 2, 64, 4096)
    ranks = seven.decay_low_rank_dim, seven.a_low_rank_dim, seven.v_low_rank_dim, seven.gate_low_rank_dim
    assert ranks == (32, 24, 16, 48)
    shapes = {by_blinkdl(name): array.shape for name, array in golden_weights("rwkv4").items()}
    four = parse_config(fields_of(stored(shapes), "four"), "four")
    golden = parse_config(json.loads((GOLDEN / "rwkv4" / "config.json").read_text()), "golden")
    assert isinstance(four, Rwkv4Config) and isinstance(golden, Rwkv4Config)
    assert (four.hidden_size, four.attention_hidden_size, four.intermediate_size, four.num_hidden_layers) == (
        golden.hidden_size,
        golden.attention_hidden_size,
        golden.intermediate_size,
        golden.num_hidden_layers,
    )
    with pytest.raises(ModelError, match="another version than 4 and 7"):
        fields_of(stored({**shapes, "blocks.0.att.ln_x.weight": (64,)}), "RWKV-5")
    with pytest.raises(ModelError, match="holds no RWKV"):
        fields_of(stored({"tok_embeddings.weight": (8, 8)}), "consolidated.00")


def test_the_same_weights_as_safetensors_open_without_a_configuration_too(tmp_path: Path) -> None:
    weights = {by_blinkdl(name): mx.array(array) for name, array in golden_weights("rwkv4").items()}
    mx.save_safetensors(str(tmp_path / "model.safetensors"), weights)
    expected = mx.load(str(GOLDEN / "rwkv4" / "expected.safetensors"))
    assert isinstance(expected, dict)
    found = model.load(tmp_path).logits(expected["input_ids"])
    assert mx.abs(found - expected["logits"]).max().item() < 2e-4
    packed = model.load(model.quantise(tmp_path, tmp_path / "packed", group_size=32))
    assert (packed.traits.architecture, packed.traits.bits) == ("rwkv", 4)


def test_without_its_vocabulary_it_says_which_is_missing(published: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.pth"
    alone.write_bytes(published.read_bytes())
    with pytest.raises(ModelError, match=r"put 20B_tokenizer\.json .* beside it"):
        model.load(alone, conversions=tmp_path / "conversions")
    world = {"emb.weight": np.zeros((65536, 1), np.float16), "blocks.0.ffn.key.weight": LITTLE}
    world |= {"blocks.0.att.time_mix_k": LITTLE, "blocks.0.att.key.weight": LITTLE}
    with pytest.raises(ModelError, match=rf"put {WORLD} .* beside it"):
        model.load(write_pth(tmp_path / "world.pth", world), conversions=tmp_path / "conversions")


# --- what is refused ------------------------------------------------------------------------------------------------


class Harm:
    """What a pickle can do that torch.load would let it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (str(self.target),)


def test_nothing_in_it_is_run(tmp_path: Path) -> None:
    target = tmp_path / "touched"
    pickled = pickle.dumps({"w": Harm(target)}, protocol=2)
    with pytest.raises(ModelError, match="would be code to run"):
        read(write_archive(tmp_path / "x.pth", pickled, {}))
    assert not target.exists()


GOOD = tensor("0", LITTLE)
WHOLE = tensor("0", np.arange(3))
NESTED = b")" + b"q\x05h\x05\x86" * 40
"""A tuple of two tuples that are one, and so on: looked up in a table, it is gone through 2^40 times."""
AXES = b"(" + b"J\xff\xff\xff\x7f" * 100_000 + b"tq\x06h\x06"
"""Lengths of so many axes, and strides, whose product has three million digits."""
PROGRAMS = {
    "a name that takes for ever to look up": (b"\x80\x02}" + NESTED + number(1) + b"s.", "does not list"),
    "a storage that does": (program({"w": GOOD.replace(named("torch", "FloatStorage"), NESTED + b"\x85")}), "not list"),
    "more axes than a tensor has": (program({"w": GOOD.replace(numbers((2, 3)) + numbers((3, 1)), AXES)}), "not list"),
    "numbers of another kind": (program({"w": GOOD.replace(b"Float", b"Double")}), r"torch\.DoubleStorage.* not read"),
    "a row that is all rows": (program({"w": tensor("0", LITTLE, strides=(0, 1), offset=3)}), "one after the other"),
    "another name of torch's": (program({"w": named("torch", "load") + b"(" + text("x") + b"tR"}), r"torch\.load"),
    "the call of an instance": (b"\x80\x02(" + text("x") + named("os", "system") + b"o.", r"os\.system"),
    "a name put together on the way": (b"\x80\x04" + text("os") + text("system") + b"\x93.", "STACK_GLOBAL"),
    "a step no list needs": (b"\x80\x02}2.", "DUP"),
    "no table": (b"\x80\x02" + GOOD + b".", "does not list"),
    "a table of other things": (program({"w": number(1)}), "does not list"),
    "a call of what is none": (program({"w": number(1) + b")R"}), "does not list"),
    "a tensor of nothing stored": (program({"w": GOOD.replace(text("0"), text("9"))}), "does not list"),
    "a key that leads elsewhere": (program({"w": GOOD.replace(text("0"), text("../data.pkl"))}), "does not list"),
    "more numbers than there are": (program({"w": GOOD.replace(number(6), number(7))}), "not as long"),
    "more whole numbers than there are": (program({"w": WHOLE.replace(number(3), number(6))}), "not as long"),
    "a tensor beyond its whole numbers": (
        program({"w": WHOLE.replace(b"tQ" + number(0), b"tQ" + number(1))}),
        "reaches beyond",
    ),
    "whole rows that are all one": (
        program({"w": tensor("0", LITTLE.view(np.int8), strides=(0, 1))}),
        "one after the other",
    ),
    "a tensor beyond its numbers": (program({"w": tensor("0", LITTLE, offset=1)}), "reaches beyond"),
    "rows that lie apart": (program({"w": tensor("0", LITTLE, strides=(1, 2))}), "one after the other"),
    "no end": (program({"w": GOOD})[:-1], "does not list"),
    "nothing at all": (b"", "does not list"),
}


@pytest.mark.parametrize("case", sorted(PROGRAMS))
def test_a_program_that_does_more_or_lies_is_refused(case: str, tmp_path: Path) -> None:
    pickled, reason = PROGRAMS[case]
    with pytest.raises(ModelError, match=reason) as refused:
        read(write_archive(tmp_path / "x.pth", pickled, {"0": LITTLE.tobytes()}))
    assert "\n" not in str(refused.value)


def test_a_folder_without_a_config_says_why_it_is_no_rwkv_of_a_known_version(tmp_path: Path) -> None:
    weights = {by_blinkdl(name): mx.array(array) for name, array in golden_weights("rwkv4").items()}
    five = weights | {"blocks.0.att.ln_x.weight": mx.zeros(8)}
    mx.save_safetensors(str(tmp_path / "model.safetensors"), five)
    with pytest.raises(ModelError, match="another version than 4 and 7"):
        read_fields(tmp_path)
    mx.save_safetensors(str(tmp_path / "model.safetensors"), {"lm_head.weight": mx.zeros(8)})
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        read_fields(tmp_path)


def test_what_is_written_is_never_more_than_the_file_has(tmp_path: Path) -> None:
    many = np.zeros(10_000, np.float32)
    pickled = program({f"w{index}": tensor("0", many) for index in range(3)})
    with pytest.raises(ModelError, match="overlap"):
        read(write_archive(tmp_path / "x.pth", pickled, {"0": many.tobytes()}))


def test_no_tensor_takes_the_name_of_what_the_conversion_says_of_itself(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is damaged"):
        read(write_pth(tmp_path / "x.pth", {"__metadata__": LITTLE}))


def test_archives_that_are_none_of_torch_s_are_refused(tmp_path: Path) -> None:
    pickled, entries = program({"w": GOOD}), {"0": LITTLE.tobytes()}
    packed = write_archive(tmp_path / "packed.pth", pickled, entries, zipfile.ZIP_DEFLATED)
    old = tmp_path / "old.pth"
    old.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2))
    other = tmp_path / "other.pth"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    for path, reason in (
        (packed, "is packed"),
        (old, "since 1.6"),
        (other, "no program"),
        (tmp_path / "no.pth", "exist"),
    ):
        with pytest.raises(ModelError, match=reason):
            read(path)


def test_nothing_is_read_whole_that_is_longer_than_it_should_be(tmp_path: Path) -> None:
    entry = b"PK\x01\x02" + struct.pack("<4B4HL2L5H2L", *(20, 0, 20, *[0] * 8, 1, *[0] * 6)) + b"a"
    contents = entry * 60_000
    listing = tmp_path / "listing.pth"
    listing.write_bytes(contents + b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 0, 0, len(contents), 0, 0))
    unpacking = write_archive(tmp_path / "unpacking.pth", bytes(1 << 26), {}, zipfile.ZIP_DEFLATED)
    content = bytearray(unpacking.read_bytes())
    content[(said := content.find(b"PK\x01\x02") + 24) : said + 4] = struct.pack("<L", 1000)  # what it claims to have
    unpacking.write_bytes(content)
    long = write_archive(tmp_path / "long.pth", bytes(LONGEST + 1), {})
    tracemalloc.start()
    try:
        for path in (listing, unpacking, long):
            with pytest.raises(ModelError):
                read(path)
        assert tracemalloc.get_traced_memory()[1] < LONGEST
    finally:
        tracemalloc.stop()


def test_numbers_that_are_not_those_that_were_written_are_refused(published: Path, tmp_path: Path) -> None:
    content = bytearray(published.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = tmp_path / published.name
    damaged.write_bytes(content)
    damaged.with_name("20B_tokenizer.json").write_bytes(published.with_name("20B_tokenizer.json").read_bytes())
    with pytest.raises(ModelError, match="damaged"):
        model.load(damaged, conversions=tmp_path / "conversions")
    assert [path.name for path in (tmp_path / "conversions").iterdir()] == [".lock"]


@pytest.fixture(scope="module")
def little(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """A small file, and the same with its entries packed, which none of torch's is."""
    pickled = program({"emb.weight": GOOD, "blocks.0.att.time_decay": tensor("1", LITTLE[0])})
    entries = {"0": LITTLE.tobytes(), "1": LITTLE[0].tobytes()}
    path = tmp_path_factory.mktemp("little") / "x.pth"
    kinds = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
    return [write_archive(path, pickled, entries, kind).read_bytes() for kind in kinds]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused_or_says_what_fits_in_it(
    little: list[bytes], tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(data.draw(st.sampled_from(little)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    path = tmp_path / "x.pth"
    path.write_bytes(content[:cut])
    try:
        tensors = read(path)
    except ModelError:
        return
    assert sum(found.nbytes for found in tensors.values()) <= len(content)
