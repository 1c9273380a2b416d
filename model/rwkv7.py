"""RWKV-7 "Goose": no attention, but a state of fixed size that each token corrects.

Notable: every part mixes a token with the one before it; what the state loses and takes in is worked out for each
token by small products of low rank; a layer's values lean towards the first layer's; two layers of feed-forward with
a squared ReLU between. Source: arXiv 2503.14456; the names of the weights are those of flash-linear-attention's
checkpoints, and BlinkDL's own are known too.

It knows nothing of tokens as text, of sampling, or of how its weights got here.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import mlx.core as mx
import mlx.nn as nn

from model.choices import Choices
from model.compiling import on_gpu
from model.config import Rwkv7Config
from model.errors import ModelError
from model.layers import wkv7
from model.layers.pacing import Pace
from model.layers.powers import sigmoid
from model.layers.products import Embedding, Linear, times
from model.layers.rwkv import shifted, squared_relu, toward
from model.layers.stacked import stacked
from model.recurrent import RecurrentModel, State
from model.weights.place import Alias
from model.weights.safetensors import short

_PARTS = "rkvawg"
"""What reads a mix of a token and the one before it, in an order in which those that are one product are neighbours:
receptance, key, value, rate, decay and gate."""
_STRONGEST = -0.606531
"""-e^-0.5: the logarithm of the strongest decay of a token (eq. 12)."""
_NO_LENGTH = 1e-24
"""What is added to a squared length before it divides."""
_FLOAT32 = (".lora.2.bias", ".k_k", ".k_a", ".r_k", ".g_norm.weight", ".g_norm.bias")
"""Ends of the names of what is added to, or multiplied with, numbers that are float32 in any case."""
_BLINKDL: Mapping[str, str] = MappingProxyType(
    {
        r"emb\.": "model.embeddings.",
        r"head\.": "lm_head.",
        r"ln_out\.": "model.norm.",
        r"blocks\.(\d+)\.ln0\.": r"model.layers.\1.pre_norm.",
        r"blocks\.(\d+)\.ln1\.": r"model.layers.\1.attn_norm.",
        r"blocks\.(\d+)\.ln2\.": r"model.layers.\1.ffn_norm.",
        r"blocks\.(\d+)\.att\.receptance\.": r"model.layers.\1.attn.r_proj.",
        r"blocks\.(\d+)\.att\.key\.": r"model.layers.\1.attn.k_proj.",
        r"blocks\.(\d+)\.att\.value\.": r"model.layers.\1.attn.v_proj.",
        r"blocks\.(\d+)\.att\.output\.": r"model.layers.\1.attn.o_proj.",
        r"blocks\.(\d+)\.att\.ln_x\.": r"model.layers.\1.attn.g_norm.",
        r"blocks\.(\d+)\.att\.([wavg])0$": r"model.layers.\1.attn.\2_lora.lora.2.bias",
        r"blocks\.(\d+)\.att\.([wavg])1$": r"model.layers.\1.attn.\2_lora.lora.0.weight",
        r"blocks\.(\d+)\.att\.([wavg])2$": r"model.layers.\1.attn.\2_lora.lora.2.weight",
        r"blocks\.(\d+)\.att\.": r"model.layers.\1.attn.",
        r"blocks\.(\d+)\.ffn\.": r"model.layers.\1.ffn.",
    }
)
"""What names begin with in the files that BlinkDL publishes, and with what here; the first that fits."""


class Biased(Linear):
    """A map whose bias is added in float32."""

    def __call__(self, x: mx.array) -> mx.array:
        return times(x, self.weight).astype(mx.float32) + self.bias


class LowRank(nn.Module):
    """Down to `rank` numbers, something done to them, and up again."""

    def __init__(self, width: int, rank: int, between: Callable[[mx.array], mx.array], bias: bool = True) -> None:
        super().__init__()
        up = Biased(rank, width) if bias else Linear(rank, width, bias=False)
        self.lora = [Linear(width, rank, bias=False), nn.Identity(), up]  # the second of three in checkpoints' names
        self._between = between

    def __call__(self, x: mx.array) -> mx.array:
        down, _, up = self.lora
        result: mx.array = up(self._between(down(x)))
        return result


class LowRanks(nn.Module):
    """Several of them with biases as one, padded to one rank: (maps, ..., width) to the same in float32."""

    def __init__(self, maps: Sequence[LowRank]) -> None:
        super().__init__()
        self._betweens = [each._between for each in maps]
        downs, ups = ([each.lora[place].weight for each in maps] for place in (0, 2))
        rank = max(len(down) for down in downs)
        self.down = mx.stack([mx.pad(down, [(0, rank - len(down)), (0, 0)]) for down in downs])
        self.up = mx.stack([mx.pad(up, [(0, 0), (0, rank - up.shape[1])]) for up in ups])
        self.bias = mx.stack([each.lora[2].bias for each in maps])[:, None]

    def __call__(self, x: mx.array) -> mx.array:
        narrow = x.reshape(len(x), -1, x.shape[-1]) @ self.down.swapaxes(-1, -2)
        narrow = mx.stack([between(each) for between, each in zip(self._betweens, narrow, strict=True)])
        return ((narrow @ self.up.swapaxes(-1, -2)).astype(mx.float32) + self.bias).reshape(x.shape)


def _same(x: mx.array) -> mx.array:
    return x


class TimeMix(nn.Module):
    """What stands where others have attention."""

    def __init__(self, config: Rwkv7Config, first: bool) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads, self.head_dim, self.first = config.num_heads, config.head_dim, first
        for part in _PARTS:
            self[f"x_{part}"] = mx.zeros((1, 1, width))
        self.k_k, self.k_a = mx.zeros((width,)), mx.zeros((width,))
        self.r_k = mx.zeros((config.num_heads, config.head_dim))
        self.r_proj = Linear(width, width, bias=False)
        self.k_proj = Linear(width, width, bias=False)
        self.v_proj = Linear(width, width, bias=False)
        self.o_proj = Linear(width, width, bias=False)
        self.w_lora = LowRank(width, config.decay_low_rank_dim, mx.tanh)
        self.a_lora = LowRank(width, config.a_low_rank_dim, _same)
        self.g_lora = LowRank(width, config.gate_low_rank_dim, sigmoid, bias=False)
        if not first:
            self.v_lora = LowRank(width, config.v_low_rank_dim, _same)
        self._unit = mx.full((config.head_dim,), config.head_dim**-0.5)
        self.g_norm = nn.GroupNorm(config.num_heads, width, eps=config.head_dim * config.norm_eps)

    def join(self) -> None:
        """Let what can be one product be one, where it is stored alike."""
        self.mixes = self._mixes()
        for part in _PARTS:
            del self[f"x_{part}"]
        if whole := stacked([self.r_proj, self.k_proj, self.v_proj]):
            self.rkv_proj = whole
            del self.r_proj, self.k_proj, self.v_proj
        maps = self._rate_maps()
        if all(isinstance(each.lora[place], nn.Linear) for each in maps for place in (0, 2)):
            self.low_ranks = LowRanks(maps)
            del self.a_lora, self.w_lora
            if not self.first:
                del self.v_lora

    def __call__(
        self, x: mx.array, first_values: mx.array | None, matrices: mx.array, before: mx.array
    ) -> tuple[mx.array, mx.array, mx.array]:
        """What each head read, gated (batch, length, hidden), the first layer's values, and the matrices after it.

        `first_values` (batch, length, heads, head_dim) is None in the first layer; `matrices` (batch, heads, values,
        keys) and `before` (batch, 1, hidden) are its state.
        """
        batch, length, _ = x.shape
        heads = (batch, length, self.num_heads, self.head_dim)
        mixes = self.mixes if "mixes" in self else self._mixes()
        mixed = toward(x, shifted(x, before), mixes)
        r, k, v = (each.reshape(heads) for each in self._project(mixed[:3]))
        *lean, rate, decay = (each.reshape(heads) for each in self._rates(mixed[3 if self.first else 2 : 5]))
        gate = self.g_lora(mixed[5:].squeeze(0)).reshape(heads)
        first_values = v if first_values is None else first_values
        # k / |k|, by the norm that divides by the mean of the squares, weighed to divide by their sum.
        key = _fused(_weighed)(k, self._by_head(self.k_k))
        key = mx.fast.rms_norm(key, self._unit, _NO_LENGTH / self.head_dim)
        k = _fused(_corrected)(k, rate, self._by_head(self.k_a))
        v = _fused(_leaning)(v, first_values, *lean) if lean else v.astype(mx.float32)
        remember = wkv7.step if length == 1 else wkv7.scan
        y, matrices = remember(matrices, r.astype(mx.float32), decay * _STRONGEST, k, v, key, rate)
        y = mx.fast.layer_norm(y, None, None, self.g_norm.eps)
        own = (r * k * self.r_k).sum(axis=-1, keepdims=True)
        weight, bias = self._by_head(self.g_norm.weight), self._by_head(self.g_norm.bias)
        return _fused(_gated)(y, weight, bias, own, v, gate).reshape(x.shape), first_values, matrices

    def _by_head(self, weight: mx.array) -> mx.array:
        return weight.reshape(self.num_heads, self.head_dim)

    def _mixes(self) -> mx.array:
        """(6, 1, 1, hidden): how much of the token before goes into what each product reads."""
        return mx.stack([self[f"x_{part}"] for part in _PARTS])

    def _project(self, mixed: mx.array) -> Iterable[mx.array]:
        """Receptance, key and value."""
        if "rkv_proj" in self:
            return self.rkv_proj(mixed)
        return [project(x) for project, x in zip((self.r_proj, self.k_proj, self.v_proj), mixed, strict=True)]

    def _rates(self, mixed: mx.array) -> Iterable[mx.array]:
        """Between 0 and 1, in float32: how far values lean to the first layer's, but for that; the share of what is
        taken out that is put in anew; how strong the decay is."""
        if "low_ranks" in self:
            return sigmoid(self.low_ranks(mixed))
        return [sigmoid(each(x)) for each, x in zip(self._rate_maps(), mixed, strict=True)]

    def _rate_maps(self) -> list[LowRank]:
        """What they are worked out by, in this order."""
        return [*([] if self.first else [self.v_lora]), self.a_lora, self.w_lora]


def _fused(function: Callable[..., mx.array]) -> Callable[..., mx.array]:
    return on_gpu(function, otherwise=function)


def _weighed(k: mx.array, weight: mx.array) -> mx.array:
    return k.astype(mx.float32) * weight


def _corrected(k: mx.array, rate: mx.array, weight: mx.array) -> mx.array:
    return k.astype(mx.float32) * (1 + (rate - 1) * weight)


def _leaning(v: mx.array, first: mx.array, lean: mx.array) -> mx.array:
    v = v.astype(mx.float32)
    return v + (first.astype(mx.float32) - v) * lean


def _gated(y: mx.array, weight: mx.array, bias: mx.array, own: mx.array, v: mx.array, gate: mx.array) -> mx.array:
    return (y * weight + bias + own * v).astype(gate.dtype) * gate


class ChannelMix(nn.Module):
    """value(relu(key(x))^2), of a token mixed with the one before it."""

    def __init__(self, config: Rwkv7Config) -> None:
        super().__init__()
        self.x_k = mx.zeros((config.hidden_size,))
        self.key = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.value = Linear(config.intermediate_size, config.hidden_size, bias=False)

    def __call__(self, x: mx.array, before: mx.array) -> mx.array:
        inner = self.key(toward(x, shifted(x, before), self.x_k))
        result: mx.array = self.value(squared_relu(inner))
        return result


class Block(nn.Module):
    """One layer."""

    def __init__(self, config: Rwkv7Config, first: bool) -> None:
        super().__init__()
        width, eps, bias = config.hidden_size, config.norm_eps, config.norm_bias
        if first:
            self.pre_norm = nn.LayerNorm(width, eps=eps, bias=bias)
        self.attn_norm = nn.LayerNorm(width, eps=eps, bias=bias)
        self.ffn_norm = nn.LayerNorm(width, eps=eps, bias=bias)
        self.attn = TimeMix(config, first)
        self.ffn = ChannelMix(config)

    def __call__(
        self, x: mx.array, first_values: mx.array | None, state: State, last: int | None = None
    ) -> tuple[mx.array, mx.array, State]:
        """Hidden states (batch, length, hidden), or those of the `last` positions; the first layer's values; the state
        after them.

        A state is the matrices (batch, heads, values, keys) in float32, and what the two parts saw of the token before
        (batch, 1, hidden).
        """
        matrices, before_attn, before_ffn = state
        if first_values is None:
            x = self.pre_norm(x)
        normed = self.attn_norm(x)
        mixed, first_values, matrices = self.attn(normed, first_values, matrices, before_attn)
        if last is not None:  # of the others nothing is wanted but what the first of these sees of the one before it
            x, mixed = x[:, -last - 1 :], mixed[:, -last - 1 :]
        x = x + self.attn.o_proj(mixed)
        between = self.ffn_norm(x)
        x = x + self.ffn(between, before_ffn)
        if last is not None:
            x = x[:, -last:]
        # Not as slices, which would keep all that they were cut from for as long as the state lives.
        return x, first_values, (matrices, mx.contiguous(normed[:, -1:]), mx.contiguous(between[:, -1:]))


class Backbone(nn.Module):
    """Token ids (batch, length) to normed hidden states (batch, length, hidden), or those of the `last` positions."""

    def __init__(self, config: Rwkv7Config) -> None:
        super().__init__()
        self.embeddings = Embedding(config.vocab_size, config.hidden_size)
        self.layers = [Block(config, first=index == 0) for index in range(config.num_hidden_layers)]
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=config.norm_bias)

    def __call__(
        self, tokens: mx.array, states: Sequence[State], last: int | None = None
    ) -> tuple[mx.array, list[State]]:
        """`states` are those before the tokens, a layer's each; returned are those after them."""
        x = self.embeddings(tokens)
        pace = Pace(tokens.shape[1])
        first_values: mx.array | None = None
        after: list[State] = []
        for layer, state in zip(self.layers, states, strict=True):
            wanted = last if layer is self.layers[-1] else None
            x, first_values, state = layer(x, first_values, state, wanted)
            x = pace(x, *state)
            after.append(state)
        return self.norm(x), after

    def empty(self, batch: int) -> State:
        """A layer's state before the first token."""
        attn, norm = self.layers[0].attn, self.norm.weight
        nothing = mx.zeros((batch, 1, norm.size), norm.dtype)
        return mx.zeros((batch, attn.num_heads, attn.head_dim, attn.head_dim)), nothing, nothing


