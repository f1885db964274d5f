"""Makes the table that receiver.py inserts into."""

import asyncio
import os

import asyncpg

TABLE = """
CREATE TABLE deliveries (
    event text PRIMARY KEY,
    body bytea NOT NULL,
    arrived timestamptz NOT NULL DEFAULT now()
)
"""


async def main() -> None:
    # The server may still be starting.
    for _ in range(100):
        try:
            connection = await asyncpg.connect(os.environ["DATABASE"])
            break
        except asyncpg.CannotConnectNowError:
            await asyncio.sleep(0.1)
    await connection.execute(TABLE)
    await connection.close()


asyncio.run(main())
