from homeserver.protocol.room_versions import DEFAULT_ROOM_VERSION, ROOM_VERSIONS
from tests.homeserver.protocol.room import versions


def having(flag: str) -> list[str]:
    return [version.id for version in ROOM_VERSIONS.values() if getattr(version, flag)]


def test_the_feature_matrix() -> None:
    assert list(ROOM_VERSIONS) == versions(1)
    assert DEFAULT_ROOM_VERSION == "12"
    assert having("hashed_event_ids") == versions(3)
    assert having("url_safe_event_ids") == versions(4)
    assert having("enforce_key_validity") == versions(5)
    assert having("strict_json") == having("notification_levels") == versions(6)
    assert having("aliases_by_domain") == having("float_power_levels") == versions(1, 5)
    assert having("redaction_by_auth_rules") == versions(1, 2)
    assert having("knock_join_rules") == versions(7)
    assert having("restricted_join_rules") == versions(8)
    assert having("integer_power_levels") == versions(10)
    assert having("creator_is_sender") == having("redacts_in_content") == versions(11)
    assert having("strict_byte_limits") == having("redaction_keeps_signed") == versions(11)
    assert having("room_id_is_create_id") == having("creators_outrank_all") == ["12"]
    resolutions = [version.state_resolution for version in ROOM_VERSIONS.values()]
    assert resolutions == ["v1", *["v2"] * 10, "v2.1"]
