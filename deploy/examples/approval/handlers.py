"""The bank, and a way to tell people."""

from __future__ import annotations

from typing import Any

from daemon.handlers import Context, handler


@handler("bank.pay")
async def pay(amount: float, decided: dict[str, Any]) -> dict[str, Any]:
    """Pay. Small amounts nobody was asked about."""
    return {"paid": amount, "by": decided.get("by", []), "cost_centre": (decided.get("data") or {}).get("cost_centre")}


@handler("chat.tell")
async def tell(to: str, notice: dict[str, Any], context: Context) -> None:
    """Tell somebody. `notice` has the prompt, the kind (request, reminder, …), and a link where those are set up."""
    context.logger.info("told", to=to, what=notice["prompt"], kind=notice["kind"], link=notice["link"])
