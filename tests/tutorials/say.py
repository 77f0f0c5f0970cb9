"""A WebSocket client: say.py URL MESSAGE prints the answer."""

import asyncio
import sys

import websockets


async def main():
    async with websockets.connect(sys.argv[1]) as socket:
        await socket.send(sys.argv[2])
        print(await socket.recv())


asyncio.run(main())
