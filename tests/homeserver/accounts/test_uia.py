"""Sessions of user-interactive authentication; what endpoints make of them is tested with these."""

from typing import Any

import pytest

from homeserver.accounts.uia import DUMMY, PASSWORD, PASSWORD_FLOW, InteractiveAuth, Operation, Session
from homeserver.errors import BadJson, Forbidden
from tests.homeserver.accounts.house import ALICE, BOB, OPEN_SETTINGS, House, password_stage
from tests.homeserver.sync.fakes import run
from tests.storage.conftest import SynchronousDatabase

DELETE = Operation(ALICE, "DELETE", "/devices/A", b"")
TWO_STAGES = ((PASSWORD, DUMMY),)


@pytest.fixture
def house(db: SynchronousDatabase) -> House:
    house = House(db)
    house.register("alice")
    house.register("bob")
    return house


def refused(
    house: House, auth: Any, flows: Any = PASSWORD_FLOW, operation: Operation = DELETE
) -> dict[str, Any]:
    with pytest.raises(InteractiveAuth) as raised:
        run(house.uia.require(operation, auth, flows))
    assert raised.value.status == 401
    return raised.value.body()


def passed(house: House, auth: Any, flows: Any = PASSWORD_FLOW, operation: Operation = DELETE) -> Session:
    return run(house.uia.require(operation, auth, flows))


def test_without_auth_the_flows_are_told(house: House) -> None:
    answer = refused(house, None)
    assert answer["flows"] == [{"stages": [PASSWORD]}]
    assert "errcode" not in answer
    assert "completed" not in answer
    passed(house, password_stage(session=answer["session"]))


def test_one_request_is_enough_without_a_session(house: House) -> None:
    passed(house, password_stage())
    passed(house, {"type": DUMMY}, ((DUMMY,),))


def test_a_session_that_is_not_known_any_more_costs_no_attempt(house: House) -> None:
    passed(house, password_stage(session="from-before-the-restart"))


def test_a_wrong_password_can_be_tried_again(house: House) -> None:
    answer = refused(house, password_stage(password="wrong"))
    assert answer["errcode"] == "M_FORBIDDEN"
    passed(house, password_stage(session=answer["session"]))


def test_the_password_must_be_one_s_own(house: House) -> None:
    with pytest.raises(Forbidden):  # no further attempt would help
        passed(house, password_stage(BOB))


def test_completed_stages_stay_and_are_done_in_order(house: House) -> None:
    session = refused(house, {"type": DUMMY}, TWO_STAGES)["session"]
    answer = refused(house, password_stage(session=session), TWO_STAGES)
    assert answer["completed"] == [PASSWORD]
    again = refused(house, password_stage(password="wrong", session=session), TWO_STAGES)
    assert again["completed"] == [PASSWORD]
    assert "errcode" not in again
    assert refused(house, {"session": session}, TWO_STAGES)["completed"] == [PASSWORD]
    passed(house, {"type": DUMMY, "session": session}, TWO_STAGES)


def test_a_session_is_bound_to_its_operation(house: House) -> None:
    session = refused(house, None)["session"]
    change: dict[str, Any]
    for change in ({"path": "/devices/B"}, {"user_id": BOB}, {"method": "PUT"}, {"body": b"x"}):
        other = DELETE._replace(**change)
        with pytest.raises(Forbidden):
            passed(house, password_stage(session=session), operation=other)


def test_a_session_is_good_for_one_request(house: House) -> None:
    session = refused(house, None)["session"]
    passed(house, password_stage(session=session))
    answer = refused(house, {"session": session})
    assert answer["session"] != session


def test_unknown_stages_and_shapes(house: House) -> None:
    assert refused(house, {"type": "m.login.recaptcha"})["errcode"] == "M_UNRECOGNIZED"
    stages: list[Any] = [7, [], {"a": 1}, True]
    for stage in stages:
        assert refused(house, {"type": stage})["errcode"] == "M_UNRECOGNIZED"
    assert refused(house, {"type": PASSWORD})["errcode"] == "M_MISSING_PARAM"
    bad: Any
    for bad in ("text", 1, []):
        with pytest.raises(BadJson):
            passed(house, bad)


def test_a_recent_success_may_count_again(db: SynchronousDatabase) -> None:
    settings = OPEN_SETTINGS.__class__(ui_auth_session_timeout=60_000)
    house = House(db, settings)
    house.register("alice")
    run(house.uia.require(DELETE, password_stage(), token_id=7))
    run(house.uia.require(DELETE, None, token_id=7))
    for token_id in (8, 0):
        with pytest.raises(InteractiveAuth):
            run(house.uia.require(DELETE, None, token_id=token_id))
    house.clock.advance(61)
    with pytest.raises(InteractiveAuth):
        run(house.uia.require(DELETE, None, token_id=7))
