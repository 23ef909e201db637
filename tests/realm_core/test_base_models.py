"""Which folders a base model's name can lead to."""

from __future__ import annotations

from pathlib import Path

import pytest

from realm_core import base_models
from realm_core.base_models import BaseModelUnavailable, locate


def test_minilm_comes_out_of_its_wheel() -> None:
    folder = locate("minilm")
    assert isinstance(folder, Path)
    assert (folder / "config.json").is_file()


def test_other_weights_under_the_name_of_minilm_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    base_models._minilm_folder.cache_clear()
    monkeypatch.setattr(base_models, "_MINILM_SHA256", "0" * 64)
    with pytest.raises(BaseModelUnavailable, match="not the ones we know"):
        locate("minilm")
    base_models._minilm_folder.cache_clear()


def test_a_missing_wheel_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    base_models._minilm_folder.cache_clear()
    monkeypatch.setattr(base_models, "_MINILM_PACKAGE", "no_such_package")
    with pytest.raises(BaseModelUnavailable, match="pip install"):
        locate("minilm")
    base_models._minilm_folder.cache_clear()


def test_a_folder_of_models_dir_wins_and_a_hub_name_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    assert locate("mine", tmp_path) == tmp_path / "mine"
    assert locate("google/flan-t5-small", tmp_path) == "google/flan-t5-small"


@pytest.mark.parametrize("name", ["../secrets", "/etc", "no-such-model", "mine/../../x", ""])
def test_nothing_outside_models_dir_can_be_named(name: str, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "config.json").write_text("{}")
    with pytest.raises(BaseModelUnavailable, match="no base model"):
        locate(name, models)