class Model(RecurrentModel):
    """The whole language model."""

    def __init__(self, config: Rwkv7Config) -> None:
        super().__init__()
        self.model = Backbone(config)
        self.tied = bool(config.tie_word_embeddings)
        if not self.tied:
            self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)

    def run(self, tokens: mx.array, states: Sequence[State], last: int | None = None) -> tuple[mx.array, list[State]]:
        hidden, states = self.model(tokens, states, last)
        return self.model.embeddings.as_linear(hidden) if self.tied else self.lm_head(hidden), states

    def empty(self, batch: int) -> list[State]:
        return [self.model.empty(batch)] * len(self.model.layers)

    def arrange(self, choices: Choices) -> None:
        """The same, and what can be one product is one."""
        super().arrange(choices)
        if choices.joined:
            for layer in self.model.layers:
                layer.attn.join()
                mx.eval(layer.parameters())  # one after the other, so that never more than one layer is there twice
                mx.clear_cache()  # where MLX keeps freed buffers, what was joined would else stay beside all of it

    def alias(self, tensor: str) -> Alias | None:
        """What a tensor of a checkpoint is called here: its name, or another for BlinkDL's."""
        if tensor.endswith(".attn.x_x"):
            raise ModelError(
                f"The weights hold {short(tensor)}, as the first of RWKV-7 did; choose a newer version of the model.",
                "unsupported",
            )
        if re.match(r"blocks\.0\.att\.v[012]$", tensor):
            return None  # it is in the file, though no layer's values come before the first's
        for theirs, ours in _BLINKDL.items():
            if re.match(theirs, tensor):
                low_rank = re.search(r"\.att\.[wavg][12]$", tensor)
                return Alias(re.sub(theirs, ours, tensor, count=1), transposed=low_rank is not None)
        return Alias(tensor)

    def cast_predicate(self, path: str) -> bool:
        """Whether a parameter may be of the type that the model computes in."""
        return not path.endswith(_FLOAT32)

    def quant_predicate(self, path: str, module: nn.Module) -> bool:
        """Whether a module may be packed: what works out the state's corrections loses most by it, and is small."""
        return "_lora." not in path
