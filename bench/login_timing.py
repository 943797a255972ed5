#!/usr/bin/env python3
"""Why: how long a refused login takes must not tell who has an account. Prints the distributions and what lies between.

Usage: bench/login_timing.py [BINARY] [ROUNDS]. Starts BINARY (default target/release/portcullis) with its defaults on a
temporary directory, asks in turn for an unknown user, a wrong password and an inactive account, and stops it.
"""
import http.client
import random
import statistics
import subprocess
import sys
import tempfile
import time

from server import post, start

binary = sys.argv[1] if len(sys.argv) > 1 else 'target/release/portcullis'
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 100
PASSWORD = 'correct horse'


def timed(connection, path, body):
    began = time.perf_counter()
    status, _ = post(connection, path, body)
    return status, (time.perf_counter() - began) * 1000


with tempfile.TemporaryDirectory() as data:
    server, environment, address = start(binary, data)
    try:
        connection = http.client.HTTPConnection(address)
        for name in ('active', 'inactive'):
            body = {'username': name, 'email': f'{name}@example.com', 'password': PASSWORD}
            assert post(connection, '/api/auth/register', body)[0] == 201
        subprocess.run([binary, 'users', 'deactivate', 'inactive'], env=environment, check=True, capture_output=True)
        cases = {
            'unknown user': ('nobody@example.com', PASSWORD),
            'wrong password': ('active@example.com', 'wrong password'),
            'inactive account': ('inactive@example.com', PASSWORD),
        }
        times = {case: [] for case in cases}
        for _ in range(rounds):
            for case in random.sample(list(cases), len(cases)):
                email, password = cases[case]
                status, took = timed(connection, '/api/auth/login', {'email': email, 'password': password})
                assert status == 401
                times[case].append(took)
    finally:
        server.terminate()
        server.wait()

for case, taken in times.items():
    taken.sort()
    spread = statistics.quantiles(taken, n=20)
    print(f'{case:17} median {statistics.median(taken):7.2f} ms   p5 {spread[0]:7.2f}   p95 {spread[-1]:7.2f}')
medians = [statistics.median(taken) for taken in times.values()]
# What two halves of one distribution differ by is what no difference can be told from.
halves = [abs(statistics.median(random.sample(t, rounds // 2)) - statistics.median(t)) for t in times.values() for _ in range(50)]
print(f'largest difference of medians {max(medians) - min(medians):.2f} ms; noise (p95 of half against whole) '
      f'{statistics.quantiles(halves, n=20)[-1]:.2f} ms')
