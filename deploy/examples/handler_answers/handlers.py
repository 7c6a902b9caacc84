"""Handlers that say how the flow goes on, and a carrier that takes its time."""

from __future__ import annotations

from daemon.handlers import Again, Context, End, Port, Route, handler

LIMIT = 1000


@handler("payments.charge")
async def charge(total: float) -> dict[str, float] | Port:
    """Charge the card. That it is declined is no failure, but another way to go on."""
    if total > LIMIT:
        return Port("declined", {"reason": "over the limit"})
    return {"charged": total}


@handler("carriers.label")
async def label(order: str, context: Context) -> dict[str, str | int] | Again:
    """Ask until the label is printed. What was found out so far is in `context.state`, whatever daemon asks next."""
    asked = (context.state or {"asked": 0})["asked"] + 1
    if asked < 3:  # noqa: PLR2004  this carrier prints at the third question
        return Again("200ms", {"asked": asked})
    return {"tracking": f"{order}-{asked}", "attempts": context.attempt}


@handler("customers.tell")
async def tell(ways: list[str]) -> Route:
    """Tell the customer in these ways: their names are those of the nodes that follow."""
    return Route(ways, {"ways": len(ways)})


@handler("customers.survey")
async def survey(total: float) -> str | End:
    """Ask only those who have bought for more."""
    return "worth asking" if total > LIMIT / 2 else End("not asked")
