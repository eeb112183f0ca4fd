"""A client that knows the API: people who register, list and buy."""

import json
from typing import Any, Self

from bench.load import Connection, request

PASSWORD = "Bench-1234"


class Person:
    """Somebody signed in, on a connection of their own."""

    def __init__(self, connection: Connection, token: str) -> None:
        self.connection, self.token = connection, token

    @classmethod
    async def join(cls, host: str, port: int, name: str, role: str) -> Self:
        """Register and sign in."""
        connection = await Connection.open(host, port)
        account = {"email": f"{name}@bench.example", "password": PASSWORD}
        await cls(connection, "").call("POST", "/auth/register", {**account, "name": name, "role": role})
        return await cls.sign_in(host, port, name)

    @classmethod
    async def sign_in(cls, host: str, port: int, name: str) -> Self:
        """Sign in who has registered before."""
        person = cls(await Connection.open(host, port), "")
        account = {"email": f"{name}@bench.example", "password": PASSWORD}
        person.token = (await person.call("POST", "/auth/login", account))["accessToken"]
        return person

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send and give back the JSON; raise for anything but success."""
        return await self.call_on(self.connection, method, path, body, **headers)

    async def call_on(self, connection: Connection, method: str, path: str, body: Any = None, **headers: str) -> Any:
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        content = b"" if body is None else json.dumps(body).encode()
        answer = await connection.send(request(method, path, content, Content_Type="application/json", **headers))
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.body[:300]!r}")
        return json.loads(answer.body) if answer.body else None

    async def list_product(self, title: str, **more: Any) -> str:
        """Put something on sale; give its id."""
        product = {
            "title": title,
            "description": "What it is, and what it is good for, in some eighty words. " * 6,
            "price": 9.99,
            "category": "software",
            "files": [{"name": "a.zip", "type": "application/zip", "size": 10, "url": "https://files.example/a.zip"}],
            **more,
        }
        return str((await self.call("POST", "/products", product))["id"])

    async def buy(self, connection: Connection, product_id: str) -> str:
        """Buy and wait for the end; give the order's status."""
        order = {"productId": product_id, "paymentMethodId": "pm_card_visa"}
        placed = await self.call_on(connection, "POST", "/orders", order)
        shown = await self.call_on(connection, "GET", f"/orders/{placed['orderId']}", Prefer="wait=30")
        return str(shown["status"])
