"""Which licences are asked about before a model is fetched, and what is said of them."""

import pytest

from app.library.catalogue import catalogue
from app.library.licences import terms


@pytest.mark.parametrize(
    ("licence", "said"),
    [
        ("openpangu-model-license-agreement-version-1.0", "European Union"),
        ("OPENPANGU MODEL LICENSE 1.0", "Powered by openPangu"),
        ("cc-by-nc-4.0", "no commercial use"),
        ("qwen-research", "no commercial use"),
        ("mnpl-non-commercial", "no commercial use"),
        ("llama3.2", "conditions"),
        ("gemma", "conditions"),
        ("qwen", "conditions"),
        ("bigscience-openrail-m", "conditions"),
    ],
)
def test_a_licence_that_restricts_use_is_known_by_its_name(licence: str, said: str) -> None:
    found = terms(licence)
    assert found is not None and said in found.says


@pytest.mark.parametrize("licence", ["apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "bsd-3-clause", "other", "", None])
def test_one_that_restricts_nothing_is_not_asked_about(licence: str | None) -> None:
    assert terms(licence) is None


def test_others_words_are_shown_without_their_signs() -> None:
    found = terms("gemma\x1b[2J\n[red]" + "x" * 200)
    assert found is not None and found.licence == "gemma 2J red " + "x" * 47


def test_openpangu_keeps_its_licence_whatever_a_copy_says() -> None:
    found = terms("apache-2.0", "PanguEmbedded")
    assert found is not None and found.licence.startswith("OPENPANGU") and "European Union" in found.says


def test_who_begins_with_what_is_recommended_for_small_machines_is_asked_nothing() -> None:
    small = [offer for offer in catalogue() if offer.recommended and offer.parameters < 8e9]
    assert small and not any(terms(offer.licence, offer.config.model_type) for offer in small)
