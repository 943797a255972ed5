"""Whether a request costs the same where there is much of everything: routes, live tokens, revocations."""
import os
import random
import secrets
import statistics
import time

from . import machine
from .contestants import portcullis_environment
from .cost import measure as measure_cost
from .feed_double import FeedDouble
from .templates import log_setting, render, write
from .token_service import AUDIENCE

ROUTES, TOKENS, REVOCATIONS = 1000, 100_000, 1_000_000
FEW = 1000
# Each round sends so many of the tokens, and the next round others: what was used lately is not favoured.
IN_A_ROUND = 12_500
# How long each turn of a round takes, in seconds.
TURN = 0.4
TITLE = f'{ROUTES:,} routes, {TOKENS:,} live tokens and {REVOCATIONS:,} revocations beside the small case'


class Gateway:
    """A gateway that follows the double."""

    def __init__(self, bench, double, name, routes, token):
        self.bench, self.name = bench, name
        self.port, admin, unused, unused_admin = machine.free_ports(4)
        self.paths = [f'/route-{index:04}/item' for index in range(routes)]
        table = '\n'.join(f'[[gateway.routes]]\npath = "{path.rsplit("/", 1)[0]}"\nupstream = "upstream"\n'
                          for path in self.paths)
        place = bench.place(f'flat-{name}')
        text = render('portcullis.toml', PORT=self.port, ADMIN=admin, CLIENT=name, SECRET=secrets.token_hex(32),
                      ACCESS_LOG=log_setting(bench.options.binary, False), UPSTREAM=bench.upstream, SINK=bench.sink,
                      ROUTES=table, TOKEN=double.port, TOKEN_ADMIN=unused_admin, ISSUER=double.issuer, AUDIENCE=AUDIENCE,
                      ALGORITHM='ES256', VERIFIED_TOKENS=TOKENS)
        command = [bench.options.binary, 'gateway', '--config', write(os.path.join(place, 'toml'), text)]
        self.process = bench.start(f'portcullis ({name})', command, machine.PROXY_CORE, place,
                                   portcullis_environment(place))
        self.ready_after = machine.wait_for(self.process, self.port, self.paths[0], token)
        self.memory_at_start = self.process.memory()

    def load(self, seconds, **options):
        return self.bench.load(self.port, seconds, paths=self.paths, **options)


def measure(bench, progress):
    """The small case, one with the routes and tokens of the large one but no revocations, and the large one, side by side, in
    interleaved rounds."""
    double = FeedDouble()
    bench.closing.callback(double.close)
    began = time.monotonic()
    place = bench.place('flat')
    tokens = write(os.path.join(place, 'tokens'), ''.join(double.token(index) + '\n' for index in range(TOKENS)))
    revoked = double.token(0, session=double.revoke('large', REVOCATIONS))
    with open(tokens) as file:
        token = file.readline().strip()
    progress(f'flat: {TOKENS:,} tokens and {REVOCATIONS:,} revocations made in {time.monotonic() - began:.0f} s')

    small = Gateway(bench, double, 'small', 1, token)
    routes = Gateway(bench, double, 'routes', ROUTES, token)
    large = Gateway(bench, double, 'large', ROUTES, token)
    progress(f'flat: the large one answers after {large.ready_after:.1f} s, {large.memory_at_start / 1e6:.0f} MB')
    if (status := machine.get(large.port, large.paths[0], revoked)) != 401:
        raise machine.Failure(f'the large case answers {status} to the token of a revoked session')
    small.load(60, tokens=tokens, take=FEW, requests=10 * FEW)
    for gateway in (routes, large):
        gateway.load(60, tokens=tokens, requests=TOKENS)
    warm = {gateway.name: gateway.process.memory() for gateway in (small, routes, large)}

    # Many short turns, in any order: what changes on the machine within seconds changes for all.
    rounds = 8 * (bench.options.rounds or (1 if bench.options.quick else 7))
    samples = {'small': [], 'routes': [], 'large': []}
    for number in range(rounds):
        skip = number * IN_A_ROUND % TOKENS
        turns = [
            (small, lambda: small.load(TURN, tokens=tokens, take=FEW)),
            (routes, lambda: routes.load(TURN, tokens=tokens, skip=skip, take=IN_A_ROUND)),
            (large, lambda: large.load(TURN, tokens=tokens, skip=skip, take=IN_A_ROUND)),
        ]
        for gateway, load in random.sample(turns, len(turns)):
            sample = measure_cost(gateway.process, bench.client, load)
            samples[gateway.name].append({**sample, 'round': number})
            progress(f'flat {number + 1}/{rounds} {gateway.name}: {sample["cpu_us"]:.1f} us, '
                     f'{sample["per_second"]:.0f}/s, p99 {sample["p99"]:.0f} us, foreign {sample["foreign"]:.0%}')
    grown = (warm['large'] - large.memory_at_start) - (warm['small'] - small.memory_at_start)

    def ratio(name, beside):
        return statistics.median(one['cpu_us'] / other['cpu_us'] for one, other in zip(samples[name], samples[beside]))

    return {
        'title': TITLE,
        'revocations': REVOCATIONS,
        'samples': samples,
        'ratio': ratio('large', 'small'),
        'ratio_of_revocations': ratio('large', 'routes'),
        'ready_after_seconds': {gateway.name: gateway.ready_after for gateway in (small, routes, large)},
        'memory': {
            'small': small.memory_at_start,
            'routes': warm['routes'],
            'large': warm['large'],
            'of_a_route': (routes.memory_at_start - small.memory_at_start) / (ROUTES - 1),
            'of_a_revocation': (large.memory_at_start - routes.memory_at_start) / REVOCATIONS,
            'of_a_cached_token': grown / (TOKENS - FEW),
        },
    }
