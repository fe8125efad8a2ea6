"""Push rules. https://spec.matrix.org/v1.19/client-server-api/#push-rules-api

The paths of the whole ruleset end in a slash; clients that leave it out are answered too.
"""

from typing import Annotated, Any

from homeserver.errors import BadJson, InvalidParam
from homeserver.http.endpoint import USER, Query, Request, delete, get, put
from homeserver.http.requester import Requester
from homeserver.protocol.push_rules import KINDS, Rule, current_actions
from homeserver.push.rules import check_json
from homeserver.server import Server

_ALL = "/_matrix/client/v3/pushrules"
_GLOBAL = _ALL + "/global"
_RULE = _GLOBAL + "/{kind}/{rule_id}"

_ACTIONS = ("notify", "dont_notify", "coalesce")


class Rules(Request, kw_only=True):
    pass


class OneRule(Request, kw_only=True):
    kind: str
    rule_id: str


class SetRule(OneRule, kw_only=True):
    actions: list[str | dict[str, Any]]
    conditions: list[dict[str, Any]] | None = None
    pattern: str | None = None
    before: Annotated[str | None, Query("before")] = None
    after: Annotated[str | None, Query("after")] = None


class SetEnabled(OneRule, kw_only=True):
    enabled: bool


class SetActions(OneRule, kw_only=True):
    actions: list[str | dict[str, Any]]


def _check_kind(req: OneRule) -> None:
    if req.kind not in KINDS:
        raise InvalidParam(f"The kind of a push rule is one of {', '.join(KINDS)}.")


def _checked_actions(actions: list[str | dict[str, Any]]) -> tuple[Any, ...]:
    for action in actions:
        if isinstance(action, str):
            if action not in _ACTIONS:
                raise BadJson(f"Unknown action: {action}")
        elif not isinstance(action.get("set_tweak"), str):
            raise BadJson("An action is a name, or an object with set_tweak.")
    check_json(actions)
    return current_actions(actions)


def _checked_rule(req: SetRule) -> Rule:
    _check_kind(req)
    if req.kind == "postcontent":
        raise InvalidParam("Rules of this kind are the server's only.")
    if not req.rule_id or req.rule_id.startswith("."):
        raise InvalidParam("Rule IDs beginning with a dot are for the server's default rules.")
    if "/" in req.rule_id or "\\" in req.rule_id:
        raise InvalidParam("A rule ID may not contain slashes or backslashes.")
    conditions, pattern = None, None
    if req.kind in ("override", "underride"):
        conditions = tuple(req.conditions or ())
        if not all(isinstance(condition.get("kind"), str) for condition in conditions):
            raise BadJson("Each condition needs a kind.")
        check_json(conditions)
    elif req.kind == "content":
        if req.pattern is None:
            raise BadJson("A content rule needs a pattern.")
        pattern = req.pattern
    return Rule(req.kind, req.rule_id, _checked_actions(req.actions), conditions, pattern)


@get(_ALL + "/", auth=USER, aliases=[_ALL])
async def get_push_rules(server: Server, me: Requester, req: Rules) -> dict[str, Any]:
    return server.push_rules.as_account_data(me.user_id)


@get(_GLOBAL + "/", auth=USER, aliases=[_GLOBAL])
async def get_global_push_rules(server: Server, me: Requester, req: Rules) -> dict[str, Any]:
    rules: dict[str, Any] = server.push_rules.as_account_data(me.user_id)["global"]
    return rules


@get(_RULE, auth=USER)
async def get_push_rule(server: Server, me: Requester, req: OneRule) -> dict[str, Any]:
    _check_kind(req)
    return server.push_rules.rule(me.user_id, req.kind, req.rule_id)


@put(_RULE, auth=USER, rate="push_rules")
async def set_push_rule(server: Server, me: Requester, req: SetRule) -> None:
    await server.push_rules.put(me.user_id, _checked_rule(req), before=req.before, after=req.after)


@delete(_RULE, auth=USER, rate="push_rules")
async def delete_push_rule(server: Server, me: Requester, req: OneRule) -> None:
    _check_kind(req)
    await server.push_rules.delete(me.user_id, req.kind, req.rule_id)


@get(_RULE + "/enabled", auth=USER)
async def get_enabled(server: Server, me: Requester, req: OneRule) -> dict[str, Any]:
    _check_kind(req)
    return {"enabled": server.push_rules.rule(me.user_id, req.kind, req.rule_id)["enabled"]}


@put(_RULE + "/enabled", auth=USER, rate="push_rules")
async def set_enabled(server: Server, me: Requester, req: SetEnabled) -> None:
    _check_kind(req)
    await server.push_rules.set_enabled(me.user_id, req.kind, req.rule_id, req.enabled)


@get(_RULE + "/actions", auth=USER)
async def get_actions(server: Server, me: Requester, req: OneRule) -> dict[str, Any]:
    _check_kind(req)
    return {"actions": server.push_rules.rule(me.user_id, req.kind, req.rule_id)["actions"]}


@put(_RULE + "/actions", auth=USER, rate="push_rules")
async def set_actions(server: Server, me: Requester, req: SetActions) -> None:
    _check_kind(req)
    actions = _checked_actions(req.actions)
    await server.push_rules.set_actions(me.user_id, req.kind, req.rule_id, actions)
