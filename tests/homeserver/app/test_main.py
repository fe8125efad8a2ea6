"""The command line."""

from pathlib import Path

import pytest

from homeserver.app.main import main
from homeserver.app.welcome import welcome


def test_init_then_db(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "localhost", "-d", str(tmp_path)]) == 0
    config = str(tmp_path / "homeserver.yaml")
    assert main(["db", "status", "-c", config]) == 0
    assert main(["db", "upgrade", "-c", config]) == 0
    assert "hearth run -c" in capsys.readouterr().out


def test_a_fault_in_the_configuration_ends_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "homeserver.yaml"
    config.write_text("server_name: 5 5\n")
    for command in (["run"], ["check"], ["register-user"], ["db", "status"], ["db", "upgrade"]):
        assert main([*command, "-c", str(config)]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("line 1: server_name") == 4
    assert captured.out.count("line 1: server_name") == 1


def test_unknown_keys_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "homeserver.yaml"
    config.write_text("server_name: a\nform_secret: x\n")
    assert main(["db", "status", "-c", str(config)]) == 0
    assert "line 2: form_secret: it has no effect" in capsys.readouterr().err


def test_the_welcome_names_the_url_and_the_way_to_an_account(tmp_path: Path) -> None:
    from homeserver.app.config import Config, Listener

    config = Config(server_name="a", enable_registration=True, listeners=(Listener(port=1234),))
    text = welcome(tmp_path, config)
    assert "http://127.0.0.1:1234" in text
    assert "Create account" in text
    assert "Create account" not in welcome(tmp_path, Config(server_name="a"))
