#!/usr/bin/env python3
"""Why: clients that mean harm may cost neither memory without bound nor other clients' time. Prints both.

Usage: bench/hostile_load.py [BINARY] [SECONDS]. Starts BINARY (default target/release/portcullis) with its defaults on a
temporary directory, before a service of its own; lets one crowd after the other loose on it while another client asks for
/home every 3 ms for SECONDS (default 5); stops everything. Needs about 12,000 open files in each process.

The crowd and its service have one core, the gateway and whoever asks for /home the other: what counts is what a crowd costs
the gateway, not what it needs itself.
"""
import asyncio
import http.client
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from server import post, start

CORES = sorted(os.sched_getaffinity(0))
SERVED, CROWDED = CORES[0], CORES[-1]
LARGE = 16 * 1024 * 1024
HEAD = b'GET /hostile HTTP/1.1\r\nHost: x\r\n'
CONFIGURATION = """
[gateway]
# As on two cores: one worker would hold 10,000 connections and no more.
workers = 2
[gateway.upstreams]
hostile = {{ targets = ["http://{}"] }}
[[gateway.routes]]
path = "/hostile"
upstream = "hostile"
auth = "none"
"""


async def serve():
    """A service with a large answer for whoever asks for it, and patience for everybody else."""
    async def answer(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b'\r\n\r\n')
                if b'/large ' in head:
                    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % LARGE)
                    for _ in range(LARGE // 65536):
                        writer.write(bytes(65536))
                        await writer.drain()
                elif head.startswith(b'POST'):
                    await reader.read()
                else:
                    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, '127.0.0.1', 0, backlog=2048)
    print('127.0.0.1:%d' % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def measure(address, access, seconds):
    """Prints how long /home took, in milliseconds: median and p99."""
    connection, taken, until = http.client.HTTPConnection(address), [], time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        connection.request('GET', '/home', headers={'Authorization': f'Bearer {access}'})
        response = connection.getresponse()
        response.read()
        assert response.status == 200
        taken.append((time.perf_counter() - began) * 1000)
        time.sleep(0.003)
    print(json.dumps([statistics.median(taken), statistics.quantiles(taken, n=100)[98], len(taken)]))


class Crowd:
    """Clients of one kind. Each is a coroutine that begins, says so, and then goes on until it is cancelled or cut off."""

    def __init__(self, address):
        self.host, port = address.split(':')
        self.port, self.begun, self.cut, self.sent = int(port), 0, 0, 0

    async def connect(self):
        for _ in range(20):
            try:
                return await asyncio.open_connection(self.host, self.port, limit=4096)
            except OSError:
                await asyncio.sleep(0.2)
        raise OSError('no connection')

    async def idle(self):
        reader, _ = await self.ask(HEAD + b'\r\n')
        await reader.readuntil(b'\r\n\r\n')
        await self.stay(reader)

    async def silent(self):
        reader, _ = await self.ask(b'')
        await self.stay(reader)

    async def slow_reader(self):
        reader, _ = await self.ask(HEAD.replace(b'/hostile', b'/hostile/large') + b'\r\n')
        while await reader.read(1024):
            await asyncio.sleep(1)

    async def slow_head(self):
        await self.byte_by_byte(HEAD + b'X: ')

    async def slow_body(self):
        await self.byte_by_byte(b'POST /hostile HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n')

    async def header_stream(self):
        """A hundred megabytes of headers, as far as they are taken, again and again."""
        self.begun += 1
        while True:
            _, writer = await self.connect()
            writer.write(HEAD)
            try:
                for _ in range(1600):
                    writer.write(b'X-Some-Header: value\r\n' * 3000)
                    await writer.drain()
                    self.sent += 66_000
            except OSError:
                self.cut += 1
            finally:
                writer.transport.abort()

    async def panic(self):
        """A header name that is longer than names can be."""
        self.begun += 1
        while True:
            reader, writer = await self.connect()
            writer.write(HEAD + b'x' * 70_000 + b': y\r\n\r\n')
            try:
                await reader.read()
            except OSError:
                pass
            self.cut += 1
            writer.transport.abort()
            await asyncio.sleep(0.5)

    async def ask(self, request):
        reader, writer = await self.connect()
        writer.write(request)
        await writer.drain()
        self.begun += 1
        return reader, writer

    async def byte_by_byte(self, beginning):
        reader, writer = await self.ask(beginning)
        staying = asyncio.create_task(self.stay(reader))
        while not staying.done():
            writer.write(b'y')
            await asyncio.sleep(0.5)

    async def stay(self, reader):
        try:
            while await reader.read(4096):
                pass
        finally:
            self.cut += 1


async def settled(process):
    """Waits until the gateway has nothing left to do for what has begun or ended, for at most half a minute."""
    def used():
        fields = pathlib.Path(f'/proc/{process.pid}/stat').read_text().rsplit(')', 1)[1].split()
        return int(fields[11]) + int(fields[12])

    for _ in range(30):
        before = used()
        await asyncio.sleep(1)
        if used() - before <= 10:
            return


def memory(process):
    status = pathlib.Path(f'/proc/{process.pid}/status').read_text()
    return int(status.split('VmRSS:')[1].split()[0]) / 1024


async def main(binary, seconds):
    os.sched_setaffinity(0, {CROWDED})
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    service = subprocess.Popen([sys.executable, __file__, 'serve'], stdout=subprocess.PIPE, text=True)
    with tempfile.TemporaryDirectory() as data:
        configuration = pathlib.Path(data, 'portcullis.toml')
        configuration.write_text(CONFIGURATION.format(service.stdout.readline().strip()))
        os.sched_setaffinity(0, {SERVED})
        server, _, address = start(binary, data, PORTCULLIS_CONFIG=str(configuration))
        os.sched_setaffinity(0, {CROWDED})
        try:
            account = {'username': 'ada', 'email': 'ada@example.com', 'password': 'correct horse'}
            access = json.loads(post(http.client.HTTPConnection(address), '/api/auth/register', account)[1])['access']

            async def measured():
                command = ['taskset', '--cpu-list', str(SERVED), sys.executable, __file__, 'measure', address, access, str(seconds)]
                child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
                return json.loads((await child.communicate())[0])

            await measured()
            for kind, size in (('idle', 10_000), ('silent', 1000), ('slow_reader', 1000), ('slow_head', 1000),
                               ('slow_body', 1000), ('header_stream', 4), ('panic', 4)):
                await settled(server)
                alone, before = await measured(), memory(server)
                crowd = Crowd(address)
                clients = []
                for number in range(size):
                    clients.append(asyncio.create_task(getattr(crowd, kind)()))
                    if number % 200 == 199:
                        await asyncio.sleep(0.05)
                for _ in range(300):
                    if crowd.begun == size:
                        break
                    await asyncio.sleep(0.1)
                held = crowd.begun - crowd.cut
                if kind not in ('header_stream', 'panic'):
                    # Coming is work that is over soon, and what sockets and buffers hold is filled first.
                    await settled(server)
                median, p99, _ = await measured()
                during = memory(server)
                for client in clients:
                    client.cancel()
                await asyncio.gather(*clients, return_exceptions=True)
                await settled(server)
                print(f'{size:6} {kind:14} ({held} held at first, {crowd.cut} cut off, {crowd.sent / 1e6:.0f} MB taken): '
                      f'/home {alone[0]:.2f}/{alone[1]:.2f} ms alone, {median:.2f}/{p99:.2f} during (p50/p99, p99 x '
                      f'{p99 / alone[1]:.1f}); memory {before:.0f} MB before, {during:.0f} during, {memory(server):.0f} after', flush=True)
            assert server.poll() is None, 'it is gone'
        finally:
            server.terminate()
            server.wait()
            service.terminate()
            service.wait()


if sys.argv[1:2] == ['serve']:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    asyncio.run(serve())
elif sys.argv[1:2] == ['measure']:
    measure(sys.argv[2], sys.argv[3], float(sys.argv[4]))
else:
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else 'target/release/portcullis', float(sys.argv[2]) if len(sys.argv) > 2 else 5))
