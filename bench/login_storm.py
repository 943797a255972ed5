#!/usr/bin/env python3
"""Why: people who log in must not slow down those who are in. Prints how long /home takes with and without a storm.

Usage: bench/login_storm.py [BINARY] [SECONDS]. Starts BINARY (default target/release/portcullis) with its defaults on a
temporary directory; 50 clients log in over and over while another asks for /home every 5 ms; stops everything.
"""
import collections
import http.client
import json
import statistics
import sys
import tempfile
import threading
import time

from server import post, start

binary = sys.argv[1] if len(sys.argv) > 1 else 'target/release/portcullis'
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 10
CLIENTS = 50
PASSWORD = 'correct horse'


def storm(address, until, statuses):
    connection = http.client.HTTPConnection(address)
    while time.monotonic() < until:
        status, _ = post(connection, '/api/auth/login', {'email': 'ada@example.com', 'password': PASSWORD})
        statuses[status] += 1


def home(address, access, until):
    connection, taken = http.client.HTTPConnection(address), []
    while time.monotonic() < until:
        began = time.perf_counter()
        connection.request('GET', '/home', headers={'Authorization': f'Bearer {access}'})
        response = connection.getresponse()
        response.read()
        assert response.status == 200
        taken.append((time.perf_counter() - began) * 1000)
        time.sleep(0.005)
    return taken


def show(label, taken):
    spread = statistics.quantiles(taken, n=100)
    print(f'{label:18} /home: median {statistics.median(taken):6.2f} ms   p95 {spread[94]:6.2f}   p99 {spread[98]:6.2f}   '
          f'max {max(taken):6.2f}   ({len(taken)} requests)')


with tempfile.TemporaryDirectory() as data:
    server, _, address = start(binary, data)
    try:
        body = {'username': 'ada', 'email': 'ada@example.com', 'password': PASSWORD}
        access = json.loads(post(http.client.HTTPConnection(address), '/api/auth/register', body)[1])['access']
        show('alone', home(address, access, time.monotonic() + seconds))
        until, statuses = time.monotonic() + seconds, collections.Counter()
        clients = [threading.Thread(target=storm, args=(address, until, statuses)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        show('in a login storm', home(address, access, until))
        for client in clients:
            client.join()
        print(f'{CLIENTS} clients logging in: {dict(statuses)} in {seconds:g} s')
    finally:
        server.terminate()
        server.wait()
