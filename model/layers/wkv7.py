"""The recurrence of RWKV-7 (arXiv 2503.14456, eq. 16 and 17), one token at a time or many at once.

A head remembers in a matrix S of values by keys. Each token lets it decay, takes out a share of what stands under one
key and puts in what is to stand under another: S = S diag(w) - (S key) (rate * key)^T + v k^T, and reads y = S r. For
many tokens the same is written as products of matrices (the WY form of such updates): within a chunk the tokens see
each other by a triangular system, and what a chunk does to the state is one matrix and one addend, so that only these
have to follow each other.

All of it is float32, whatever the model computes in: the state adds up over thousands of tokens. It knows no weights.
"""

import mlx.core as mx

from model.compiling import on_gpu
from model.layers.pacing import Pace
from model.layers.powers import exp

CHUNK = 16
"""Tokens of a chunk. Its triangular system is inverted by a product of powers, which equal tokens make grow: exact to
1e-4 at worst for 16 of them, wrong by 1e4 for 32. In it the strongest decay is e^-9.7, whose inverse is no large number
yet."""
AT_ONCE = 1024
"""Tokens that are scanned at once, which takes forty times what their hidden states do."""
_IN_TURN = 8
"""Chunks up to which each waits for the one before it; more are taken by pairs."""
_TOKENS = range(CHUNK)
_ONE = mx.array([[float(key == query) for key in _TOKENS] for query in _TOKENS])
_SEEN = mx.array(
    [[float(key < query) for key in (*_TOKENS, *_TOKENS)] for query in _TOKENS]
    + [[float(key <= query) for key in (*_TOKENS, *_TOKENS)] for query in _TOKENS]
)
"""(2 CHUNK, 2 CHUNK): a token takes out of what earlier ones wrote, and reads what it has written itself too. Written
out, so that nothing is left to be computed by the thread that happens to import this."""


def step(
    state: mx.array, r: mx.array, log_w: mx.array, k: mx.array, v: mx.array, key: mx.array, rate: mx.array
) -> tuple[mx.array, mx.array]:
    """What a token reads (batch, 1, heads, head_dim), and the state after it (batch, heads, values, keys).

    `state` is the one before it. The others have the shape of the first: by what it reads, the logarithm of the decay,
    under what it puts in what, under what it takes out, a key of length 1, and which share of that, between 0 and 1.
    """

    def row(x: mx.array) -> mx.array:
        return x.swapaxes(1, 2)

    def column(x: mx.array) -> mx.array:
        return x.reshape(*state.shape[:3], 1)

    removed = state @ column(key)
    state = state * row(mx.exp(log_w)) - removed * row(key * rate) + column(v) * row(k)
    return (state @ column(r)).reshape(r.shape), state


def scan(
    state: mx.array, r: mx.array, log_w: mx.array, k: mx.array, v: mx.array, key: mx.array, rate: mx.array
) -> tuple[mx.array, mx.array]:
    """The same for many tokens: what they read (batch, length, heads, head_dim), and the state after the last.

    `log_w` lies between -0.61 and 0.
    """
    reads, pace = [], Pace(AT_ONCE)
    for start in range(0, r.shape[1], AT_ONCE):
        read, state = _scanned(state, *(part[:, start : start + AT_ONCE] for part in (r, log_w, k, v, key, rate)))
        reads.append(pace(read, state))
    return mx.concatenate(reads, axis=1), state


