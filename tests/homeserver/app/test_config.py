"""homeserver.yaml: what is read, what is refused and in which words."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from homeserver.app.config import Config, ConfigError, RateLimit, load, parse
from homeserver.app.config.declare import options_of
from homeserver.app.config.example import EXAMPLE, render
from homeserver.app.config.unused import UNUSED

ROOT = Path(__file__).parents[3]
HERE = Path("/etc/hearth")


def read(text: str) -> Config:
    loaded = parse(text, HERE)
    assert loaded.warnings == []
    return loaded.config


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, HERE)
    return str(caught.value)


def test_a_server_name_is_enough() -> None:
    config = read("server_name: example.org")
    assert config.server_name == "example.org"
    assert config.enable_registration is False
    assert config.signing_key_path == HERE / "homeserver.signing.key"
    assert config.database.args == {"database": "/etc/hearth/homeserver.db"}
    assert [listener.port for listener in config.listeners] == [8008]


def test_the_defaults_of_a_file_are_the_defaults_of_the_class() -> None:
    config, made = read("server_name: a"), Config(server_name="a")
    for option in options_of(Config):
        if not option.name.endswith("_path") and option.name != "database":
            assert getattr(config, option.name) == getattr(made, option.name)


def test_durations_and_sizes() -> None:
    config = read("server_name: a\nsession_lifetime: 2d\nmax_upload_size: 10M\n")
    assert config.session_lifetime == 2 * 86_400_000
    assert config.max_upload_size == 10 * 1024 * 1024
    assert read("server_name: a\nsession_lifetime: 1500\n").session_lifetime == 1500
    assert read("server_name: a\nsession_lifetime: null\n").session_lifetime is None


def test_a_section_given_in_part_keeps_the_rest_of_its_own_default() -> None:
    config = read("server_name: a\nrc_message: {per_second: 7}\nrc_login: {account: {burst_count: 1}}\n")
    assert config.rc_message == RateLimit(per_second=7, burst_count=100)
    assert config.rc_login.account == RateLimit(per_second=0.2, burst_count=1)
    assert config.rc_login.failed_attempts == Config(server_name="a").rc_login.failed_attempts


def test_a_bare_off_is_off() -> None:
    config = read("server_name: a\nencryption_enabled_by_default_for_room_type: off\n")
    assert config.encryption_enabled_by_default_for_room_type == "off"


def test_merged_keys_are_overridden_by_own_ones() -> None:
    text = "server_name: a\nrc_message: &slow {per_second: 1, burst_count: 2}\n"
    config = read(text + "rc_room_creation:\n  <<: *slow\n  burst_count: 3\n")
    assert config.rc_room_creation == RateLimit(per_second=1, burst_count=3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "server_name: it is missing. Add it: a host name"),
        ("server_name: 'not a name'", "line 1: server_name: 'not a name' will not do. Give a host name"),
        (
            "server_name: a\nenable_registration: please",
            "line 2: enable_registration: 'please' will not do. Give true or false.",
        ),
        ("server_name: a\n\nmax_upload_size: 5X", "line 3: max_upload_size: '5X' will not do. Give a size"),
        (
            "server_name: a\nlisteners:\n- port: 1\n- port: 70000",
            "line 4: listeners[1].port: 70000 will not do. Give a whole number.",
        ),
        ("server_name: a\nlisteners:\n  - tls: false", "line 3: listeners[0].port: it is missing"),
        ("server_name: a\nlisteners:\n- port: 1\n  tls: true", "line 4: listeners[0].tls: there is no cert"),
        (
            "server_name: a\ndatabase:\n  name: mysql",
            "line 3: database.name: 'mysql' will not do. Give one of sqlite3, psycopg2.",
        ),
        ("server_name: a\ndatabase: {name: psycopg2}", "line 2: database.args: the database has no name"),
        ("server_name: a\nserver_name: b", "line 2: server_name is given twice (first in line 1)"),
        ("server_name: a\n  b: c", "line 2: mapping values are not allowed here"),
        ("server_name: a\nregistration_requires_token: true", "line 2: registration_requires_token: registr"),
        (
            "server_name: a\nrate_limit_tiers:\n- factor: 0\n  addresses: [10.0.0.0/8, here]",
            "line 4: rate_limit_tiers[0].addresses: 'here' will not do. Give addresses such as",
        ),
        ("- a", "a list will not do"),
        ("server_name: a\nregistration_shared_secret_path: /nowhere/at/all", "line 2: registration_shared_"),
    ],
)
def test_faults_name_the_key_the_line_and_the_remedy(text: str, words: str) -> None:
    assert words in complaint(text)


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("server_name: a\nenable_registration: 5\nlog_level: LOUD\n", HERE)
    assert [problem.key for problem in caught.value.problems] == ["enable_registration", "log_level"]


def test_unknown_keys_warn_and_say_what_to_do() -> None:
    warnings = parse(
        "server_name: a\nenable_registraton: true\nrc_message: {bust_count: 1}\nxyzzy: 1", HERE
    ).warnings
    assert [(warning.key, warning.line) for warning in warnings] == [
        ("enable_registraton", 2),
        ("rc_message.bust_count", 3),
        ("xyzzy", 4),
    ]
    assert "Did you mean enable_registration?" in str(warnings[0])
    assert "Did you mean burst_count?" in str(warnings[1])


def test_options_of_synapse_without_meaning_here_are_explained() -> None:
    (warning,) = parse("server_name: a\nmacaroon_secret_key: xyz", HERE).warnings
    assert UNUSED["macaroon_secret_key"] in str(warning)
    assert not UNUSED.keys() & {option.name for option in options_of(Config)}


def test_a_secret_may_live_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush\n")
    (tmp_path / "homeserver.yaml").write_text("server_name: a\nregistration_shared_secret_path: secret\n")
    assert load(tmp_path / "homeserver.yaml").config.registration_shared_secret == "hush"


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hearth init"):
        load(tmp_path / "homeserver.yaml")


def test_the_committed_example_is_the_generated_one() -> None:
    assert (ROOT / "homeserver.yaml.example").read_text() == render(EXAMPLE), (
        "run: python -m homeserver.app.config.example > homeserver.yaml.example"
    )


def test_the_example_is_valid_and_so_is_all_it_shows() -> None:
    example = (ROOT / "homeserver.yaml.example").read_text()
    assert read(example).server_name == "example.org"
    # Behind "#", options are indented by an even number of spaces, explanations by an odd one.
    shown = re.sub(r"^#((?:  )*[^ #])", r"\1", example, flags=re.MULTILINE)
    assert read(shown).presence.enabled


def test_the_example_can_be_printed() -> None:
    command = [sys.executable, "-m", "homeserver.app.config.example"]
    assert subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout == render(
        EXAMPLE
    )


def test_options_have_an_effect_or_say_that_they_have_none_yet() -> None:
    """Read by the wiring or beside it; that `hearth check` looks at an option gives it no effect."""
    files = [path for path in (ROOT / "homeserver" / "app").glob("*.py") if path.name != "check.py"]
    files.append(ROOT / "homeserver" / "app" / "config" / "load.py")
    code = "\n".join(path.read_text() for path in files)
    for option in options_of(Config):
        assert bool(re.search(rf"\bconfig\.{option.name}\b", code)) is not option.about.planned, option.name
