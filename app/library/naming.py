"""What models are called among others, and which one is meant by what a person wrote."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from app.library.disk import shown
from app.library.records import InstalledModel


def with_unique_names(models: Sequence[InstalledModel]) -> list[InstalledModel]:
    """The same models; those that share a name get their organisation or source with it, then a number."""
    for more in (lambda model: model.repo or model.name, lambda model: f"{model.name} ({model.source})"):
        often = Counter(model.name.casefold() for model in models)
        models = [
            replace(model, name=more(model))
            if often[model.name.casefold()] > 1 and model.source != "starter"
            else model
            for model in models
        ]
    taken: Counter[str] = Counter()
    named = []
    for model in models:
        name = model.name
        while taken[name.casefold()]:
            taken[model.name.casefold()] += 1
            name = f"{model.name} {taken[model.name.casefold()]}"
        taken[name.casefold()] += 1
        named.append(replace(model, name=name))
    return named


def begins(model: InstalledModel, wanted: str) -> bool:
    """Whether its name or repository begins so; `wanted` is casefolded."""
    return model.name.casefold().startswith(wanted) or (model.repo or "").casefold().startswith(wanted)


def near(wanted: str, models: Sequence[InstalledModel]) -> str:
    """What might have been meant, as the end of a sentence."""
    from difflib import get_close_matches

    by_name = {model.name.casefold(): model for model in models}
    close = [by_name[name] for name in get_close_matches(wanted, by_name, n=3)]
    holding = [model for name, model in by_name.items() if wanted in name]
    if nearest := (close or holding)[:3]:
        return f"did you mean {names(nearest, ' or ')}?"
    if usable := [model for model in models if model.problem is None]:
        return f"choose {names(usable, ' or ')}."
    return "there are none yet; `quietly models get starter` brings one."


def names(models: Sequence[InstalledModel], last: str = " and ") -> str:
    """A list of names as a sentence has it: at most eight."""
    listed = [shown(model.name) for model in models[:8]]
    if len(models) > 8:
        listed.append(f"{len(models) - 8} more")
    return last.join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else "".join(listed) or "none"
