"""Qwen1.5, Qwen2 and Qwen2.5, with their neighbours Llama, Mistral and Qwen3: one block, told apart by its config.

Notable: RMSNorm before each part; biases on q, k and v (Qwen2), or none and a norm over each head of q and k instead
(Qwen3), or neither (Llama, Mistral); rotary positions; grouped-query attention, of which multi-head and multi-query
are the ends; SwiGLU; sliding windows on some layers and full attention on the others; a head that may be the embedding
itself. Sources: arXiv 2407.10671 and 2412.15115; the names of the weights are those of Hugging Face's checkpoints
(transformers, models/qwen2/modeling_qwen2.py).

It knows nothing of tokens as text, of sampling, or of how its weights got here.
"""

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from model.cache import CacheOptions, FullCache, LayerCache, RotatingCache
from model.config import Config
from model.errors import ModelError
from model.layers.attention import Mask, attend, causal_mask
from model.layers.feed_forward import SwiGLU
from model.layers.pacing import Pace
from model.layers.rope import RotaryEmbedding


class Attention(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.num_kv_heads = config.num_key_value_heads
        self.head_dim = config.head_dim
        query_size, kv_size = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, query_size, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, kv_size, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, kv_size, bias=config.qkv_bias)
        self.o_proj = nn.Linear(query_size, config.hidden_size, bias=config.attention_output_bias)
        if config.qk_norm:
            self.q_norm = nn.RMSNorm(config.head_dim, eps=config.rms_norm_eps)
            self.k_norm = nn.RMSNorm(config.head_dim, eps=config.rms_norm_eps)
        self.qk_norm = config.qk_norm
        self.rope = RotaryEmbedding(config.head_dim, config.rope, config.max_position_embeddings)

    def __call__(self, x: mx.array, mask: Mask, cache: LayerCache | None) -> mx.array:
        batch, length, _ = x.shape

        def heads(projected: mx.array, count: int) -> mx.array:
            return projected.reshape(batch, length, count, self.head_dim).swapaxes(1, 2)

        queries = heads(self.q_proj(x), self.num_heads)  # (batch, heads, length, head_dim)
        keys = heads(self.k_proj(x), self.num_kv_heads)
        values = heads(self.v_proj(x), self.num_kv_heads)
        if self.qk_norm:
            queries, keys = self.q_norm(queries), self.k_norm(keys)
        offset = cache.offset if cache else 0
        queries, keys = self.rope(queries, offset), self.rope(keys, offset)
        seen_keys, seen_values = cache.update_and_fetch(keys, values) if cache else (keys, values)
        mixed = attend(queries, seen_keys, seen_values, mask)
        return self.o_proj(mixed.swapaxes(1, 2).reshape(batch, length, -1))


class Block(nn.Module):
    def __init__(self, config: Config, window: int | None) -> None:
        super().__init__()
        self.window = window
        self.self_attn = Attention(config)
        self.mlp = SwiGLU(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def __call__(self, x: mx.array, mask: Mask, cache: LayerCache | None) -> mx.array:
        x = x + self.self_attn(self.input_layernorm(x), mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Backbone(nn.Module):
    """Token ids (batch, length) to normed hidden states (batch, length, hidden)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = [Block(config, window) for window in config.layer_windows]
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def __call__(self, tokens: mx.array, caches: Sequence[LayerCache] | None = None) -> mx.array:
        x = self.embed_tokens(tokens)
        masks = self._masks(tokens.shape[1], caches)
        pace = Pace(tokens.shape[1])
        for index, layer in enumerate(self.layers):
            x = pace(layer(x, masks[layer.window], caches[index] if caches else None))
        normed: mx.array = self.norm(x)
        return normed

    def _masks(self, length: int, caches: Sequence[LayerCache] | None) -> dict[int | None, Mask]:
        """One mask for each window there is: layers that look equally far share it."""
        masks: dict[int | None, Mask] = {}
        for index, layer in enumerate(self.layers):
            if layer.window not in masks:
                masks[layer.window] = (
                    caches[index].make_mask(length) if caches else causal_mask(length, length, layer.window)
                )
        return masks


class Model(nn.Module):
    """The whole language model, as `model.network.Network` asks for it."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.model = Backbone(config)
        self.tied = bool(config.tie_word_embeddings)
        self.windows = config.layer_windows
        self.head_dim = config.head_dim
        if not self.tied:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def __call__(
        self, tokens: mx.array, caches: Sequence[LayerCache] | None = None, last: int | None = None
    ) -> mx.array:
        """Logits (batch, length, vocab) for token ids (batch, length); for the `last` positions only, where asked."""
        hidden = self.model(tokens, caches)
        if last is not None:
            hidden = hidden[:, -last:]
        logits: mx.array = self.model.embed_tokens.as_linear(hidden) if self.tied else self.lm_head(hidden)
        return logits

    def make_cache(self, options: CacheOptions) -> list[LayerCache]:
        """A growing cache for each layer with full attention, a rotating one for each with a window."""
        packed = options.quantisation
        if packed and self.head_dim % packed.group_size:
            raise ModelError(
                f"Keys of {self.head_dim} numbers cannot be quantised in groups of {packed.group_size}; "
                "choose a group size that divides them.",
                "request",
            )

        def cache(window: int | None) -> LayerCache:
            if window is not None:
                return RotatingCache(window, options.slack, quantisation=packed)
            if options.rolling_window is not None:
                return RotatingCache(options.rolling_window, options.slack, options.sinks, packed)
            return FullCache(packed)

        return [cache(window) for window in self.windows]
