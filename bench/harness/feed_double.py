"""Stands in for the token service where there is to be more than it could be made to hold within minutes: it signs tokens,
and feeds each gateway as many revocations as its client id asks for.
"""
import base64
import http.server
import json
import os
import threading
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from .token_service import AUDIENCE

LIFE = 3600
LINES_AT_ONCE = 1000


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode()


def compact(value):
    return json.dumps(value, separators=(',', ':')).encode()


def line(value):
    return compact(value) + b'\n'


class FeedDouble:
    """Listens on a port of its own until it is closed."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        public = self.key.public_key().public_numbers()
        jwk = {'kty': 'EC', 'crv': 'P-256', 'x': encode(public.x.to_bytes(32, 'big')),
               'y': encode(public.y.to_bytes(32, 'big')), 'kid': 'bench', 'alg': 'ES256', 'use': 'sig'}
        self.jwks = {'keys': [jwk]}
        self.header = encode(compact({'typ': 'at+jwt', 'alg': 'ES256', 'kid': 'bench'}))
        self.revocations = {}
        self.closed = threading.Event()
        double = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                # The only thing that is asked for in this way is a token of a service account: its id will do.
                basic = base64.b64decode(self.headers['Authorization'].split()[1]).decode()
                self.answer({'access_token': basic.split(':')[0], 'token_type': 'Bearer', 'expires_in': LIFE})

            def do_GET(self):
                if self.path.startswith('/internal/feed'):
                    self.feed(self.headers['Authorization'].split()[1])
                else:
                    self.answer(double.jwks)

            def answer(self, value):
                body = compact(value)
                self.send_response(200)
                self.send_header('Content-Type', 'application/json')
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def feed(self, client):
                self.send_response(200)
                self.send_header('Content-Type', 'application/x-ndjson')
                self.end_headers()
                try:
                    self.wfile.write(line({'type': 'keys', 'jwks': double.jwks}))
                    for block in double.revocations.get(client, []):
                        self.wfile.write(block)
                    while not double.closed.wait(0.5):
                        self.wfile.write(line({'type': 'heartbeat', 'cursor': '1'}))
                except OSError:
                    pass  # The gateway has been stopped.

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.port = self.server.server_address[1]
        self.issuer = f'http://127.0.0.1:{self.port}'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.closed.set()
        self.server.shutdown()

    def revoke(self, client, count):
        """From now on a gateway with this client id hears of so many sessions that have ended; gives one of them."""
        expires_at = int((time.time() + 2 * LIFE) * 1000)
        end = f'","reason":"logged_out","expires_at":{expires_at}}}\n'
        ids, blocks = [], []
        for first in range(0, count, LINES_AT_ONCE):
            ids = [encode(os.urandom(24)) for _ in range(min(LINES_AT_ONCE, count - first))]
            blocks.append(''.join(f'{{"type":"revoked","kind":"session","id":"{each}{end}' for each in ids).encode())
        self.revocations[client] = blocks
        return ids[-1]

    def token(self, index, session=None):
        """A token as the token service makes them."""
        now = int(time.time())
        subject = f'{index:08x}-0d3a-4a55-9a0e-1f5b7c9d2e11'
        claims = {'token_type': 'access', 'iss': self.issuer, 'sub': subject, 'aud': AUDIENCE, 'client_id': 'portcullis',
                  'iat': now, 'exp': now + LIFE, 'jti': os.urandom(16).hex(), 'sid': session or encode(os.urandom(24)),
                  'scope': '', 'roles': ['user', 'editor'], 'user_id': subject}
        signed = f'{self.header}.{encode(compact(claims))}'
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f'{signed}.{encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))}'
