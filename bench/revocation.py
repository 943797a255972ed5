#!/usr/bin/env python3
"""Why: a logout has to be known at every gateway at once. Prints how long after it the first refusal comes.

Usage: bench/revocation.py [BINARY] [REVOCATIONS] [RATE]. Starts BINARY (default target/release/portcullis) as two gateways,
home, identity and token on a temporary directory and loopback ports; with `scripts/servers run` before it, on Redis, with
two token services and a gateway at each. While each gateway answers RATE (default 1500) other requests a second, REVOCATIONS
(default 1000) people log out one after another, and a process at each gateway asks with the token in question every 0.3 ms.
Then a tenth as many do who have a WebSocket, a service's stream of events and one of /api/auth/events open at each gateway,
until all of these are closed.
Needs the load client: cargo build --release --manifest-path bench/load/Cargo.toml --target-dir target/bench/load, or its
path in BENCH_LOAD.
"""
import base64
import contextlib
import hashlib
import http.client
import json
import multiprocessing
import os
import pathlib
import secrets
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

from server import post

LOAD = os.environ.get('BENCH_LOAD', 'target/bench/load/release/portcullis-bench-load')
PAUSE = 0.0003
PATIENCE = 10
USERS = 50
# Nobody has the role: the gateway itself says 403 to whoever is signed in, and 401 to whoever is not any more.
CONFIGURATION = """
[[gateway.routes]]
path = "/probe"
upstream = "home"
roles = ["nobody"]
[[gateway.routes]]
path = "/open"
upstream = "open"
[gateway.upstreams.open]
targets = ["http://{}"]
"""
STREAMS = {'WebSocket': '/open/socket', 'stream of a service': '/open/stream', '/api/auth/events': '/api/auth/events'}


def free_ports(count):
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(('127.0.0.1', 0))
        return [each.getsockname()[1] for each in sockets]


class Roles:
    """Every role in a process of its own. Addresses are HOST:PORT."""

    def __init__(self, binary, data, redis, service):
        replicas = 2 if redis else 1
        self.processes = []
        file = pathlib.Path(data, 'portcullis.toml')
        file.write_text(CONFIGURATION.format(service))
        environment = {k: v for k, v in os.environ.items() if not k.startswith('PORTCULLIS_')}
        environment |= {'PORTCULLIS_CONFIG': str(file), 'PORTCULLIS_DATA_DIR': data,
                        'PORTCULLIS_TOKEN__ROOT_SECRET': secrets.token_hex(32), 'PORTCULLIS_IDENTITY__BCRYPT_COST': '4',
                        'PORTCULLIS_GATEWAY__ACCESS_LOG': 'off'}
        environment |= {f'PORTCULLIS_{role}__CLIENT_SECRET': secrets.token_hex(32) for role in ('GATEWAY', 'IDENTITY', 'HOME')}
        if redis:
            environment['PORTCULLIS_TOKEN__STORE_URL'] = redis
        counts = {'token': replicas, 'identity': 1, 'home': 1, 'gateway': 2}
        ports = iter(free_ports(2 * sum(counts.values())))
        places = {role: [(f'127.0.0.1:{next(ports)}', f'127.0.0.1:{next(ports)}') for _ in range(count)]
                  for role, count in counts.items()}
        public = {role: [address for address, _ in addresses] for role, addresses in places.items()}
        for role in ('token', 'identity', 'home'):
            environment[f'PORTCULLIS_GATEWAY__UPSTREAMS__{role.upper()}__TARGETS'] = ','.join(
                f'http://{address}' for address in public[role])
        for role, addresses in places.items():
            for number, (address, admin) in enumerate(addresses):
                own = {f'PORTCULLIS_{role.upper()}__LISTEN': address, f'PORTCULLIS_{role.upper()}__ADMIN_LISTEN': admin,
                       'PORTCULLIS_TOKEN__URL': f'http://{public["token"][number % replicas]}'}
                self.processes.append(subprocess.Popen([binary, role], env=environment | own, stdout=subprocess.DEVNULL,
                                                       stderr=subprocess.DEVNULL))
                self.wait(admin)
        self.identity, self.gateways = public['identity'][0], public['gateway']

    def wait(self, admin):
        until = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f'http://{admin}/readyz', timeout=1):
                    return
            except OSError:
                if self.processes[-1].poll() is not None or time.monotonic() > until:
                    self.stop()
                    sys.exit('a role did not start')
                time.sleep(0.02)

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
            process.wait()


