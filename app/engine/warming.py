"""What a first answer would have to wait for, done behind the loading, while nobody waits. It knows no request."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.engine.limits import set_limits, usually_kept
from model.errors import ModelError

if TYPE_CHECKING:
    from model import LanguageModel


def warm_up(loaded: "LanguageModel", hurried: Callable[[], bool]) -> None:
    """Compile the template and, on a GPU, limit what MLX may wire and compile kernels, of the shapes that will come.

    These are given up as soon as somebody is `hurried`: what is still cold then is warmed by them.
    """
    import mlx.core as mx

    from model.tokenizer import Turn
    from model.weights.precision import this_device

    try:
        prompt = loaded.prompt([Turn("user", "Hello")])
    except ModelError:  # without a template, or with one that fails
        prompt = [0]
    if not this_device().gpu:
        return  # nothing is compiled on a CPU: a first answer takes it as long as a second
    weights, session = mx.get_active_memory(), loaded.session()
    session.prefill(prompt[:1])  # whoever waits: it tells what a conversation takes, and has to be compiled anyway
    set_limits(mx, weights, usually_kept(session.nbytes, len(session), loaded.traits.context))
    for _ in loaded.generation(session, prompt, loaded.traits.defaults, max_tokens=2, cancelled=hurried):
        pass