def _scanned(
    state: mx.array, r: mx.array, log_w: mx.array, k: mx.array, v: mx.array, key: mx.array, rate: mx.array
) -> tuple[mx.array, mx.array]:
    batch, length, heads, dim = r.shape
    spare = -length % CHUNK

    def chunks(x: mx.array) -> mx.array:
        """(batch, chunks, tokens, heads, head_dim); behind the last token stand some that do nothing."""
        if spare:
            x = mx.pad(x, [(0, 0), (0, spare), (0, 0), (0, 0)])
        return x.reshape(batch, -1, CHUNK, heads, dim)

    def by_head(*parts: mx.array) -> mx.array:
        """(chunks, batch, heads, tokens, head_dim), the tokens of one part behind those of the other."""
        return mx.concatenate([part.transpose(1, 0, 3, 2, 4) for part in parts], axis=-2)

    log_w = chunks(log_w)
    faded = mx.cumsum(log_w, axis=2)
    weighed = on_gpu(_weighed, otherwise=_weighed)(faded, log_w, *(chunks(x) for x in (r, k, key, rate)))
    reading, writing, values = by_head(*weighed[:2]), by_head(*weighed[2:]), by_head(chunks(v))
    kept = exp(faded[:, :, -1:]).transpose(1, 0, 3, 2, 4)  # (chunks, batch, heads, 1, keys)

    seen = reading @ writing.swapaxes(-1, -2) * _SEEN
    removals, puts = seen[..., :CHUNK], seen[..., CHUNK:]
    # By which matrix the state before the chunk is read, and beside it what is read of the chunk's own tokens.
    read = mx.concatenate([reading, puts @ values], axis=-1)
    removed = _inverse(removals[..., :CHUNK, :]) @ read[..., :CHUNK, :]
    read = mx.addmm(read[..., CHUNK:, :], removals[..., CHUNK:, :], removed)

    writing = writing * kept
    moved = removed.swapaxes(-1, -2) @ writing[..., :CHUNK, :]
    put = mx.addmm(moved[..., dim:, :], values.swapaxes(-1, -2), writing[..., CHUNK:, :])
    before_each, state = _states(state, kept, moved[..., :dim, :], put)
    y = mx.addmm(read[..., dim:], read[..., :dim], before_each.swapaxes(-1, -2))
    return y.transpose(1, 0, 3, 2, 4).reshape(batch, -1, heads, dim)[:, :length], state


def _weighed(
    faded: mx.array, log_w: mx.array, r: mx.array, k: mx.array, key: mx.array, rate: mx.array
) -> tuple[mx.array, ...]:
    """By what the chunk's tokens take out and read as if the state before it had not faded since, and what they write
    by the same measure: what is taken out, with its sign, and what is put in.

    All are (batch, chunks, tokens, heads, head_dim); `faded` is the sum of `log_w` up to each token of its chunk.
    """
    decay = exp(faded)
    return -key * exp(faded - log_w), r * decay, key * rate / decay, k / decay


def _states(state: mx.array, kept: mx.array, moved: mx.array, put: mx.array) -> tuple[mx.array, mx.array]:
    """The states before each chunk (chunks, batch, heads, values, keys), and the one after the last.

    `kept` is (chunks, batch, heads, 1, keys), `moved` (..., keys, keys) and `put` (..., values, keys): a chunk makes
    S kept + S moved + put of S. So do two of them, one after the other.
    """
    count = len(kept)
    if count <= _IN_TURN:
        states = [state]
        for each in zip(kept, moved, put, strict=True):
            states.append(_after(states[-1], *each))
        return mx.stack(states[:-1]), states[-1]
    first, second = slice(0, count - 1, 2), slice(1, count, 2)
    rows = kept[first].swapaxes(-1, -2)
    both_moved = mx.addmm(moved[first] * kept[second] + rows * moved[second], moved[first], moved[second])
    both_put = _after(put[first], kept[second], moved[second], put[second])
    before_first, last = _states(state, kept[first] * kept[second], both_moved, both_put)
    before_second = _after(before_first, kept[first], moved[first], put[first])
    before_each = mx.stack([before_first, before_second], axis=1).reshape(-1, *state.shape)
    if count % 2:
        return mx.concatenate([before_each, last[None]]), _after(last, kept[-1], moved[-1], put[-1])
    return before_each, last


def _after(state: mx.array, kept: mx.array, moved: mx.array, put: mx.array) -> mx.array:
    return mx.addmm(state * kept + put, state, moved)


def _inverse(lower: mx.array) -> mx.array:
    """(1 - A)^-1 of a strictly lower A, CHUNK wide: (1 + A)(1 + A^2)(1 + A^4)..., whose further powers are 0."""
    inverse, power, reach = lower + _ONE, lower, 2
    while reach < CHUNK:
        power = power @ power
        inverse = mx.addmm(inverse, inverse, power)
        reach *= 2
    return inverse
