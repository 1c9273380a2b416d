"""What holds of the generation settings, and whose choice it is."""

from hypothesis import given
from hypothesis import strategies as st

from app.fields import Field
from app.generation import GENERATION_FIELDS, GenerationSettings
from app.tuning import Layer, chosen, unchosen, with_changes

FIELDS = {field.id: field for field in GENERATION_FIELDS}


def values(field: Field) -> st.SearchStrategy[object]:
    """What can be chosen for `field`, or that nothing is."""
    match field.kind:
        case "switch":
            some: st.SearchStrategy[object] = st.booleans()
        case "choice":
            some = st.sampled_from([choice for choice, _ in field.choices])
        case "integer":
            some = st.integers(int(field.low or 0), int(field.high or 0))
        case _:
            some = st.floats(field.low, field.high)
    return st.none() | some


CHANGES = st.fixed_dictionaries({}, optional={id: values(field) for id, field in FIELDS.items()})


def test_there_is_a_field_for_each_setting() -> None:
    assert set(FIELDS) == set(GenerationSettings.__struct_fields__)


@given(CHANGES, CHANGES)
def test_changes_are_taken_over_and_the_rest_stays(
    first: dict[str, object | None], second: dict[str, object | None]
) -> None:
    settings = with_changes(with_changes(GenerationSettings(), first), second)
    assert chosen(settings) == {id: value for id, value in (first | second).items() if value is not None}


def test_what_is_no_setting_is_passed_over() -> None:
    assert with_changes(GenerationSettings(), {"system_prompt": "Be kind.", "top_k": 7}) == GenerationSettings(top_k=7)


def test_the_nearest_choice_holds_and_is_named() -> None:
    layers = (
        Layer("for all with starter", GenerationSettings(temperature=0.4)),
        Layer("the checkpoint's own", GenerationSettings(temperature=1.0, top_k=40)),
    )
    assert unchosen(FIELDS["temperature"], layers) == "0.4, for all with starter"
    assert unchosen(FIELDS["top_k"], layers) == "40, the checkpoint's own"
    assert unchosen(FIELDS["top_p"], layers) == "the checkpoint's own"
    assert unchosen(FIELDS["seed"], layers) == "another for each answer"