def ask(connection, request):
    """The status of the answer."""
    connection.sendall(request)
    answer = b''
    while b'\r\n\r\n' not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b'\r\n\r\n')
    length = int(head.lower().split(b'content-length:')[1].split(b'\r\n')[0])
    while len(body) < length:
        body += connection.recv(65536)
    return int(head.split(b' ', 2)[1])


def watch(address, pipe):
    """Asks with each token that comes through the pipe until it is refused. Says when it is first taken for good, and then
    when it is first refused, by the clock that all processes share."""
    host, port = address.split(':')
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while token := pipe.recv():
        request = f'GET /probe HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n'.encode()
        statuses = [ask(connection, request)]
        pipe.send(statuses[0])
        until = time.monotonic() + PATIENCE
        while statuses[-1] == 403 and time.monotonic() < until:
            time.sleep(PAUSE)
            statuses.append(ask(connection, request))
        pipe.send((statuses[-1], time.monotonic()))


def head_of(connection):
    """What comes until an empty line, and after it."""
    read = b''
    while b'\r\n\r\n' not in read:
        more = connection.recv(65536)
        assert more, read
        read += more
    head, _, rest = read.partition(b'\r\n\r\n')
    return head, rest


def serve_open(listener):
    """A service that opens WebSockets (RFC 6455 section 4.2.2) and streams of events, and says nothing there."""
    held = []
    while True:
        connection = listener.accept()[0]
        head, _ = head_of(connection)
        fields = dict(line.lower().split(b': ', 1) for line in head.split(b'\r\n')[1:])
        if b'upgrade' in fields:
            key = next(line.split(b': ', 1)[1] for line in head.split(b'\r\n') if line.lower().startswith(b'sec-websocket-key:'))
            accept = base64.b64encode(hashlib.sha1(key + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest())
            connection.sendall(b'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n'
                               b'Sec-WebSocket-Accept: ' + accept + b'\r\n\r\n')
        else:
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n')
        held.append(connection)


def stay(address, name, pipe):
    """Opens what is called `name` with each token that comes through the pipe, says so, and then when it was closed as it
    should be."""
    host, port = address.split(':')
    upgrade = ('Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'
               'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n') if name == 'WebSocket' else ''
    while token := pipe.recv():
        connection = socket.create_connection((host, int(port)), timeout=PATIENCE)
        connection.sendall(f'GET {STREAMS[name]} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n'
                           f'{upgrade}\r\n'.encode())
        head, read = head_of(connection)
        pipe.send(int(head.split(b' ', 2)[1]))
        # A Close that says 4401; the event; the last chunk.
        end = {'WebSocket': struct.pack('>H', 4401), '/api/auth/events': b'event: revoked'}.get(name, b'0\r\n\r\n')
        while end not in read:
            more = connection.recv(65536)
            assert more, f'{name} ended without a word: {read}'
            read += more
        pipe.send(time.monotonic())
        connection.close()


def spread(label, seconds):
    taken = sorted(1000 * each for each in seconds)
    cuts = statistics.quantiles(taken, n=100, method='inclusive')
    print(f'{label:45} p50 {cuts[49]:6.2f} ms   p99 {cuts[98]:6.2f} ms   max {taken[-1]:6.2f} ms')


def main(binary, revocations, rate):
    redis = os.environ.get('PORTCULLIS_TEST_REDIS_URL')
    with tempfile.TemporaryDirectory() as data, contextlib.ExitStack() as closing:
        listener = closing.enter_context(socket.create_server(('127.0.0.1', 0)))
        service = multiprocessing.Process(target=serve_open, args=(listener,), daemon=True)
        service.start()
        closing.callback(service.terminate)
        roles = Roles(binary, data, redis, f'127.0.0.1:{listener.getsockname()[1]}')
        closing.callback(roles.stop)
        identity = http.client.HTTPConnection(roles.identity)
        people = []
        for number in range(USERS):
            account = {'username': f'user{number}', 'email': f'user{number}@example.com', 'password': 'correct horse'}
            status, answer = post(identity, '/api/auth/register', account)
            assert status == 201, answer
            people.append((account, json.loads(answer)['access']))
        tokens = pathlib.Path(data, 'tokens')
        tokens.write_text(''.join(access + '\n' for _, access in people))

        def begin(target, *arguments):
            pipe, other = multiprocessing.Pipe()
            process = multiprocessing.Process(target=target, args=(*arguments, other), daemon=True)
            process.start()
            closing.callback(process.terminate)
            return pipe

        watchers = [begin(watch, address) for address in roles.gateways]
        loads = []

        def load():
            for address in roles.gateways:
                command = [LOAD, 'run', '--address', address, '--path', '/home', '--tokens', str(tokens), '--rate', str(rate),
                           '--seconds', '240', '--connections', '16']
                loads.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
                closing.callback(loads[-1].kill)

        load()
        def log_in(number):
            account, _ = people[number % USERS]
            status, answer = post(identity, '/api/auth/login', {k: account[k] for k in ('email', 'password')})
            assert status == 200, answer
            return json.loads(answer)

        sent, answered = [[], []], [[], []]
        gates = [http.client.HTTPConnection(address) for address in roles.gateways]
        for number in range(revocations):
            session = log_in(number)
            for pipe in watchers:
                pipe.send(session['access'])
            for pipe in watchers:
                status = pipe.recv()
                assert status == 403, f'a good token was answered {status}'
            assert all(each.poll() is None for each in loads), [each.communicate() for each in loads]
            began = time.monotonic()
            status, answer = post(gates[number % 2], '/api/auth/logout', {'refresh': session['refresh']})
            acknowledged = time.monotonic()
            assert status == 205, answer
            for gateway, pipe in enumerate(watchers):
                status, at = pipe.recv()
                assert status == 401, f'still {status} after {PATIENCE} s'
                assert at > began, 'refused before anybody logged out'
                sent[gateway].append(at - began)
                answered[gateway].append(at - acknowledged)
        for pipe in watchers:
            pipe.send(None)
        print(f'{revocations} logouts, {"two token services on Redis" if redis else "one token service on SQLite"}, '
              f'{rate:.0f} other requests/s at each gateway')
        for name, taken in (('sent', sent), ('answered', answered)):
            for number, each in enumerate(taken):
                spread(f'logout {name} to refused, gateway {number + 1}', each)
            spread(f'logout {name} to refused, both', map(max, *taken))

        streams = [(name, begin(stay, address, name)) for name in STREAMS for address in roles.gateways]
        closed = {name: [] for name in STREAMS}
        for number in range(revocations // 10):
            session = log_in(number)
            for name, pipe in streams:
                pipe.send(session['access'])
                status = pipe.recv()
                assert status in (101, 200), f'{name}: {status}'
            assert all(each.poll() is None for each in loads), [each.communicate() for each in loads]
            began = time.monotonic()
            status, answer = post(gates[number % 2], '/api/auth/logout', {'refresh': session['refresh']})
            assert status == 205, answer
            for name, pipe in streams:
                closed[name].append(pipe.recv() - began)
        for name, taken in closed.items():
            spread(f'logout sent to closed, {name}', taken)


if __name__ == '__main__':
    arguments = sys.argv[1:] + [None] * 3
    main(arguments[0] or 'target/release/portcullis', int(arguments[1] or 1000), float(arguments[2] or 1500))
