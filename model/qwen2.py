"""Qwen1.5, Qwen2 and Qwen2.5, with their neighbours Llama, Mistral and Qwen3: one block, told apart by its config.

Notable: RMSNorm before each part; biases on q, k and v (Qwen2), or none and a norm over each head of q and k instead
(Qwen3), or neither (Llama, Mistral); rotary positions; grouped-query attention, of which multi-head and multi-query
are the ends; SwiGLU; sliding windows on some layers and full attention on the others; a head that may be the embedding
itself. Sources: arXiv 2407.10671 and 2412.15115; the names of the weights are those of Hugging Face's checkpoints
(transformers, models/qwen2/modeling_qwen2.py).

It knows nothing of tokens as text, of sampling, or of how its weights got here.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from model.cache import AttentionCache, CacheOptions, FullCache, RotatingCache, sides
from model.choices import Choices
from model.config import TransformerConfig
from model.errors import ModelError
from model.layers.attention import Mask, attend, causal_mask
from model.layers.feed_forward import SwiGLU
from model.layers.joined import joined
from model.layers.pacing import Pace
from model.layers.products import Embedding, Linear, unpacked_from
from model.layers.rope import RotaryEmbedding

Piece = Callable[..., Any]
"""A compiled part of a step: arrays in, arrays out."""


class Attention(nn.Module):
    """Grouped-query attention but for the look at the keys: what comes before it is apart from what comes after."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.num_kv_heads = config.num_key_value_heads
        self.head_dim = config.head_dim
        query_size, kv_size = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        self.q_proj = Linear(config.hidden_size, query_size, bias=config.qkv_bias)
        self.k_proj = Linear(config.hidden_size, kv_size, bias=config.qkv_bias)
        self.v_proj = Linear(config.hidden_size, kv_size, bias=config.qkv_bias)
        self.o_proj = Linear(query_size, config.hidden_size, bias=config.attention_output_bias)
        if config.qk_norm:
            self.q_norm = nn.RMSNorm(config.head_dim, eps=config.rms_norm_eps)
            self.k_norm = nn.RMSNorm(config.head_dim, eps=config.rms_norm_eps)
        self.qk_norm = config.qk_norm
        self.joint = True
        """Whether keys and values are given as one array, with the heads of the keys first, or as two."""
        self.rope = RotaryEmbedding(config.head_dim, config.rope, config.max_position_embeddings)

    def join(self) -> None:
        """Let queries, keys and values be one product, where they are stored alike."""
        if whole := joined([self.q_proj, self.k_proj, self.v_proj]):
            self.qkv_proj = whole
            del self.q_proj, self.k_proj, self.v_proj

    def project(self, x: mx.array, offset: int | mx.array) -> tuple[mx.array, ...]:
        """Queries (batch, heads, length, head_dim), keys and values (batch, kv_heads, length, head_dim), of the tokens
        x (batch, length, hidden) from position `offset` on; keys and values as one array where they are `joint`."""
        heads = self._projected(x).reshape(*x.shape[:2], -1, self.head_dim).swapaxes(1, 2)
        turning = self.num_heads + self.num_kv_heads
        if self.qk_norm:
            queries = self.rope(self.q_norm(heads[:, : self.num_heads]), offset)
            keys = self.rope(self.k_norm(heads[:, self.num_heads : turning]), offset)
        else:
            turned = self.rope(heads[:, :turning], offset)
            queries, keys = turned[:, : self.num_heads], turned[:, self.num_heads :]
        values = heads[:, turning:]
        return (queries, mx.concatenate([keys, values], axis=1)) if self.joint else (queries, keys, values)

    def project_one(self, x: mx.array, positions: mx.array) -> tuple[mx.array, ...]:
        """The same for a single token, with few operations: what is queued costs a small model more time than what is
        computed. Each head is taken for a sequence of its own, with its position in `positions` (`positions_of`)."""
        if self.rope.magnitude != 1.0:
            return self.project(x, positions[:1])
        heads = self._projected(x).reshape(-1, 1, 1, self.head_dim)
        if self.qk_norm:
            normed = mx.fast.rms_norm(heads, None, self.q_norm.eps) * self._norms
            heads = mx.where(self._values, heads, normed)
        turned = self.rope(heads, positions).reshape(1, -1, 1, self.head_dim)
        ends = [self.num_heads] if self.joint else [self.num_heads, self.num_heads + self.num_kv_heads]
        return tuple(mx.split(turned, ends, axis=1))

    def positions_of(self, offset: mx.array) -> mx.array:
        """(heads + 2 kv_heads,): `offset` for queries and keys, and 0 for values, which turns them not at all."""
        return offset * mx.array([1] * (self.num_heads + self.num_kv_heads) + [0] * self.num_kv_heads)

    def prepare_one(self) -> None:
        """Lay out what `project_one` needs: a bias of its result's own shape, which is added by a plain kernel, where
        one to be broadcast would be compiled, at more of the host's time; of the norms a weight for each head, and
        which heads are values."""
        if "qkv_proj" in self and "bias" in self.qkv_proj:
            self.qkv_proj.bias = self.qkv_proj.bias.reshape(1, 1, -1)
            mx.eval(self.qkv_proj.bias)
        if self.qk_norm:
            kinds = (self.q_norm.weight, self.num_heads), (self.k_norm.weight, 2 * self.num_kv_heads)
            self._norms = mx.concatenate(
                [mx.broadcast_to(weight, (count, 1, 1, self.head_dim)) for weight, count in kinds]
            )
            self._values = (mx.arange(len(self._norms)) >= self.num_heads + self.num_kv_heads).reshape(-1, 1, 1, 1)
            mx.eval(self._norms, self._values)

    def _projected(self, x: mx.array) -> mx.array:
        """(batch, length, (heads + 2 kv_heads) head_dim): queries, keys and values, not turned yet."""
        if "qkv_proj" in self:
            projected: mx.array = self.qkv_proj(x)
            return projected
        return mx.concatenate([self.q_proj(x), self.k_proj(x), self.v_proj(x)], axis=-1)

    def mix(self, mixed: mx.array) -> mx.array:
        """From what attention gave each head (batch, heads, length, head_dim) to (batch, length, hidden)."""
        batch, _, length, _ = mixed.shape
        by_token = mixed if length == 1 else mixed.swapaxes(1, 2)  # with one token both lie alike
        result: mx.array = self.o_proj(by_token.reshape(batch, length, -1))
        return result


