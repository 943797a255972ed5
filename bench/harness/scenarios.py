"""What each contestant is put through, and how one stretch of it is measured."""
import statistics
import time

from . import cost, machine
from .bench import BIG, ITEM, MEGABYTE, UPLOAD
from .contestants import PLAIN
from .token_service import WARM

# How many new tokens each contestant gets in a round of `cold`.
FRESH = 2000


class Runner:
    """A contestant that runs, and a way to put it under load."""

    def __init__(self, bench, contestant):
        self.bench, self.contestant, self.name = bench, contestant, contestant.name
        self.port, = machine.free_ports(1)
        self.service = bench.token_service(contestant.algorithm)
        self.place = bench.place(contestant.name)
        environment = contestant.environment(self.place) if contestant.environment else None
        command = contestant.command(bench, self.port, self.place)
        token = self.service.first_token()
        self.starts = []
        for left in reversed(range(1 if bench.options.quick else 3)):
            self.process = bench.start(self.name, command, machine.PROXY_CORE, self.place, environment)
            self.starts.append(machine.wait_for(self.process, self.port, ITEM, token))
            if left:
                self.process.stop()
        self.idle_memory = self.process.memory()
        self.check(token)

    def check(self, token):
        """Sees to it that it does what it is said to do: figures of one that lets everybody in would be worth nothing."""
        ask = lambda shown: machine.get(self.port, ITEM, shown)
        if self.contestant.verifies:
            position = len(token) - 20
            other = 'A' if token[position] != 'A' else 'B'
            forged = token[:position] + other + token[position + 1:]
            for what, answer in (('without a token', ask(None)), ('with a forged token', ask(forged))):
                if answer != 401:
                    raise machine.Failure(f'{self.name} answers {answer}, not 401, {what}')
        if self.contestant.revokes:
            subject = f'revoked-{self.name}'
            revoked = self.service.open_session(subject)
            before = ask(revoked)
            self.service.end_sessions(subject)
            deadline = time.monotonic() + 2
            while (after := ask(revoked)) == 200 and time.monotonic() < deadline:
                pass
            if (before, after) != (200, 401):
                raise machine.Failure(f'{self.name} answers {before} before a session ends and {after} afterwards')

    def warm(self):
        self.bench.load(self.port, 0.5, tokens=self.service.tokens, take=WARM)

    def measure(self, seconds, **load):
        """One stretch under load: what the client saw, and what it cost."""
        load = {'tokens': self.service.tokens, 'take': WARM, **load}
        return cost.measure(self.process, self.bench.client, lambda: self.bench.load(self.port, seconds, **load))


class Scenario:
    """A kind of load. `measure` gives a sample, or nothing where the contestant does not take part."""

    def __init__(self, name, title, rounds, measure):
        self.name, self.title, self.rounds, self.measure = name, title, rounds, measure


def median(samples, key):
    return statistics.median(sample[key] for sample in samples)


def scenarios(options):
    """Everything, in order; later ones may look at the samples of earlier ones (by scenario and contestant)."""
    rounds = options.rounds or (2 if options.quick else 7)
    few = max(1, rounds // 2)
    seconds = 0.5 if options.quick else 1.0

    def saturated(runner, samples, number):
        return runner.measure(seconds, connections=64)

    def paced(runner, samples, number):
        return runner.measure(seconds, connections=64, rate=options.rate)

    def saturation(samples, name):
        done = samples.get(('saturated', name))
        return median(done, 'per_second') if done else None

    def own_share(runner, samples, number):
        # What it manages right now: on a machine that others slow down in between, 70 % of what it managed a minute ago may
        # be all that it can do.
        own = runner.measure(seconds / 4, connections=64)['per_second']
        return runner.measure(seconds / 2, connections=64, rate=round(own * 0.7))

    def plain_share(runner, samples, number):
        own, plain = saturation(samples, runner.name), saturation(samples, PLAIN)
        if not own or not plain:
            return None
        rate = plain * 0.7
        # Who cannot keep up with that rate would only show how long the queue became.
        if rate > 0.9 * own:
            return None
        return runner.measure(seconds / 2, connections=64, rate=round(rate))

    def download(runner, samples, number):
        return runner.measure(seconds, connections=8, paths=[BIG])

    def upload(runner, samples, number):
        return runner.measure(seconds, connections=8, paths=[UPLOAD], upload=MEGABYTE)

    def cold(runner, samples, number):
        if not runner.contestant.cold:
            return None
        runner.service.have(WARM + (number + 1) * FRESH)
        skip = WARM + number * FRESH
        return runner.measure(30, connections=64, requests=FRESH, skip=skip, take=FRESH)

    return [
        Scenario('saturated', 'Small JSON, as fast as it goes (64 keep-alive connections)', rounds, saturated),
        Scenario('paced', f'Small JSON at {options.rate:,} requests/s', rounds, paced),
        Scenario('own70', 'Small JSON at 70 % of its own saturation', 6 * rounds, own_share),
        Scenario('plain70', f'Small JSON at 70 % of the saturation of {PLAIN}', 6 * rounds, plain_share),
        Scenario('download', '1 MB downloads (8 connections)', few, download),
        Scenario('upload', '1 MB uploads (8 connections)', few, upload),
        Scenario('cold', 'Cold cache: every token is new', few, cold),
    ]


def run(bench, runners, plan, progress, failures):
    """Interleaved rounds: everybody has one turn in each, so that what changes on the machine changes for all. Who fails
    is out from there on.
    """
    samples, rows, out = {}, [], set()
    for scenario in plan:
        for number in range(scenario.rounds):
            # Not always behind the same neighbour.
            turn = number % max(1, len(runners))
            for runner in runners[turn:] + runners[:turn]:
                if runner.name in out:
                    continue
                try:
                    sample = scenario.measure(runner, samples, number)
                except machine.Failure as failure:
                    out.add(runner.name)
                    failures.append(f'{scenario.name}: {failure}')
                    progress(f'FAILED {failures[-1]}')
                    continue
                if not sample:
                    continue
                samples.setdefault((scenario.name, runner.name), []).append(sample)
                rows.append({'scenario': scenario.name, 'contestant': runner.name, 'round': number, **sample})
                progress(f'{scenario.name} {number + 1}/{scenario.rounds} {runner.name}: '
                         f'{sample["cpu_us"]:.1f} us, {sample["per_second"]:.0f}/s, p99 {sample["p99"]:.0f} us '
                         f'(usually {sample["usual_p99"]:.0f}), '
                         f'foreign {sample["foreign"]:.0%}, stolen {sample["stolen"]:.1%}')
    return rows
