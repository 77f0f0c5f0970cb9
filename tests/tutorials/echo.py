"""A WebSocket server that says everything twice: echo.py HOST PORT."""

import asyncio
import sys

import websockets


async def echo(socket):
    async for message in socket:
        await socket.send(message + message)


async def main():
    async with websockets.serve(echo, sys.argv[1], int(sys.argv[2])):
        await asyncio.Future()


asyncio.run(main())
