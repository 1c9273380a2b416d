"""What a model takes in memory while it answers, foretold from its configuration: weights, cache or state, workspace.

It follows what `model.allocation` prescribes and what one layer of `model.qwen2` or of the RWKVs computes; measured are
only a few constants per back end, each where it stands. It knows no MLX, nothing of the process around it, and nothing
of what MLX keeps of freed buffers.
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

from model.allocation import (
    BLOCK,
    LAYERS_AT_ONCE,
    MOST_SCORES,
    SLACK,
    SNAPSHOT_BYTES,
    SNAPSHOTS,
    grown,
    holds_scores,
    rotated,
    unpacks,
)
from model.choices import Choices, choices_for
from model.config import (
    SHAPES,
    Config,
    LayerQuantization,
    RecurrentConfig,
    Rwkv4Config,
    Rwkv7Config,
    TransformerConfig,
)
from model.facts import (
    FLOAT32,
    FULL,
    matrices,
    packing_of,
    parameters,
    state_bytes,
    stored_element,
    weight_bytes,
)

KvBits = Literal[4, 8]
_KV_GROUP = 64
"""Numbers of a key that share a scale, where keys and values are quantised."""
_SCANNED = 16
"""Tokens of a chunk of RWKV-7's scan (model.layers.wkv7)."""


@dataclass(frozen=True)
class BackEnd:
    """How a back end of MLX takes memory for what it computes: when work is queued, not when it is done."""

    gpu: bool
    architecture: str
    """The GPU's, by MLX's name; of a family the fastest, which reads most at once."""
    scores: float
    """Times that scores are there, float32, where they are held."""
    masked: bool
    """Whether scores are held where a mask of booleans goes with them, whatever the heads."""
    blocks: int
    """Blocks of blocked attention that are there at once."""
    sampling: int
    """Rows of the vocabulary, float32, that drawing a token takes: sorting for top-p takes most of them."""

    def alive(self, layers: int) -> float:
        """Layers of so many whose results are alive at once: on a GPU those that are queued beside those computed.

        A small model is computed nearly as fast as it is queued: one of 6 and three of 24 and 28 were measured.
        """
        return min(2 * LAYERS_AT_ONCE - 1, max(1, layers / 8)) if self.gpu else 1

    def attending(self, layers: int) -> float:
        """The same where attention goes block by block, which takes a GPU longest."""
        return min(2 * LAYERS_AT_ONCE, max(1, layers / 4)) if self.gpu else 1


CPU = BackEnd(gpu=False, architecture="", scores=2, masked=True, blocks=2, sampling=13)
"""Measured with MLX 0.32.4 on x86-64 Linux by `python -m tests.benchmarks.fit`: within 10 % for ten shapes."""
CUDA = BackEnd(gpu=True, architecture="sm_90", scores=1.65, masked=True, blocks=6, sampling=18)
"""Chosen by a run of the same with MLX 0.32.4 on an H100 for chunks of 512; for larger ones it is too careful
(tests/benchmarks/LOG.md)."""
METAL = replace(CUDA, architecture="applegpu_g16d", masked=False)
"""Never measured: as CUDA, but that Metal's kernels take masks, by MLX's documentation."""


class Taken(NamedTuple):
    """Bytes that MLX has at its peak, by what takes them."""

    weights: int
    kv: int
    """Keys and values; a recurrent model has none."""
    state: int
    """Of a recurrent model, copies of it to return to included: as much after any number of tokens."""
    workspace: int

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.state + self.workspace


def taken(
    config: Config,
    tokens: int,
    back_end: BackEnd,
    memory: int,
    *,
    kv_bits: KvBits | None = None,
    marks: int = SNAPSHOTS,
) -> Taken:
    """The peak of a conversation that has grown to `tokens`, on a machine with `memory` bytes.

    `kv_bits`: of quantised keys and values; `marks`: how many points of it are kept to return to.
    """
    element = _element(config, back_end)
    weights, loading = _weights(config, back_end, memory)
    packed = config.quantization is not None and weights < parameters(config).total * FLOAT32
    talk = _talk(config, tokens, back_end, element, kv_bits, marks, packed)
    working = max(
        talk.working,
        back_end.sampling * config.vocab_size * FLOAT32,
        loading - weights - talk.kv - talk.state,
    )
    return Taken(weights, talk.kv, talk.state, working)


class _Talk(NamedTuple):
    """What a conversation takes beside the weights."""

    kv: int
    state: int
    working: int
    """The most that reading a chunk of it takes, or writing a token."""


