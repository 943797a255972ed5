"""Opens WebSockets with the package `websockets` through the gateway at argv[1], to a service of its own on port argv[2]."""

import asyncio
import json
import sys
import time
import urllib.request

from websockets import ConnectionClosed, InvalidStatus
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

GATE = sys.argv[1]
URL = GATE.replace("http", "ws", 1) + "/ws"
PASSWORD = "correct horse"


def post(path, body, token=None):
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    request = urllib.request.Request(GATE + path, json.dumps(body).encode(), headers, method="POST")
    with urllib.request.urlopen(request) as answer:
        text = answer.read()
        return json.loads(text) if text else None


def bearer(user):
    return {"additional_headers": {"authorization": f"Bearer {user['access']}"}, "max_size": None, "proxy": None}


def offering(user, *protocols):
    return {"subprotocols": [f"bearer.{user['access']}", *protocols], "max_size": None, "proxy": None}


async def echo(socket):
    try:
        async for message in socket:
            await socket.send(message)
    except ConnectionClosed:
        pass


async def talk(socket):
    for message in ["hello", "", b"\x00\xff", "ö" * 500_000, bytes(1_000_000)]:
        await socket.send(message)
        assert await socket.recv() == message
    await socket.send(["in ", "three ", "pieces"])
    assert await socket.recv() == "in three pieces"
    await (await socket.ping())


async def is_closed(socket, code, reason):
    try:
        said = await socket.recv()
        raise AssertionError(f"it is open, and said {said!r}")
    except ConnectionClosed as closed:
        assert (closed.rcvd.code, closed.rcvd.reason) == (code, reason), closed


async def main():
    choose = lambda _, offered: "chat" if "chat" in offered else None
    async with serve(echo, "127.0.0.1", int(sys.argv[2]), select_subprotocol=choose, max_size=None):
        account = {"username": "ada", "email": "ada@example.com", "password": PASSWORD}
        await asyncio.to_thread(post, "/api/auth/register", account)
        fastest = float("inf")
        for _ in range(5):
            user = await asyncio.to_thread(post, "/api/auth/login", account)
            plain = await connect(URL, **bearer(user))
            ours = await connect(URL, **offering(user, "portcullis"))
            chat = await connect(URL, **offering(user, "chat", "portcullis"))
            assert (plain.subprotocol, ours.subprotocol, chat.subprotocol) == (None, "portcullis", "chat")
            for socket in (plain, ours, chat):
                await talk(socket)
            await asyncio.to_thread(post, "/logout", {"refresh_token": user["refresh"]}, user["access"])
            signed_out = time.perf_counter()
            for socket in (plain, ours, chat):
                await is_closed(socket, 4401, "session ended")
            fastest = min(fastest, time.perf_counter() - signed_out)
        print(f"websockets-check: signed out to three of them closed, best of 5: {fastest * 1000:.1f} ms")
        assert fastest < 0.25

        user = await asyncio.to_thread(post, "/api/auth/login", account)
        socket = await connect(URL, **bearer(user))
        began = time.perf_counter()
        await socket.close(4000, "enough")
        assert (socket.close_code, socket.close_reason) == (4000, "enough")
        assert time.perf_counter() - began < 1, "the gateway closes the connection at once"
        for refused in ({"proxy": None}, {"proxy": None, "subprotocols": ["bearer.x", "portcullis"]}):
            try:
                await connect(URL, **refused)
                raise AssertionError("it was opened without a token")
            except InvalidStatus as error:
                assert error.response.status_code == 401, error
    print("websockets-check: passed")


asyncio.run(main())
