"""A loaded language model: what a caller holds after `model.load`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import mlx.core as mx

from model.cache import CacheOptions, KVQuantisation
from model.choices import Choices
from model.config import UNBOUNDED
from model.embeddings import Embeddings
from model.errors import ModelError
from model.generation import THINK_CLOSE, THINK_OPEN, Generation, TextFlow, Token
from model.lookahead import Costs, Drafter, Drafts, Gate, Lookahead, Lookup
from model.network import Network
from model.sampling import Alternatives, Past, Sampling, explain
from model.session import Progress, Session, SessionOptions
from model.tokenizer import Tokenizer, Turn


@dataclass(frozen=True)
class Traits:
    """What is known about a loaded checkpoint beside its weights."""

    name: str
    path: Path
    architecture: str
    implementation: str
    """"quietly" or "mlx-lm": whose code runs it."""
    fingerprint: str
    """Changes whenever weights, configuration or tokenizer change."""
    parameters: int
    bits: float | None
    """Bits a weight as stored; None where they are not quantised."""
    vocabulary: int
    """Rows of the logits that stand for a token; the others are padding."""
    context: int
    """Tokens it can hold; `model.config.UNBOUNDED` where there is no limit."""
    trained: int
    """Tokens of the longest texts that it was trained on."""
    choices: Choices
    """How it is computed, where there is more than one way."""
    defaults: Sampling
    """The checkpoint's own generation defaults."""
    stops: tuple[str, ...] = ()
    """Texts that end an answer of this model, whatever else does."""
    notes: tuple[str, ...] = ()
    """What a person should know about how it runs, a sentence each."""


@dataclass(frozen=True)
class Opening:
    """All that stands before the next token: a prompt, and what the answer behind it has already."""

    prompt: list[int]
    """Up to where the answer begins."""
    begun: list[int]
    """Of an answer that is to go on."""
    thinking: bool
    """Whether the prompt has opened reasoning."""

    @property
    def tokens(self) -> list[int]:
        return [*self.prompt, *self.begun]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.begun)


