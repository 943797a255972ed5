"""`portcullis token`, and users who are logged in through it the way the identity service does it."""
import base64
import http.client
import json
import os
import secrets
import time
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from . import machine
from .templates import log_setting, render, write

AUDIENCE = 'bench'
# How many tokens are sent in turn while a cache is warm.
WARM = 1000


def number(text):
    return int.from_bytes(base64.urlsafe_b64decode(text + '=='), 'big')


def public_key(jwk):
    """A key of a key set as PEM, as HAProxy wants it."""
    if jwk['kty'] == 'EC':
        key = ec.EllipticCurvePublicNumbers(number(jwk['x']), number(jwk['y']), ec.SECP256R1()).public_key()
    else:
        key = rsa.RSAPublicNumbers(number(jwk['e']), number(jwk['n'])).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


class TokenService:
    """A token service of its own for one algorithm, on the load's core: it does nothing per request."""

    def __init__(self, bench, algorithm):
        self.algorithm = algorithm
        self.port, self.admin, unused, unused_admin = machine.free_ports(4)
        self.issuer = f'http://127.0.0.1:{self.port}'
        self.secret = secrets.token_hex(32)
        place = self.place = bench.place(f'token-{algorithm}')
        self.settings = dict(SECRET=self.secret, TOKEN=self.port, TOKEN_ADMIN=self.admin, ISSUER=self.issuer,
                             AUDIENCE=AUDIENCE, ALGORITHM=algorithm)
        os.makedirs(os.path.join(place, 'data'))
        file = write(os.path.join(place, 'toml'), render(
            'portcullis.toml', **self.settings, PORT=unused, ADMIN=unused_admin, CLIENT='gateway', ACCESS_LOG=log_setting(bench.options.binary, False),
            UPSTREAM=bench.upstream, SINK=bench.sink, ROUTES='', VERIFIED_TOKENS=1000))
        self.process = bench.start(f'token service ({algorithm})', [bench.options.binary, 'token', '--config', file],
                                   machine.LOAD_CORE, place, {'PORTCULLIS_DATA_DIR': os.path.join(place, 'data')})
        machine.wait_for(self.process, self.port, '/.well-known/jwks.json')
        self.connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=10)
        self.jwks = os.path.join(place, 'jwks.json')
        keys = self.call('GET', '/.well-known/jwks.json')
        write(self.jwks, json.dumps(keys))
        self.public_keys = [write(os.path.join(place, f'{key["kid"]}.pem'), public_key(key)) for key in keys['keys']]
        basic = base64.b64encode(f'identity:{self.secret}'.encode()).decode()
        granted = self.call('POST', '/oauth/token', urlencode({'grant_type': 'client_credentials'}), {
            'Authorization': f'Basic {basic}', 'Content-Type': 'application/x-www-form-urlencoded'})
        self.account = {'Authorization': f'Bearer {granted["access_token"]}', 'Content-Type': 'application/json'}
        self.tokens = os.path.join(place, 'tokens')
        self.issued = 0
        self.have(WARM)

    def call(self, method, path, body=None, headers=None):
        try:
            self.connection.request(method, path, body, headers or {})
            response = self.connection.getresponse()
        except (ConnectionError, http.client.RemoteDisconnected):
            # It closed the connection, which was unused for too long; nothing that is called here does harm twice.
            self.connection.close()
            self.connection.request(method, path, body, headers or {})
            response = self.connection.getresponse()
        answer = response.read()
        if response.status >= 300:
            raise machine.Failure(f'{path} answered {response.status}: {answer.decode()}')
        return json.loads(answer)

    def open_session(self, subject):
        """Logs a user in; the access token."""
        request = {'subject': subject, 'epoch': 1, 'roles': ['user', 'editor'], 'user_agent': 'bench', 'ip': '127.0.0.1'}
        return self.call('POST', '/internal/sessions', json.dumps(request), self.account)['access']

    def end_sessions(self, subject):
        request = {'subject': subject, 'epoch': 2, 'reason': 'logged_out'}
        self.call('POST', '/internal/revoke', json.dumps(request), self.account)

    def have(self, count):
        """Logs in further users until there are so many tokens in the file."""
        with open(self.tokens, 'a') as file:
            for index in range(self.issued, count):
                file.write(self.open_session(f'{index:08x}-0d3a-4a55-9a0e-1f5b7c9d2e11') + '\n')
        self.issued = max(self.issued, count)

    def first_token(self):
        with open(self.tokens) as file:
            return file.readline().strip()

    def signing_key(self):
        """The public key that checks the tokens, in the set of all that are published."""
        kid = json.loads(base64.urlsafe_b64decode(self.first_token().split('.')[0] + '=='))['kid']
        return os.path.join(self.place, f'{kid}.pem')
