"""How a conversation's answers are generated: its own settings, presets, system prompts, a model's own settings."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.store import GenerationSettings, Preset, Store, SystemPrompt
from app.errors import QuietlyError

CALM = GenerationSettings(temperature=0.2, max_tokens=300, thinking=False)
SOME = st.builds(
    GenerationSettings,
    temperature=st.none() | st.floats(0, 2),
    top_k=st.none() | st.integers(0, 100),
    overflow=st.none() | st.sampled_from(["oldest", "stop", "rolling"]),
    thinking=st.none() | st.booleans(),
)


def test_a_conversation_keeps_its_settings_and_its_system_prompt(database: Path) -> None:
    with Store.open(database) as store:
        made = store.create(system_prompt="Be brief.", settings=CALM)
        other = store.create()
        store.tune(other.id, CALM)
        store.instruct(other.id, "Be kind.")
    with Store.open(database) as store:
        assert store.conversation(made.id).settings == CALM
        tuned = store.conversation(other.id)
        assert (tuned.settings, tuned.system_prompt) == (CALM, "Be kind.")
        assert tuned.updated == other.updated, "nothing was said"


def test_a_deleted_conversation_comes_back_with_its_settings(database: Path) -> None:
    with Store.open(database) as store:
        made = store.create(settings=CALM)
        store.restore(store.remove_conversation(made.id))
        assert store.conversation(made.id) == made


def test_settings_that_a_hand_broke_are_none(database: Path) -> None:
    with Store.open(database) as store:
        made = store.create(settings=CALM)
        store._connection.execute('UPDATE conversations SET settings = \'{"temperature": "hot"}\'')
        assert store.conversation(made.id).settings == GenerationSettings()


def test_what_is_kept_by_name_replaces_and_goes(database: Path) -> None:
    with Store.open(database) as store:
        store.keep_preset(Preset("Editor", "qwen", "You edit.", CALM))
        store.keep_preset(Preset("Editor", None, "You edit well.", CALM))
        store.keep_preset(Preset("cook"))
        store.keep_system_prompt(SystemPrompt("Pirate", "Arr."))
        store.keep_system_prompt(SystemPrompt("Pirate", "Arrr."))
    with Store.open(database) as store:
        assert store.presets() == [Preset("cook"), Preset("Editor", None, "You edit well.", CALM)]
        assert store.system_prompts() == [SystemPrompt("Pirate", "Arrr.")]
        store.remove_preset("cook")
        store.remove_system_prompt("Pirate")
        store.remove_system_prompt("never there")
        assert [preset.name for preset in store.presets()] == ["Editor"]
        assert store.system_prompts() == []
        with pytest.raises(QuietlyError, match="preset has no name"):
            store.keep_preset(Preset("  "))


def test_a_model_has_settings_of_its_own(database: Path) -> None:
    with Store.open(database) as store:
        assert store.model_settings("qwen") == GenerationSettings()
        store.keep_model_settings("qwen", CALM)
        assert store.model_settings("qwen") == CALM
        assert store.model_settings("other") == GenerationSettings()
        store.keep_model_settings("qwen", GenerationSettings())
        assert store.model_settings("qwen") == GenerationSettings()


@given(own=SOME, model=SOME, program=SOME)
def test_the_nearest_choice_counts(
    own: GenerationSettings, model: GenerationSettings, program: GenerationSettings
) -> None:
    layered = own.over(model).over(program)
    assert layered == own.over(model.over(program))
    assert own.over(GenerationSettings()) == own == GenerationSettings().over(own)
    for name in GenerationSettings.__struct_fields__:
        chosen = [getattr(layer, name) for layer in (own, model, program)]
        assert getattr(layered, name) == next((value for value in chosen if value is not None), None)
