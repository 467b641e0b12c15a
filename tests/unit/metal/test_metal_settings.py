from pathlib import Path

import pytest

from metal.errors import SettingsError
from metal.settings import HERE, Settings


def test_without_variables_everything_is_beside_the_programme(repository: Path) -> None:
    settings = Settings.from_environment({})

    assert settings.home == repository / "examples" / "metal" == HERE
    assert settings.data == HERE / "data"
    assert settings.bucket == HERE / "data" / "uploads"
    assert settings.database_url == f"sqlite:///{HERE}/data/metal.db"
    assert settings.key_database_url == f"sqlite:///{HERE}/data/keys.db"
    assert (settings.https_port, settings.http_port) == (8443, 8080)


def test_a_server_database_keeps_the_data_keys_too() -> None:
    url = "postgresql+psycopg://metal:secret@localhost/metal"

    settings = Settings.from_environment({"DATABASE_URL": url})

    assert settings.database_url == settings.key_database_url == url


def test_each_database_has_a_bucket_of_its_own() -> None:
    usual = Settings.from_environment({})
    other = Settings.from_environment({"DATABASE_URL": "postgresql+psycopg://localhost/metal"})
    file = Settings.from_environment({"DATABASE_URL": "sqlite:///data/other.db"})

    assert len({usual.bucket, other.bucket, file.bucket}) == 3
    assert other.bucket.parent == usual.bucket.parent


def test_relative_paths_start_at_home(tmp_path: Path) -> None:
    settings = Settings.from_environment(
        {"METAL_HOME": str(tmp_path), "METAL_DATA": "kept", "DATABASE_URL": "sqlite:///a/b.db"}
    )

    assert settings.data == tmp_path.resolve() / "kept"
    assert settings.database_url == f"sqlite:///{tmp_path.resolve()}/a/b.db"


def test_urls_that_are_absolute_already_stay(tmp_path: Path) -> None:
    first = Settings.from_environment({"METAL_HOME": str(tmp_path)})

    again = Settings.from_environment({"DATABASE_URL": first.database_url})

    assert again.database_url == first.database_url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("METAL_HTTPS_PORT", "70000"),
        ("METAL_HTTPS_PORT", "-1"),
        ("METAL_HTTP_PORT", "https"),
        ("METAL_UPLOAD_LIMIT", "1.5"),
        ("METAL_KEY_STORE", "paper"),
        ("DATABASE_URL", "not a url"),
        ("DATABASE_URL", "sqlite://"),
        ("KEY_DATABASE_URL", "sqlite:///:memory:"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=r"expected .*, found"):
        Settings.from_environment({name: value})


def test_one_sqlite_file_for_both_is_refused() -> None:
    with pytest.raises(SettingsError, match="one writer"):
        Settings.from_environment({"KEY_DATABASE_URL": "sqlite:///data/metal.db"})


def test_a_refused_url_is_not_quoted() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"DATABASE_URL": "metal:hunter2@localhost"})

    assert "hunter2" not in str(caught.value)
