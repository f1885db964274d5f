"""FastAPI with PostgreSQL: a delivery is proven and inserted, each in a transaction of its own."""

import hmac
import json
import os
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, Request, Response

SECRET = os.environ["SECRET"].encode()
INSERT = "INSERT INTO deliveries (event, body) VALUES ($1, $2) ON CONFLICT (event) DO NOTHING"


@asynccontextmanager
async def lifespan(app: FastAPI):
    connections = int(os.environ["CONNECTIONS"])
    pool = await asyncpg.create_pool(os.environ["DATABASE"], min_size=connections, max_size=connections)
    async with pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan, openapi_url=None)


@app.get("/ready")
async def ready() -> Response:
    return Response()


@app.post("/bench/deliveries")
async def take(request: Request) -> Response:
    body = await request.body()
    expected = hmac.digest(SECRET, body, "sha256").hex()
    if not hmac.compare_digest(expected, request.headers.get("signature", "")):
        return Response(status_code=401)
    await request.app.state.pool.execute(INSERT, json.loads(body)["id"], body)
    return Response()
