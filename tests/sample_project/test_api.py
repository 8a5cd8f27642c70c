"""The sample project's HTTP interface: the database knows the user of each request that writes."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from alembic import command
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient, Response
from shops import configured
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.orm import Session

from alembic_enterprise.audit.history_table import history_table
from shop.api import create_app
from shop.models import Customer, Order, OrderLine

CART = {"customer_id": 1, "lines": [{"article": "tea", "quantity": 2, "price": "3.50"}]}


@pytest.fixture
def shop(database_url: str) -> Iterator[Engine]:
    """The shop's database, with one customer."""
    command.upgrade(configured(database_url), "head")
    engine = create_engine(database_url, pool_size=2, max_overflow=0)
    with Session(engine) as session:
        session.add(Customer(email="ada@example.org", name="Ada"))
        session.commit()
    yield engine
    engine.dispose()


def asked(app: FastAPI, story: Callable[[AsyncClient], Coroutine[Any, Any, None]]) -> None:
    """Run a story of a client of the application."""

    async def run() -> None:
        transport = ASGITransport(app=app)
        async with AsyncClient(transport=transport, base_url="http://shop") as client:
            await story(client)

    asyncio.run(run())


def by(user: str, request_id: str = "") -> dict[str, str]:
    return {"X-User": user} | ({"X-Request-ID": request_id} if request_id else {})


def kept(engine: Engine, model: type[Order | OrderLine] = Order) -> list[tuple[Any, ...]]:
    """What is on record of all orders: what was done, by whom, and in which context."""
    found = history_table(model).columns
    query = select(found.audit_action, found.audit_actor, found.audit_context)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(query.order_by(found.audit_id))]


CHANGES = text(
    "SELECT field, old_value, new_value, changed_by FROM audit.audit_trail "
    "WHERE \"table\" = 'public.orders' AND old_value IS DISTINCT FROM new_value "
    "AND field IN ('status', 'note') ORDER BY changed_at, field"
)


def test_an_order_is_placed_changed_and_cancelled(shop: Engine) -> None:
    async def story(client: AsyncClient) -> None:
        placed = await client.post("/orders", json=CART, headers=by("user:42", "r1"))
        assert (placed.status_code, placed.json()["status"]) == (201, "new")
        order = f"/orders/{placed.json()['id']}"
        changed = await client.patch(order, json={"note": "soon"}, headers=by("user:43", "r2"))
        assert changed.json()["note"] == "soon"
        cancelled = await client.delete(order, headers=by("clerk:7"))
        assert cancelled.json()["status"] == "cancelled"
        shown = await client.get(order, headers=by("user:42"))
        assert shown.json() == cancelled.json()

    asked(create_app(shop), story)
    assert kept(shop) == [
        ("insert", "user:42", {"source": "api", "request_id": "r1"}),
        ("update", "user:43", {"source": "api", "request_id": "r2"}),
        ("update", "clerk:7", {"source": "api"}),
    ]
    assert kept(shop, OrderLine) == kept(shop)[:1]
    with shop.connect() as connection:
        assert [tuple(row) for row in connection.execute(CHANGES)] == [
            ("status", None, "new", "user:42"),
            ("note", None, "soon", "user:43"),
            ("status", "new", "cancelled", "clerk:7"),
        ]


def test_nobody_orders(shop: Engine) -> None:
    async def story(client: AsyncClient) -> None:
        assert (await client.post("/orders", json=CART)).status_code == 401
        assert (await client.post("/orders", json=CART, headers=by(""))).status_code == 401
        assert (await client.get("/orders/5", headers=by("user:42"))).status_code == 404

    asked(create_app(shop), story)
    assert kept(shop) == []


def test_requests_at_the_same_time(shop: Engine) -> None:
    """Thirty users on two connections; each row has the user of its request."""

    async def story(client: AsyncClient) -> None:
        async def order(number: int) -> Response:
            return await client.post(
                "/orders", json=CART, headers=by(f"user:{number}", f"request {number}")
            )

        answers = await asyncio.gather(*map(order, range(30)))
        assert {answer.status_code for answer in answers} == {201}

    asked(create_app(shop), story)
    rows = kept(shop)
    assert {row[1] for row in rows} == {f"user:{number}" for number in range(30)}
    assert all(row[2]["request_id"] == row[1].replace("user:", "request ") for row in rows)
    assert sorted(row[1] for row in kept(shop, OrderLine)) == sorted(row[1] for row in rows)
