"""The shop's HTTP interface: orders are placed, changed and cancelled on behalf of a user.

uvicorn.run(create_app(create_engine("postgresql+psycopg://localhost/shop")))
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session, sessionmaker
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from alembic_enterprise import actor, current_actor, install
from shop.models import Order, OrderLine


class ActorMiddleware:
    """Lets the database know for which user a request writes.

    The header stands for what your authentication finds out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        user, request_id = headers.get("x-user") or None, headers.get("x-request-id")
        with actor(user, request_id=request_id, source="api"):
            await self.app(scope, receive, send)


def create_app(engine: Engine) -> FastAPI:
    """The application on a database of the shop."""
    install(engine)
    app = FastAPI(title="Shop")
    app.add_middleware(ActorMiddleware)
    app.state.sessions = sessionmaker(engine)
    app.include_router(orders)
    return app


def sessions(request: Request) -> sessionmaker[Session]:
    """What makes the sessions of the application."""
    found: sessionmaker[Session] = request.app.state.sessions
    return found


def signed_in() -> None:
    """Refuse a request of nobody."""
    if current_actor().name is None:
        raise HTTPException(401, "Say who you are in the header X-User.")


Sessions = Annotated[sessionmaker[Session], Depends(sessions)]

orders = APIRouter(prefix="/orders", dependencies=[Depends(signed_in)])


class Line(BaseModel):
    article: str
    quantity: int
    price: Decimal


class Cart(BaseModel):
    """What is ordered."""

    customer_id: int
    note: str | None = None
    lines: list[Line]


class Change(BaseModel):
    """What may be changed of an order."""

    note: str | None


class Placed(BaseModel):
    """An order as it is shown."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    created_at: datetime
    customer_id: int
    status: str
    note: str | None


@orders.post("", status_code=201)
def place(cart: Cart, sessions: Sessions) -> Placed:
    """Place an order."""
    lines = [
        OrderLine(position=number, **line.model_dump()) for number, line in enumerate(cart.lines, 1)
    ]
    order = Order(customer_id=cart.customer_id, note=cart.note, lines=lines)
    with sessions.begin() as session:
        session.add(order)
        session.flush()
        return Placed.model_validate(order)


@orders.get("/{order_id}")
def show(order_id: int, sessions: Sessions) -> Placed:
    """Show an order."""
    with sessions() as session:
        return Placed.model_validate(find(session, order_id))


@orders.patch("/{order_id}")
def change(order_id: int, change: Change, sessions: Sessions) -> Placed:
    """Change what is noted on an order."""
    with sessions.begin() as session:
        order = find(session, order_id)
        order.note = change.note
        return Placed.model_validate(order)


@orders.delete("/{order_id}")
def cancel(order_id: int, sessions: Sessions) -> Placed:
    """Cancel an order, which stays in the books."""
    with sessions.begin() as session:
        order = find(session, order_id)
        order.status = "cancelled"
        return Placed.model_validate(order)


def find(session: Session, order_id: int) -> Order:
    """The order of this number."""
    order = session.scalar(select(Order).where(Order.id == order_id))
    if order is None:
        raise HTTPException(404, f"There is no order {order_id}.")
    return order
