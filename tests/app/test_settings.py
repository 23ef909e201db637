"""Settings come from REALM_* variables, and what is wrong with one is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("REALM_")]:
        monkeypatch.delenv(name)


def test_defaults_bring_nothing_of_others() -> None:
    settings = Settings()
    assert (settings.database_url, settings.redis_url) == (None, None)
    assert settings.url == "http://127.0.0.1:8000"
    assert settings.artifacts == (Path.cwd() / ".realm" / "artifacts").as_uri()
    assert settings.base_models[0] == "minilm"


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REALM_BASE_MODELS", "minilm, google/flan-t5-small,")
    assert Settings().base_models == ("minilm", "google/flan-t5-small")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgres_urls_as_they_are_written_elsewhere(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("REALM_DATABASE_URL", f"{scheme}://realm:secret@db/realm?sslmode=require")
    assert Settings().database_url == "postgresql+psycopg://realm:secret@db/realm?sslmode=require"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("REALM_DATABASE_URL", "mysql://db/realm", "postgresql://"),
        ("REALM_REDIS_URL", "amqp://queue", "redis://"),
        ("REALM_PORT", "eighty", "valid integer"),
        ("REALM_PORT", "70000", "less than or equal to 65535"),
        ("REALM_LEASE_SECONDS", "0", "greater than 0"),
        ("REALM_PUBLIC_URL", "realm.example", "http:// or https://"),
    ],
)
def test_a_wrong_setting(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=said) as error:
        Settings()
    assert name.removeprefix("REALM_").lower() in str(error.value)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("fd00::1", "http://[fd00::1]:8000"),
        ("realm.lan", "http://realm.lan:8000"),
    ],
)
def test_the_url_of_a_host(monkeypatch: pytest.MonkeyPatch, host: str, url: str) -> None:
    monkeypatch.setenv("REALM_HOST", host)
    assert Settings().url == url


def test_a_public_url_ends_without_a_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REALM_PUBLIC_URL", "https://realm.example/")
    assert Settings().url == "https://realm.example"
