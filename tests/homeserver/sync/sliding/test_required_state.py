"""Which state a client wants: wildcards, exclusions, lazy members, and what another wish brings."""

from homeserver.sync.sliding.required_state import MEMBER, Required, StateKey, Wish

CREATE: StateKey = ("m.room.create", "")
NAME: StateKey = ("m.room.name", "")
ALICE: StateKey = (MEMBER, "@alice:here")
BOB: StateKey = (MEMBER, "@bob:here")
STATE = dict.fromkeys([CREATE, NAME, ALICE, BOB])

EVERYTHING = Wish(frozenset({(None, None)}))
LAZY = Wish(frozenset({(None, None), ALICE}), lazy=True)


def required(*wishes: Wish) -> Required:
    return Required(frozenset(wishes))


def test_wildcards() -> None:
    assert set(required(EVERYTHING).of(STATE)) == set(STATE)
    assert set(required(Wish(frozenset({(MEMBER, None)}))).of(STATE)) == {ALICE, BOB}
    assert set(required(Wish(frozenset({(None, "")}))).of(STATE)) == {CREATE, NAME}
    assert required(Wish()).of(STATE) == []


def test_exclusions() -> None:
    wish = Wish(frozenset({(None, None)}), frozenset({CREATE, (MEMBER, None)}))
    assert required(wish).of(STATE) == [NAME]
    assert set(required(wish, Wish(frozenset({CREATE}))).of(STATE)) == {NAME, CREATE}


def test_lazy_members_are_not_in_wildcards() -> None:
    assert set(required(LAZY).of(STATE)) == {CREATE, NAME, ALICE}
    assert required(LAZY).lazy
    both = required(LAZY, EVERYTHING)
    assert not both.lazy
    assert set(both.of(STATE)) == set(STATE)


def test_what_a_wider_wish_brings() -> None:
    name = required(Wish(frozenset({NAME})))
    assert set(required(EVERYTHING).of(STATE, name)) == {CREATE, ALICE, BOB}
    assert name.of(STATE, required(EVERYTHING)) == []
    assert set(required(EVERYTHING).of(STATE, required(LAZY))) == {BOB}


def test_a_wish_survives_storage_under_the_same_name() -> None:
    wish = required(LAZY, Wish(frozenset({NAME}), frozenset({(None, "x")})))
    again = Required.from_json(wish.as_json())
    assert again == wish
    assert again.name == wish.name
    assert wish.name != required(LAZY).name
