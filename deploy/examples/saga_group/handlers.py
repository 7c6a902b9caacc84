"""Handlers of the group example."""

from __future__ import annotations

from daemon.handlers import Context, StepFailure, handler

HEAVIEST = 20


@handler("parcels.label")
async def label(parcel: str, *, context: Context) -> dict[str, str]:
    """Print a label."""
    return {"number": f"{parcel}/{context.execution_id[:8]}", "parcel": parcel}


@handler("parcels.tear_up")
async def tear_up(number: str, parcel: str) -> str:
    """Make a label worthless."""
    return f"{parcel}: {number} is void"


@handler("parcels.call_courier")
async def call_courier() -> str:
    """Order a courier."""
    return "courier 7"


@handler("parcels.send_courier_home")
async def send_courier_home(courier: str) -> str:
    """Tell the courier that there is nothing to fetch."""
    return f"{courier} went home"


@handler("parcels.weigh")
async def weigh(kilograms: float) -> float:
    """Refuse what a courier does not carry."""
    if kilograms > HEAVIEST:
        raise StepFailure(f"{kilograms} kg is more than {HEAVIEST}", code="too_heavy", retryable=False)
    return kilograms


@handler("parcels.post")
async def post(label: str, why: str) -> str:
    """Bring it to the post office."""
    return f"by post, {why}" if label else "nothing to post"