def _talk(
    config: Config,
    tokens: int,
    back_end: BackEnd,
    element: int,
    kv_bits: KvBits | None,
    marks: int,
    packed: bool,
) -> _Talk:
    """`packed`: whether the weights are still, while they are computed with."""
    match config:
        case TransformerConfig():
            kv = _kv(config, tokens, back_end, element, kv_bits, marks)
            reading = _reading(config, tokens, back_end, element, kv_bits, packed)
            return _Talk(kv, 0, reading)
        case RecurrentConfig():
            return _Talk(0, _states(config, element, marks), _recurring(config, back_end, element, packed))
    raise TypeError(f"nobody has said what a conversation with a {type(config).__name__} takes")


def _choices(config: Config, back_end: BackEnd) -> Choices:
    return choices_for(back_end.gpu, back_end.architecture, parameters(config).total, config.recurrent)


def _chunk(config: Config, back_end: BackEnd) -> int:
    """Tokens that are read at once."""
    return _choices(config, back_end).chunk


def _element(config: Config, back_end: BackEnd) -> int:
    """Bytes of a number that is computed with."""
    return FLOAT32 if not back_end.gpu or stored_element(config) == FLOAT32 else FULL


# --- weights --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _weights(config: Config, back_end: BackEnd, memory: int) -> tuple[int, int]:
    """Bytes of the loaded weights, and the most there is while they load: the largest first, changed one by one."""
    if back_end.gpu:
        weights = weight_bytes(config, config.quantization, element=stored_element(config))
        return weights, weights
    dense = parameters(config).total * FLOAT32
    packed = config.quantization is not None
    if packed and not (config.model_type in SHAPES and unpacks(dense, memory)):  # mlx-lm's never are
        weights = weight_bytes(config, config.quantization, element=FLOAT32)
        return weights, weights
    return dense, _peak_of_loading(config)


def _peak_of_loading(config: Config) -> int:
    """Where weights become float32: what is there already, and of the next matrix the old form and the new."""
    element = stored_element(config)
    sizes = []
    for _, path, matrix in matrices(config):
        packing = packing_of(config.quantization, path, matrix) if config.quantization else None
        stored, dense = matrix.nbytes(packing, element), matrix.parameters * FLOAT32
        sizes.append((stored, dense, _beside(packing, stored, dense)))
    held = peak = 0
    for _, dense, beside in sorted(sizes, reverse=True):
        peak = max(peak, held + dense + beside)
        held += dense
    return peak


def _beside(packing: LayerQuantization | None, stored: int, dense: int) -> int:
    """Bytes that stand beside a matrix while it becomes float32: what was stored; where that is packed, the codes one
    by one too, and scales and biases in float32."""
    if packing is None:
        return 0 if stored == dense else stored
    return stored + dense + 2 * dense // packing.group_size


# --- keys and values ------------------------------------------------------------------------------------------------


def _row(config: TransformerConfig, element: int, kv_bits: KvBits | None) -> int:
    """Bytes of the keys and values of one position in one layer."""
    numbers = 2 * config.num_key_value_heads * config.head_dim
    if kv_bits is None:
        return numbers * element
    return numbers * kv_bits // 8 + 2 * (numbers // _KV_GROUP) * element  # a scale and a bias a group


def _kv(
    config: TransformerConfig, tokens: int, back_end: BackEnd, element: int, kv_bits: KvBits | None, marks: int
) -> int:
    """Bytes of all caches as they are allocated, room to grow and copies to return to included."""
    row = _row(config, element, kv_bits)
    layers = Counter(config.layer_windows)
    chunk = _chunk(config, back_end)
    caches = sum(count * _capacities(tokens, window, chunk)[-1] for window, count in layers.items())
    copies = sum(min(tokens, window - 1) for window in config.layer_windows if window is not None)
    return caches * row + min(marks * copies * row, max(SNAPSHOT_BYTES, copies * row))


def _capacities(tokens: int, window: int | None, chunk: int) -> list[int]:
    """The buffers that one layer's cache has on the way to `tokens`, in positions; nothing at first."""
    capacities = [0, 0]
    while capacities[-1] < tokens:
        held = capacities[-1]
        larger = grown(held + 1) if window is None else rotated(held, window, SLACK, chunk)[1]
        if larger == held:
            break
        capacities.append(larger)
    return capacities


# --- what a chunk of attention takes beside -------------------------------------------------------------------------


def _reading(
    config: TransformerConfig, tokens: int, back_end: BackEnd, element: int, kv_bits: KvBits | None, packed: bool
) -> int:
    """Bytes for reading a chunk: of each layer that is alive its results, and what attention takes where it is most."""
    rows = min(_chunk(config, back_end), max(tokens, 1))
    attention = max(
        _attending(config, tokens, window, rows, back_end, element, kv_bits) for window in set(config.layer_windows)
    )
    layer = _results(config, rows, element) + (_unpacked(config, rows, back_end, element) if packed else 0)
    return int(back_end.alive(config.num_hidden_layers) * layer + attention)


