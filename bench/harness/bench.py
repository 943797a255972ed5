"""What contestants share: a directory, the load client that is also their upstream, and the token services."""
import contextlib
import json
import os
import select
import sys
import tempfile

from . import machine
from .machine import Failure, Process
from .token_service import TokenService

ITEM, BIG, UPLOAD = '/bench/item', '/bench/big', '/bench/upload'
MEGABYTE = 1 << 20


class Bench:
    """The surroundings of a run; ends everything that it started when it is left."""

    def __init__(self, options):
        self.options = options
        self.closing = contextlib.ExitStack()
        self.token_services = {}

    def __enter__(self):
        try:
            self._begin()
        except BaseException:
            self.closing.close()
            raise
        return self

    def _begin(self):
        self.directory = self.closing.enter_context(tempfile.TemporaryDirectory(prefix='portcullis-bench-'))
        # Servers that change to another user still read what is theirs.
        os.chmod(self.directory, 0o755)
        self.upstream, self.sink = machine.free_ports(2)
        self._start_upstream()

    def __exit__(self, *failure):
        self.closing.close()

    def start(self, name, command, core, directory, environment=None, pipes=False):
        process = Process(name, command, core, directory, environment, pipes)
        self.closing.callback(process.stop)
        return process

    def place(self, name):
        """A directory for one server."""
        path = os.path.join(self.directory, name)
        os.makedirs(path, exist_ok=True)
        return path

    def _start_upstream(self):
        command = [self.options.load, 'serve', f'127.0.0.1:{self.upstream}']
        self.client = self.start('load client', command, machine.LOAD_CORE, self.place('load'), pipes=True)
        machine.wait_for(self.client, self.upstream, ITEM)
        self.start('sink', [self.options.load, 'sink', f'127.0.0.1:{self.sink}'], machine.LOAD_CORE, self.place('sink'))

    def token_service(self, algorithm):
        """The token service that signs with this algorithm; started when it is needed first."""
        if algorithm not in self.token_services:
            self.token_services[algorithm] = TokenService(self, algorithm)
        return self.token_services[algorithm]

    def load(self, port, seconds, paths=(ITEM,), connections=64, rate=0, requests=0, tokens=None, skip=0, take=None,
             upload=None):
        """Has the load client send requests; what it measured."""
        plan = ['--address', f'127.0.0.1:{port}', '--seconds', str(seconds), '--connections', str(connections),
                '--rate', str(rate), '--requests', str(requests)]
        for path in paths:
            plan += ['--path', path]
        if tokens:
            plan += ['--tokens', tokens, '--skip', str(skip)]
            if take:
                plan += ['--take', str(take)]
        if upload:
            plan += ['--upload', str(upload)]
        measured = self._carry_out(plan, seconds + 60)
        if 'failed' in measured:
            raise Failure(f'the load client failed: {measured["failed"]}')
        return measured

    def _carry_out(self, plan, patience):
        """What the load client says of a plan. Without it nobody can be measured, so its silence ends the run."""
        client = self.client.popen
        try:
            print(json.dumps(plan), file=client.stdin, flush=True)
            ready, _, _ = select.select([client.stdout], [], [], patience)
            line = client.stdout.readline() if ready else ''
        except OSError:
            line = ''
        if not line:
            sys.exit(f'bench: the load client says nothing any more; it complained before: {self.client.tail()}')
        return json.loads(line)