class LanguageModel:
    """Tokens or text in, tokens or text out. Belongs to the thread that loaded it."""

    def __init__(self, network: Network, traits: Traits, tokenizer: Tokenizer | None) -> None:
        self.traits = traits
        self.network = network
        self._tokenizer = tokenizer
        self._lookup_costs, self._drafter_costs = Costs(), Costs()

    @property
    def ends(self) -> frozenset[int]:
        """Ids that end an answer; none where there is no tokenizer to say so."""
        return self._tokenizer.eos_ids if self._tokenizer else frozenset()

    @cached_property
    def uncounted(self) -> frozenset[int]:
        """Digits and spaces: that they come again is no repetition. RWKV's own sampler (the package rwkv,
        PIPELINE.generate) takes for them what stands anywhere in this row, numbers that go up by ones included."""
        row = " \t0123456789"
        parts = {row[start:end] for start, end in combinations(range(len(row) + 1), 2)}
        alone = map(self._tokenizer.encode_plain, sorted(parts)) if self._tokenizer else ()
        return frozenset(ids[0] for ids in alone if len(ids) == 1)

    @property
    def tokenizer(self) -> Tokenizer:
        """ModelError where the checkpoint's folder has none."""
        if self._tokenizer is None:
            raise ModelError(
                f"{self.traits.name} has no tokenizer.json, so it speaks tokens only; add the one it was trained with.",
                "request",
            )
        return self._tokenizer

    @cached_property
    def embeddings(self) -> Embeddings:
        """The matrix that tokens are looked up in. ModelError("unsupported") where the architecture hides it."""
        return Embeddings(self.network, self.traits.name, self.traits.vocabulary)

    def logits(self, tokens: mx.array, attention_mask: mx.array | None = None) -> mx.array:
        """Logits, float32, without any cache: (L,) -> (L, vocab), or (B, L) -> (B, L, vocab).

        `tokens` are ids that the model has rows for; all rows of its head are returned, padding ones included.
        `attention_mask`, of the shape of `tokens`, is 1 for tokens and 0 for padding, wherever it is: each row's tokens
        get what they would get alone, and the rows of padding are zeros. ModelError("request") for a mask of another
        shape.
        """
        if attention_mask is not None and attention_mask.shape != tokens.shape:
            raise ModelError(
                f"The attention mask has the shape {list(attention_mask.shape)} and the tokens {list(tokens.shape)}; "
                "give one number a token.",
                "request",
            )
        if tokens.ndim == 1:
            mask = attention_mask[None] if attention_mask is not None else None
            return self.logits(tokens[None], mask)[0]
        if attention_mask is None:
            return self.network(tokens).astype(mx.float32)
        real = attention_mask.astype(mx.bool_)
        # Tokens first, padding behind: no causal model looks ahead, so that nothing sees padding, whatever the layers.
        order = mx.argsort(mx.where(real, 0, 1) * tokens.shape[1] + mx.arange(tokens.shape[1]), axis=1)
        compact = self.network(mx.take_along_axis(tokens, order, axis=1)).astype(mx.float32)
        back = mx.argsort(order, axis=1)[..., None]
        return mx.where(real[..., None], mx.take_along_axis(compact, back, axis=1), 0.0)

    def session(
        self,
        context: int | None = None,
        *,
        rolling: bool = False,
        quantisation: KVQuantisation | None = None,
    ) -> Session:
        """A conversation's live state. See `options`."""
        return self.session_with(self.options(context, rolling=rolling, quantisation=quantisation))

    def options(
        self,
        context: int | None = None,
        *,
        rolling: bool = False,
        quantisation: KVQuantisation | None = None,
    ) -> SessionOptions:
        """How a session is to read and keep. `context`: tokens it may hold, at most and by default what was trained.

        For the advanced: with `rolling`, a full context forgets its oldest tokens but the first few, and the
        conversation goes on up to the trained length; a state of one size, which fills never, does so by itself.
        `quantisation` keeps keys and values in fewer bits. ModelError("request") for a context that holds nothing.
        """
        if context is not None and context < 1:
            raise ModelError(f"A context of {context} tokens holds nothing; choose a larger one.", "request")
        held = min(context or self.traits.context, self.traits.context)
        caches = CacheOptions(quantisation, held if rolling and self.traits.context < UNBOUNDED else None)
        chosen = self.traits.choices
        return SessionOptions(self.traits.context if rolling else held, chosen.chunk, caches)

    def session_with(self, options: SessionOptions) -> Session:
        """A session by exactly these options; `options` is the way to find good ones."""
        return Session(self.network, options, self.traits.fingerprint)

    def generate(
        self,
        tokens: Sequence[int],
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        *,
        session: Session | None = None,
    ) -> Iterator[Token]:
        """The simple way: the tokens that follow `tokens`, greedily unless `sampling` says otherwise.

        Ends with the token that ends an answer, after `max_tokens`, or when the context is full. A checkpoint without
        a tokenizer gives tokens without text, and then none of them ends the answer. ModelError("request") for ids
        that are no tokens, ModelError("context") for more than the session holds.
        """
        return iter(
            self.generation(
                self.session() if session is None else session,
                tokens,
                sampling or Sampling(temperature=0),
                max_tokens=max_tokens,
            )
        )

    def generation(
        self,
        session: Session,
        tokens: Sequence[int],
        sampling: Sampling,
        *,
        begun: Sequence[int] = (),
        max_tokens: int | None = None,
        stops: Sequence[str] = (),
        thinking: bool = False,
        progress: Progress = lambda done, total: None,
        cancelled: Callable[[], bool] = lambda: False,
        lookahead: bool = False,
        drafter: Session | None = None,
    ) -> Generation:
        """An answer to be iterated, with all that can be known and steered. See `Generation` and `TextFlow`.

        Without `max_tokens` an answer may fill the context; where that has no limit, it ends after as many tokens as
        the model has been trained on.

        Faster, and the same: `lookahead` guesses from what was said before, `drafter` is the same conversation's
        session over a smaller model that guesses, one that `check_drafter` lets pass.
        """
        self.check(tokens)
        self.check(begun)
        return Generation(
            session,
            tokens,
            sampling,
            begun=begun,
            vocabulary=self.traits.vocabulary,
            uncounted=self.uncounted,
            ends=self.ends,
            flow=self._flow(tokens, stops, thinking),
            max_tokens=self._at_most(max_tokens),
            progress=progress,
            cancelled=cancelled,
            lookahead=self._lookahead(lookahead, drafter),
        )

    def _flow(self, prompt: Sequence[int], stops: Sequence[str], thinking: bool) -> TextFlow | None:
        if self._tokenizer is None:
            return None
        return TextFlow(self._tokenizer, [*stops, *self.traits.stops], thinking, self._tokenizer.lead(prompt))

    def _at_most(self, max_tokens: int | None) -> int | None:
        """How many tokens an answer may have: where no context ends one, as many as the longest text it has learnt."""
        return self.traits.trained if max_tokens is None and self.traits.context == UNBOUNDED else max_tokens

    def _lookahead(self, lookup: bool, drafter: Session | None) -> Lookahead:
        sources: list[tuple[Drafts, Gate]] = []
        if lookup:
            sources.append((Lookup(), Gate(self._lookup_costs)))
        if drafter is not None:
            sources.append((Drafter(drafter, self.traits.vocabulary), Gate(self._drafter_costs)))
        return Lookahead(sources)

    def check_drafter(self, other: "LanguageModel") -> None:
        """ModelError("request") where `other` cannot guess for this one: it has other tokens, or cannot go back."""
        if self._tokenizer is None or other._tokenizer is None or not self._tokenizer.same_tokens(other._tokenizer):
            raise ModelError(
                f"{other.traits.name} cannot draft for {self.traits.name}: their vocabularies differ; "
                "choose a smaller model of the same family.",
                "request",
            )
        if not other.session().takes_back:
            raise ModelError(
                f"{other.traits.name} cannot draft: what it keeps of a conversation cannot go back by a few tokens; "
                "choose another model.",
                "request",
            )

    def check(self, tokens: Sequence[int]) -> None:
        """ModelError("request") where one of `tokens` is none of this model's: MLX would read beyond its weights."""
        if (stranger := next((token for token in tokens if not 0 <= token < self.traits.vocabulary), None)) is not None:
            raise ModelError(
                f"Token {stranger} is not one of {self.traits.name}'s {self.traits.vocabulary:,}.", "request"
            )

    def can_choose_thinking(self) -> bool:
        """Whether the checkpoint's template can be asked to let the model reason before it answers, and not to."""
        return self._tokenizer is not None and self._tokenizer.can_choose_thinking()

    def prompt(self, messages: Sequence[Turn], thinking: bool | None = None) -> list[int]:
        """The conversation in the checkpoint's own template, up to where the answer begins.

        `thinking`: whether the model is to reason first; None, or a template that knows no such choice, leaves it be.
        """
        return self.tokenizer.prompt(messages, thinking=thinking)

    def opening(self, messages: Sequence[Turn], thinking: bool | None = None) -> Opening:
        """The same for a conversation that may end with an answer which is to go on.

        Such an answer goes on from its exact tokens where they are known, else from its text, read as a person's.
        Where the template has opened reasoning, which a text is not, that is closed before it. `thinking` as in
        `prompt`.
        """
        if not messages or messages[-1].role != "assistant":
            prompt = self.prompt(messages, thinking)
            return Opening(prompt, [], self.opens_reasoning(prompt))
        answer = self.tokenizer.tidied(messages[-1])
        prompt = self.prompt(messages[:-1], thinking)
        opened = self.opens_reasoning(prompt)
        if answer.token_ids is not None:
            return Opening(prompt, list(answer.token_ids), opened)
        if opened and answer.content:
            begun = self.tokenizer.encode_control(self._closing(prompt)) + self.tokenizer.encode_plain(answer.content)
        else:
            lead = self.tokenizer.lead(prompt) if answer.content else ""
            begun = self.tokenizer.encode_plain(lead + answer.content)
        return Opening(prompt, begun, opened)

    def _closing(self, prompt: Sequence[int]) -> str:
        """What a model writes that has opened its reasoning and has nothing to say there."""
        lead = self.tokenizer.lead(prompt)
        begun = self.tokenizer.decode(prompt[-1:], skip_special=False) + lead
        return lead + ("\n" if begun.endswith("\n") else "\n\n") + THINK_CLOSE + "\n\n"

    def alternatives(
        self,
        session: Session,
        tokens: Sequence[int],
        chosen: int,
        sampling: Sampling,
        *,
        answered: int = 0,
        progress: Progress = lambda done, total: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Alternatives:
        """What could have followed `tokens`, the last `answered` of an answer, where `chosen` did.

        Errors, and Cancelled, as in `Session.prefill`.
        """
        self.check(tokens)
        self.check([chosen])
        logits = session.prefill(tokens, progress, cancelled)
        return explain(logits, Past.of(sampling, self.traits.vocabulary, tokens, answered, self.uncounted), chosen)

    def opens_reasoning(self, prompt: Sequence[int]) -> bool:
        """Whether a prompt of this model ends inside reasoning that the template has opened."""
        said = self.tokenizer.decode(prompt[-8:], skip_special=False) + self.tokenizer.lead(prompt)
        return said.rstrip().endswith(THINK_OPEN)

    def sampling(self, chosen: Mapping[str, Any]) -> Sampling:
        """The checkpoint's defaults with what was `chosen` over them, by `Sampling`'s names; None is not chosen."""
        return replace(self.traits.defaults, **{name: value for name, value in chosen.items() if value is not None})
