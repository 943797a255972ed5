#!/usr/bin/env python3
"""Why: signing keys have to turn over without anybody being refused, and a killed one has to be refused at once. Prints both.

Usage: bench/keys.py [BINARY] [ROTATIONS] [KILLS]. Starts BINARY (default target/release/portcullis) with its defaults on a
temporary directory; while people ask for /home with an old token, refresh, and use what they get, an operator runs
`portcullis keys rotate` ROTATIONS times (default 1000), and then `portcullis keys kill` KILLS times (default 20); stops
everything. Fails when somebody is refused who should not be.
"""
import base64
import collections
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from server import post, start

PATIENCE = 10


def home(connection, access):
    connection.request('GET', '/home', headers={'Authorization': f'Bearer {access}'})
    response = connection.getresponse()
    response.read()
    return response.status


def key_of(access):
    head = access.split('.')[0]
    return json.loads(base64.urlsafe_b64decode(head + '=' * (-len(head) % 4)))['kid']


class People:
    """Two threads; what they were answered, and the keys of the tokens that they got."""

    def __init__(self, address, session):
        self.statuses, self.keys, self.over = collections.Counter(), set(), threading.Event()
        self.threads = [threading.Thread(target=each, args=(address, session)) for each in (self.stay, self.refresh)]
        for thread in self.threads:
            thread.start()

    def stay(self, address, session):
        connection = http.client.HTTPConnection(address)
        while not self.over.is_set():
            self.statuses['/home', home(connection, session['access'])] += 1

    def refresh(self, address, session):
        connection, pair = http.client.HTTPConnection(address), session
        while not self.over.is_set():
            status, answer = post(connection, '/api/auth/refresh', {'refresh': pair['refresh']})
            self.statuses['refresh', status] += 1
            if status == 200:
                pair = json.loads(answer)
                access = pair['access']
                self.keys.add(key_of(access))
                self.statuses['/home with a new token', home(connection, access)] += 1

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


def main(binary, rotations, kills):
    with tempfile.TemporaryDirectory() as data:
        server, environment, address = start(binary, data)

        def keys(*arguments):
            subprocess.run([binary, 'keys', *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)

        try:
            connection = http.client.HTTPConnection(address)
            account = {'username': 'ada', 'email': 'ada@example.com', 'password': 'correct horse'}
            session = json.loads(post(connection, '/api/auth/register', account)[1])
            people = People(address, session)
            other = json.loads(post(connection, '/api/auth/login', account)[1])
            began = time.monotonic()
            for _ in range(rotations):
                keys('rotate')
            took = time.monotonic() - began
            people.end()
            print(f'{rotations} rotations in {took:.0f} s; meanwhile, with tokens of {len(people.keys)} keys: ' + ', '.join(
                f'{count} × {status} to {what}' for (what, status), count in sorted(people.statuses.items())))
            assert all(status == 200 for _, status in people.statuses), 'somebody was refused'

            ended, ordered = [], []
            connection = http.client.HTTPConnection(address)
            for _ in range(kills):
                other = json.loads(post(connection, '/api/auth/refresh', {'refresh': other['refresh']})[1])
                access = other['access']
                until = time.monotonic() + PATIENCE
                while home(connection, access) != 200:
                    assert time.monotonic() < until, 'a good token is refused'
                order = time.monotonic()
                kill = subprocess.Popen([binary, 'keys', 'kill', key_of(access)], env=environment, stdout=subprocess.DEVNULL)
                refused = over = None
                while refused is None or over is None:
                    now = time.monotonic()
                    if over is None and kill.poll() is not None:
                        assert kill.returncode == 0
                        over = now
                    if refused is None and home(connection, access) == 401:
                        refused = time.monotonic()
                    assert now - order < PATIENCE, 'a killed key is good'
                ended.append(1000 * (refused - over))
                ordered.append(1000 * (refused - order))
            for words, taken in (('given', ordered), ('carried out', ended)):
                print(f'from the order to kill a key being {words} to the first refusal: median '
                      f'{statistics.median(taken):.0f} ms, at most {max(taken):.0f} ms')
        finally:
            server.terminate()
            server.wait()


if __name__ == '__main__':
    arguments = sys.argv[1:] + [None] * 3
    main(arguments[0] or 'target/release/portcullis', int(arguments[1] or 1000), int(arguments[2] or 20))
