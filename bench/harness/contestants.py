"""Who is measured. To add one, write how it is started (see `Contestant`) and put it into `contestants()`."""
import dataclasses
import os
import shlex
from typing import Callable, Optional

from . import machine
from .templates import log_setting, render, write
from .token_service import AUDIENCE

PLAIN = 'haproxy-plain'


@dataclasses.dataclass
class Contestant:
    """A gateway that listens on a port of 127.0.0.1 and proxies everything to the upstream, and /bench/upload to the sink."""

    name: str
    # What it does about the token of each request, for the table.
    checks: str
    # Its command line, given the Bench, the port to listen on and a directory of its own. It stays in the foreground.
    command: Callable
    # Which tokens it is sent; plain proxies are sent some, too, so that all requests have about the same size.
    algorithm: str = 'ES256'
    # Whether requests without a good token are answered 401.
    verifies: bool = False
    # Whether a session that has ended is noticed.
    revokes: bool = False
    # Whether it takes part where every token is new.
    cold: bool = False
    environment: Optional[Callable] = None


def haproxy(algorithm=None):
    def command(bench, port, place):
        check = ''
        if algorithm:
            service = bench.token_service(algorithm)
            check = render('haproxy-check.cfg', ALGORITHM=algorithm, ISSUER=service.issuer, AUDIENCE=AUDIENCE,
                           PUBLIC_KEY=service.signing_key())
        text = render('haproxy.cfg', PORT=port, UPSTREAM=bench.upstream, SINK=bench.sink, CHECK=check)
        return ['haproxy', '-db', '-f', write(os.path.join(place, 'cfg'), text)]
    return command


def nginx(asks):
    def command(bench, port, place):
        text = render('nginx.conf', PORT=port, UPSTREAM=bench.upstream, SINK=bench.sink, DIRECTORY=place,
                      CHECK='auth_request /always-yes;' if asks else '')
        return ['nginx', '-c', write(os.path.join(place, 'conf'), text)]
    return command


def envoy(algorithm=None, cached=False):
    def command(bench, port, place):
        check = ''
        if algorithm:
            service = bench.token_service(algorithm)
            cache = 'jwt_cache_config: { jwt_cache_size: 10000, jwt_max_token_size: 8192 }' if cached else ''
            check = render('envoy-check.yaml', ISSUER=service.issuer, AUDIENCE=AUDIENCE, JWKS=service.jwks, CACHE=cache)
        text = render('envoy.yaml', PORT=port, UPSTREAM=bench.upstream, SINK=bench.sink, CHECK=check)
        return [bench.options.envoy, '-c', write(os.path.join(place, 'envoy.yaml'), text), '--concurrency', '1',
                '--disable-hot-restart', '-l', 'error']
    return command


def traefik(asks):
    def command(bench, port, place):
        check = ', middlewares: [always-yes]' if asks else ''
        write(os.path.join(place, 'routes.yaml'),
              render('traefik-routes.yaml', UPSTREAM=bench.upstream, SINK=bench.sink, CHECK=check))
        text = render('traefik.yaml', PORT=port, DIRECTORY=place)
        return [bench.options.traefik, '--configFile=' + write(os.path.join(place, 'traefik.yaml'), text)]
    return command


ROUTES = '''[[gateway.routes]]
path = "/bench"
upstream = "upstream"

[[gateway.routes]]
path = "/bench/upload"
upstream = "sink"
'''


# What routes can have beside those, with limits that nobody comes up against.
MORE = '''rate_limit = [{ by = "address", requests = 1000000, per = "1s" }, { by = "user", requests = 1000000, per = "1s" }]
request_headers = { set = { "x-tenant" = "acme" }, remove = ["accept-language"] }
response_headers = { set = { "cache-control" = "no-store" }, remove = ["server"] }
'''


def portcullis(algorithm='ES256', logs=False, more='', binary=None):
    def command(bench, port, place):
        service = bench.token_service(algorithm)
        access_log = log_setting(binary or bench.options.binary, logs)
        text = render('portcullis.toml', **service.settings, PORT=port, ADMIN=machine.free_ports(1)[0], CLIENT='gateway',
                      UPSTREAM=bench.upstream, SINK=bench.sink, ROUTES=ROUTES.replace('"upstream"\n', '"upstream"\n' + more),
                      ACCESS_LOG=access_log,
                      VERIFIED_TOKENS=100000)
        return [binary or bench.options.binary, 'gateway', '--config', write(os.path.join(place, 'toml'), text)]
    return command


def portcullis_environment(place):
    return {'PORTCULLIS_DATA_DIR': os.path.join(place, 'data')}


def other(command_line):
    """A command from the command line; {port}, {upstream}, {sink} and {jwks} in it are filled in."""
    def command(bench, port, place):
        return [part.format(port=port, upstream=bench.upstream, sink=bench.sink, jwks=bench.token_service('ES256').jwks)
                for part in shlex.split(command_line)]
    return command


def contestants(options):
    """Everybody, in the order in which they are reported."""
    ours = dict(verifies=True, revokes=True, environment=portcullis_environment)
    found = [
        Contestant(PLAIN, 'not at all', haproxy()),
        Contestant('haproxy-rs256', 'signature each time', haproxy('RS256'), 'RS256', verifies=True, cold=True),
        Contestant('haproxy-es256', 'signature each time', haproxy('ES256'), verifies=True, cold=True),
        Contestant('nginx-plain', 'not at all', nginx(False)),
        Contestant('nginx-auth-request', 'asks an endpoint that always says yes', nginx(True)),
        Contestant('envoy-rs256-cache', 'signature, then cached', envoy('RS256', True), 'RS256', verifies=True),
        Contestant('envoy-es256-cache', 'signature, then cached', envoy('ES256', True), verifies=True),
        Contestant('envoy-es256', 'signature each time', envoy('ES256'), verifies=True, cold=True),
        Contestant('traefik-plain', 'not at all', traefik(False)),
        Contestant('traefik-forward-auth', 'asks an endpoint that always says yes', traefik(True)),
        Contestant('portcullis', 'signature, then cached; revocation and expiry each time', portcullis(), cold=True, **ours),
        Contestant('portcullis-rs256', 'the same, RS256', portcullis('RS256'), 'RS256', cold=True, **ours),
        Contestant('portcullis-log', 'the same as portcullis, and an access log', portcullis(logs=True), **ours),
        Contestant('portcullis-all', 'the same as portcullis-log, with limits by address and user and rules for headers',
                   portcullis(logs=True, more=MORE), **ours),
    ]
    for name, binary in options.compare:
        found.append(Contestant(name, 'another build of portcullis', portcullis(binary=binary), cold=True, **ours))
    for name, command_line in options.add:
        found.append(Contestant(name, 'unknown', other(command_line)))
    return found
