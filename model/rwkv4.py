"""RWKV-4: a recurrent network that is trained like a transformer (arXiv 2305.13048).

Notable: no attention and no positions; what a layer holds is as large after a million tokens as after one. Each part of
a block mixes a token with the one before it, channel by channel; time mixing takes a weighted mean of all values so far
(`model.layers.wkv4`), channel mixing is a squared ReLU behind a gate. LayerNorm before each part, and once more before
the first. The names of the weights are those of Hugging Face's checkpoints (transformers,
models/rwkv/modeling_rwkv.py), and BlinkDL's own are known too.

It knows nothing of tokens as text, of sampling, or of how its weights got here.
"""

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from model.config import Rwkv4Config
from model.layers.pacing import Pace
from model.layers.powers import sigmoid
from model.layers.products import Embedding, Linear
from model.layers.rwkv import shifted, squared_relu, toward
from model.layers.wkv4 import Seen, nothing_seen, wkv
from model.recurrent import RecurrentModel, State
from model.weights.place import Alias

_OURS = {
    "emb": "embeddings",
    "ln0": "pre_ln",
    "att": "attention",
    "ffn": "feed_forward",
    "time_mix_k": "time_mix_key",
    "time_mix_v": "time_mix_value",
    "time_mix_r": "time_mix_receptance",
}
"""BlinkDL's words that Hugging Face has others for."""


class TimeMix(nn.Module):
    """What stands where others have attention: a mean of the values so far for each channel, behind a gate."""

    def __init__(self, config: Rwkv4Config) -> None:
        super().__init__()
        width, channels = config.hidden_size, config.attention_hidden_size
        self.time_decay, self.time_first = mx.zeros((channels,)), mx.zeros((channels,))
        self.time_mix_key, self.time_mix_value = mx.zeros((width,)), mx.zeros((width,))
        self.time_mix_receptance = mx.zeros((width,))
        self.key = Linear(width, channels, bias=False)
        self.value = Linear(width, channels, bias=False)
        self.receptance = Linear(width, channels, bias=False)
        self.output = Linear(channels, width, bias=False)

    def __call__(self, x: mx.array, previous: mx.array, seen: Seen) -> tuple[mx.array, Seen]:
        """From tokens (batch, length, hidden), those before each of them, and what was seen before all, to what is let
        through of the means (batch, length, attention_hidden) and what was seen after them; `output` is still to come.
        """
        keys = self.key(toward(previous, x, self.time_mix_key))
        values = self.value(toward(previous, x, self.time_mix_value))
        gate = sigmoid(self.receptance(toward(previous, x, self.time_mix_receptance)))
        means, seen = wkv(keys, values, self.time_decay, self.time_first, seen)
        return gate * means.astype(x.dtype), seen


class ChannelMix(nn.Module):
    """value(relu(key(x))^2), behind a gate."""

    def __init__(self, config: Rwkv4Config) -> None:
        super().__init__()
        width = config.hidden_size
        self.time_mix_key, self.time_mix_receptance = mx.zeros((width,)), mx.zeros((width,))
        self.key = Linear(width, config.intermediate_size, bias=False)
        self.receptance = Linear(width, width, bias=False)
        self.value = Linear(config.intermediate_size, width, bias=False)

    def __call__(self, x: mx.array, previous: mx.array) -> mx.array:
        inner = squared_relu(self.key(toward(previous, x, self.time_mix_key)))
        gate = sigmoid(self.receptance(toward(previous, x, self.time_mix_receptance)))
        return gate * self.value(inner)


class Block(nn.Module):
    """One layer."""

    def __init__(self, config: Rwkv4Config, first: bool) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.norm_eps
        if first:
            self.pre_ln = nn.LayerNorm(width, eps=eps)
        self.ln1 = nn.LayerNorm(width, eps=eps)
        self.ln2 = nn.LayerNorm(width, eps=eps)
        self.attention = TimeMix(config)
        self.feed_forward = ChannelMix(config)

    def __call__(self, x: mx.array, state: State, last: int | None = None) -> tuple[mx.array, State]:
        """Hidden states (batch, length, hidden), or those of the `last` positions, and the state after them.

        A state is level and mean of what was seen (batch, attention_hidden) in float32, and what the two parts saw of
        the token before (batch, 1, hidden).
        """
        level, mean, before_time, before_channel = state
        if "pre_ln" in self:
            x = self.pre_ln(x)
        early = self.ln1(x)
        means, (level, mean) = self.attention(early, shifted(early, before_time), (level, mean))
        if last is not None:  # of the others nothing is wanted but what the first of these sees of the one before it
            x, means = x[:, -last - 1 :], means[:, -last - 1 :]
        x = x + self.attention.output(means)
        late = self.ln2(x)
        x = x + self.feed_forward(late, shifted(late, before_channel))
        if last is not None:
            x = x[:, -last:]
        # Not as slices, which would keep all that they were cut from for as long as the state lives.
        return x, (level, mean, mx.contiguous(early[:, -1:]), mx.contiguous(late[:, -1:]))


class Backbone(nn.Module):
    """Token ids (batch, length) to normed hidden states (batch, length, hidden), or those of the `last` positions."""

    def __init__(self, config: Rwkv4Config) -> None:
        super().__init__()
        self.embeddings = Embedding(config.vocab_size, config.hidden_size)
        self.blocks = [Block(config, first=index == 0) for index in range(config.num_hidden_layers)]
        self.ln_out = nn.LayerNorm(config.hidden_size)  # by MLX's epsilon and PyTorch's: no configuration has one
        self._channels = config.attention_hidden_size

    def __call__(
        self, tokens: mx.array, states: Sequence[State], last: int | None = None
    ) -> tuple[mx.array, list[State]]:
        """`states` are those before the tokens, a layer's each; returned are those after them."""
        x = self.embeddings(tokens)
        pace = Pace(tokens.shape[1])
        after: list[State] = []
        for block, state in zip(self.blocks, states, strict=True):
            x, state = block(x, state, last if block is self.blocks[-1] else None)
            x = pace(x, *state)
            after.append(state)
        return self.ln_out(x), after

    def empty(self, batch: int) -> State:
        """A layer's state before the first token."""
        weight = self.ln_out.weight
        nothing = mx.zeros((batch, 1, weight.size), weight.dtype)
        return *nothing_seen(batch, self._channels), nothing, nothing


class Model(RecurrentModel):
    """The whole language model."""

    def __init__(self, config: Rwkv4Config) -> None:
        super().__init__()
        self.rwkv = Backbone(config)
        self.tied = bool(config.tie_word_embeddings)
        if not self.tied:
            self.head = Linear(config.hidden_size, config.vocab_size, bias=False)

    def run(self, tokens: mx.array, states: Sequence[State], last: int | None = None) -> tuple[mx.array, list[State]]:
        hidden, states = self.rwkv(tokens, states, last)
        return self.rwkv.embeddings.as_linear(hidden) if self.tied else self.head(hidden), states

    def empty(self, batch: int) -> list[State]:
        return [self.rwkv.empty(batch)] * len(self.rwkv.blocks)

    def alias(self, tensor: str) -> Alias | None:
        """BlinkDL's names by Hugging Face's, which are ours."""
        name = ".".join(_OURS.get(word, word) for word in tensor.split("."))
        return Alias(f"rwkv.{name}" if name.startswith(("embeddings.", "blocks.", "ln_out.")) else name)

    def cast_predicate(self, path: str) -> bool:
        """What decays is float32: its error would add up over thousands of tokens."""
        return not path.endswith(("time_decay", "time_first"))
