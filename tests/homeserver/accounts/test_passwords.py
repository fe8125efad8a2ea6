import pytest

from homeserver.accounts.passwords import Passwords, check, encode
from homeserver.accounts.settings import PasswordPolicy
from homeserver.errors import InvalidParam, WeakPassword
from tests.homeserver.accounts.house import run_here
from tests.homeserver.sync.fakes import run

STRICT = PasswordPolicy(enabled=True, minimum_length=8, require_digit=True, require_symbol=True)


def test_a_hash_checks_its_password_and_no_other() -> None:
    encoded = encode("sécret", 4)
    assert check("sécret", encoded)
    assert not check("secret", encoded)
    assert encode("sécret", 4) != encoded


def test_hashes_of_other_costs_are_still_understood() -> None:
    passwords = Passwords(run_here, PasswordPolicy(), log_n=4)
    assert run(passwords.matches("secret", encode("secret", 5)))


def test_no_hash_matches_nothing() -> None:
    passwords = Passwords(run_here, PasswordPolicy(), log_n=4)
    assert not run(passwords.matches("", None))


@pytest.mark.parametrize("password", ["a1!", "abcdefgh!", "abcdefgh1"])
def test_weak_passwords(password: str) -> None:
    with pytest.raises(WeakPassword):
        Passwords(run_here, STRICT).require_acceptable(password)


def test_acceptable_passwords() -> None:
    Passwords(run_here, STRICT).require_acceptable("abcdefg1!")
    for unusable in ("", "x" * 513):
        with pytest.raises(InvalidParam):
            Passwords(run_here, PasswordPolicy()).require_acceptable(unusable)
