"""What PanGu-π adds to a Llama block, as its config.json describes it (arXiv 2312.17276).

The paper gives the two modules and leaves some of their shape open. Each choice it leaves is a field here; its default
is the reading that the golden vectors were computed by (tests/golden/README.md).
"""

from dataclasses import dataclass
from typing import Literal, TypeVar, cast, get_args

from model.config.fields import Fields, show
from model.errors import ModelError

ShortcutInput = Literal["normed", "residual"]
ShortcutAct = Literal["gelu", "silu", "relu"]
SeriesShape = Literal["unit", "scalar", "projection"]
_Choice = TypeVar("_Choice", bound=str)


@dataclass(frozen=True, slots=True)
class PanguPi:
    """The augmented shortcuts beside attention, and the series of activations in the feed-forward."""

    num_shortcuts: int = 1
    """T of eq. 4, which the paper does not state for its models. 0: attention and the residual alone, as in Llama."""
    shortcut_reduction: int = 32
    """r: a shortcut goes from hidden_size to hidden_size / r and back (table 3 settles for 32)."""
    shortcut_act: ShortcutAct = "gelu"
    """Between the two; "e.g., GeLU", which is here the exact one."""
    shortcut_input: ShortcutInput = "normed"
    """What a shortcut reads: what attention reads, as in the shortcuts' first paper (arXiv 2106.15941), or what the
    residual carries. Eq. 4 has no norm in it."""
    num_series_activations: int = 2
    """n of eq. 7 (table 2 settles for 2). Each of them is SiLU, the gate's own in Llama."""
    series_shape: SeriesShape = "unit"
    """a_i and b_i of eq. 7: a number for each unit of the feed-forward, or one for all; or, as eq. 9 is written, a
    projection W_1i of its own for each activation instead, which takes n times the gate's parameters."""

    def shortcut_size(self, hidden_size: int) -> int:
        """Numbers between the two maps of a shortcut."""
        return hidden_size // self.shortcut_reduction

    def gate_size(self, intermediate_size: int) -> int:
        """Outputs of the gate's projection."""
        return intermediate_size * (self.num_series_activations if self.series_shape == "projection" else 1)

    def series_size(self, intermediate_size: int) -> int:
        """Of how many numbers each a_i is, and each b_i; 0 where there are none."""
        return {"unit": intermediate_size, "scalar": 1, "projection": 0}[self.series_shape]


def parse_pangu(read: Fields, hidden_size: int) -> PanguPi:
    """The fields of a "pangu_pi" model. ModelError as in `parse_config`."""
    usual = PanguPi()
    pangu = PanguPi(
        num_shortcuts=read.integer("num_shortcuts", usual.num_shortcuts, least=0, most=64),
        shortcut_reduction=read.integer("shortcut_reduction", usual.shortcut_reduction, least=1, most=1 << 18),
        shortcut_act=_choice(read, "shortcut_act", usual.shortcut_act, get_args(ShortcutAct)),
        shortcut_input=_choice(read, "shortcut_input", usual.shortcut_input, get_args(ShortcutInput)),
        num_series_activations=read.integer("num_series_activations", usual.num_series_activations, least=1, most=64),
        series_shape=_choice(read, "series_shape", usual.series_shape, get_args(SeriesShape)),
    )
    if pangu.num_shortcuts and hidden_size % pangu.shortcut_reduction:
        read.refuse(
            "shortcut_reduction",
            f"it must divide the hidden_size, {hidden_size}",
            value=pangu.shortcut_reduction,
        )
    return pangu


def _choice(read: Fields, key: str, absent: _Choice, known: tuple[str, ...]) -> _Choice:
    value = read.text(key)
    if value is not None and value not in known:
        raise ModelError(
            f"{read.name}: {read.label(key)} is {show(value)}, which is not known here; {', '.join(known)} are.",
            "unsupported",
        )
    return cast(_Choice, value or absent)