class Block(nn.Module):
    """One layer in two parts: between them its cache is written and attention looks at it."""

    def __init__(self, config: TransformerConfig, window: int | None) -> None:
        super().__init__()
        self.window = window
        self.self_attn = Attention(config)
        self.mlp = SwiGLU(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def project(self, x: mx.array, offset: int) -> tuple[mx.array, ...]:
        """What goes past attention, and the queries, keys and values that go into it."""
        normed = self.input_layernorm(x)
        return self.past(x, normed), *self.self_attn.project(normed, offset)

    def project_one(self, x: mx.array, positions: mx.array) -> tuple[mx.array, ...]:
        normed = self.input_layernorm(x)
        return self.past(x, normed), *self.self_attn.project_one(normed, positions)

    def past(self, x: mx.array, normed: mx.array) -> mx.array:
        """What is added to attention's result: the residual x, whose norm is what attention reads."""
        return x

    def finish(self, x: mx.array, mixed: mx.array) -> mx.array:
        x = x + self.self_attn.mix(mixed)
        return x + self.mlp(self.post_attention_layernorm(x))


class Backbone(nn.Module):
    """Token ids (batch, length) to normed hidden states (batch, length, hidden), or those of the `last` positions."""

    def __init__(self, config: TransformerConfig, block: type[Block] = Block) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = [block(config, window) for window in config.layer_windows]
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self._first_of = {layer.window: index for index, layer in reversed([*enumerate(self.layers)])}
        """The first layer of each window there is."""
        self._pieces: list[Piece] = []
        """What lies before, between and behind the caches of the layers, compiled; empty where nothing is to be."""

    def __call__(
        self, tokens: mx.array, caches: Sequence[AttentionCache] | None = None, last: int | None = None
    ) -> mx.array:
        masks = self._masks(tokens.shape[1], caches)
        if caches and self._pieces and tokens.size == 1:
            return self._step(tokens, masks, caches)
        x = self.embed_tokens(tokens)
        pace = Pace(tokens.shape[1])
        for index, layer in enumerate(self.layers):
            x, queries, *rows = layer.project(x, caches[index].offset if caches else 0)
            keys, values = caches[index].append(*rows) if caches else sides(rows)
            mixed = attend(queries, keys, values, masks[layer.window])
            if last is not None and layer is self.layers[-1]:
                x, mixed = x[:, -last:], mixed[:, :, -last:]  # of the others nothing is wanted any more
            x = pace(layer.finish(x, mixed))
        normed: mx.array = self.norm(x)
        return normed

    def compile(self) -> None:
        """From now on compute what lies between two caches compiled, where one token follows others.

        Weights become constants of the compiled pieces: to be asked for when they are all in their places. A whole step
        cannot be one piece: how many keys there are changes with every token.
        """
        for layer in self.layers:
            layer.self_attn.prepare_one()
        first, last = self.layers[0], self.layers[-1]

        def start(token: mx.array, offset: mx.array) -> tuple[mx.array, ...]:
            positions = first.self_attn.positions_of(offset)
            return positions, *first.project_one(self.embed_tokens(token), positions)

        def between(layer: Block, following: Block) -> Piece:
            def piece(x: mx.array, mixed: mx.array, positions: mx.array) -> tuple[mx.array, ...]:
                return following.project_one(layer.finish(x, mixed), positions)

            return mx.compile(piece)

        def end(x: mx.array, mixed: mx.array, positions: mx.array) -> tuple[mx.array, ...]:
            return (self.norm(last.finish(x, mixed)),)

        neighbours = pairwise(self.layers)
        self._pieces = [mx.compile(start), *(between(*pair) for pair in neighbours), mx.compile(end)]

    def _step(self, token: mx.array, masks: Mapping[int | None, Mask], caches: Sequence[AttentionCache]) -> mx.array:
        """The same for a token (1, 1) behind what the caches hold."""
        start, *others = self._pieces
        x: mx.array
        positions, x, *projected = start(token, mx.array(caches[0].offset))
        for piece, layer, cache in zip(others, self.layers, caches, strict=True):
            queries, *rows = projected
            x, *projected = piece(x, attend(queries, *cache.append(*rows), masks[layer.window]), positions)
        return x

    def _masks(self, length: int, caches: Sequence[AttentionCache] | None) -> dict[int | None, Mask]:
        """One mask for each window there is: layers that look equally far share it."""
        return {
            window: caches[index].make_mask(length) if caches else causal_mask(length, length, window)
            for window, index in self._first_of.items()
        }


class Model(nn.Module):
    """The whole language model, as `model.network.Network` asks for it."""

    def __init__(self, config: TransformerConfig, block: type[Block] = Block) -> None:
        super().__init__()
        self.model = Backbone(config, block)
        self.tied = bool(config.tie_word_embeddings)
        self.windows = config.layer_windows
        self.head_dim = config.head_dim
        if not self.tied:
            self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)

    def __call__(
        self, tokens: mx.array, caches: Sequence[AttentionCache] | None = None, last: int | None = None
    ) -> mx.array:
        """Logits (batch, length, vocab) for token ids (batch, length); for the `last` positions only, where asked."""
        hidden = self.model(tokens, caches, last)
        logits: mx.array = self.model.embed_tokens.as_linear(hidden) if self.tied else self.lm_head(hidden)
        return logits

    def arrange(self, choices: Choices) -> None:
        """Be computed as `choices` say. To be called once, when the weights are in their places."""
        for layer in self.model.layers:
            layer.self_attn.joint = choices.joint
        unpacked_from(self, choices.unpack)
        if choices.joined:
            for layer in self.model.layers:
                layer.self_attn.join()
                layer.mlp.join()
                mx.eval(layer.parameters())  # one after the other, so that never more than one layer is there twice
                mx.clear_cache()  # where MLX keeps freed buffers, what was joined would else stay beside all of it
        if choices.compiled:
            self.model.compile()

    def make_cache(self, options: CacheOptions) -> list[AttentionCache]:
        """A growing cache for each layer with full attention, a rotating one for each with a window."""
        packed = options.quantisation
        if packed and self.head_dim % packed.group_size:
            raise ModelError(
                f"Keys of {self.head_dim} numbers cannot be quantised in groups of {packed.group_size}; "
                "choose a group size that divides them.",
                "request",
            )

        def cache(window: int | None) -> AttentionCache:
            if window is not None:
                return RotatingCache(window, options.slack, quantisation=packed)
            if options.rolling_window is not None:
                return RotatingCache(options.rolling_window, options.slack, options.sinks, packed)
            return FullCache(packed)

        return [cache(window) for window in self.windows]