def _unpacked(config: Config, rows: int, back_end: BackEnd, element: int) -> int:
    """Bytes of one layer's packed matrices where they are unpacked for `rows` tokens."""
    if rows < _choices(config, back_end).unpack:
        return 0
    inner = (matrix for part, _, matrix in matrices(config) if part not in ("embeddings", "head") and not matrix.kept)
    return sum(matrix.parameters for matrix in inner) // config.num_hidden_layers * element


def _results(config: TransformerConfig, rows: int, element: int) -> int:
    """Bytes of all that one layer computes for `rows` tokens, attention's own apart.

    Of the hidden size: both norms, both outputs, both sums and what came in. Of the queries: projected, normed or
    scaled, turned, attended, put together, and one copy between. Keys and values: projected and turned. Of the
    feed-forward: gate and up, which are one product, and what they give.
    """
    hidden, inner = config.hidden_size, config.intermediate_size
    queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    return rows * (7 * hidden + 6 * queries + 4 * keys + 3 * inner) * element


def _attending(
    config: TransformerConfig,
    tokens: int,
    window: int | None,
    rows: int,
    back_end: BackEnd,
    element: int,
    kv_bits: KvBits | None,
) -> float:
    """Bytes that attention of one layer takes for `rows` queries, and its cache when it moves to another buffer."""
    row = _row(config, element, kv_bits)
    earlier, capacity = _capacities(tokens, window, _chunk(config, back_end))[-2:]
    if window is None:
        moving = (earlier, earlier * row)  # with so many keys it moved the last time
        return max(
            _scores(config, keys, rows, back_end, kv_bits, False) + beside for keys, beside in ((tokens, 0), moving)
        )
    keys = min(tokens, window - 1 + rows)
    again = tokens > capacity  # full, it moves on and on
    return _scores(config, keys, rows, back_end, kv_bits, True) + (capacity if again else earlier) * row


def _scores(
    config: TransformerConfig, keys: int, rows: int, back_end: BackEnd, kv_bits: KvBits | None, masked: bool
) -> float:
    """Bytes of scores, masks and unpacked keys over so many `keys`."""
    scores = config.num_attention_heads * rows * FLOAT32
    held = holds_scores(back_end.gpu, config.head_dim)
    if kv_bits is None and not (held and scores * keys > MOST_SCORES):
        held = held or (masked and back_end.masked)
        return (held * back_end.scores * scores + rows) * keys
    unpacked = 2 * config.num_key_value_heads * config.head_dim * FLOAT32
    block = (2 * scores + unpacked + rows) * min(keys, back_end.blocks * BLOCK)  # before and after the mask
    return back_end.attending(config.num_hidden_layers) * block


# --- recurrence -----------------------------------------------------------------------------------------------------


def _states(config: RecurrentConfig, element: int, marks: int) -> int:
    """Bytes of the state, of the one before the last token, and of the copies to return to, of which every other one
    ends a prompt and has its logits."""
    state = state_bytes(config, element)
    copies = marks * state + marks // 2 * config.vocab_size * element
    return 2 * state + min(copies, max(SNAPSHOT_BYTES, state))


def _recurring(config: RecurrentConfig, back_end: BackEnd, element: int, packed: bool) -> int:
    """Bytes for reading a chunk: of each layer that is alive what it computes, and all new states."""
    rows = _chunk(config, back_end)
    layer = rows * _of_a_layer(config) * FLOAT32 + (_unpacked(config, rows, back_end, element) if packed else 0)
    return int(back_end.alive(config.num_hidden_layers) * layer) + state_bytes(config, element)


def _of_a_layer(config: RecurrentConfig) -> int:
    """Numbers for each token: what a layer computes, at its most, and what its new state is made from.

    Counted in hidden states by peaks on a CPU, for one layer and for eight of them. The feed-forward comes when most of
    this is gone again. RWKV-4: levels and means, and both parts' normed input. RWKV-7: the same input, and of each
    chunk of its scan three matrices of a state's size.
    """
    hidden = config.hidden_size
    match config:
        case Rwkv4Config():
            mixed = config.attention_hidden_size
            return 15 * mixed + 7 * hidden
        case Rwkv7Config():
            return 42 * hidden + 3 * config.state_numbers // _SCANNED
    raise TypeError(f"nobody has said what a {type(config).__name__} computes")
