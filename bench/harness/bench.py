"""What contestants share: a directory, the upstream, the token services, and the load client."""
import contextlib
import json
import os
import subprocess
import tempfile

from . import machine
from .machine import Failure, Process
from .templates import render, write
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

    def start(self, name, command, core, directory, environment=None):
        process = Process(name, command, core, directory, environment)
        self.closing.callback(process.stop)
        return process

    def place(self, name):
        """A directory for one server."""
        path = os.path.join(self.directory, name)
        os.makedirs(path, exist_ok=True)
        return path

    def _start_upstream(self):
        big = os.path.join(self.directory, 'big')
        with open(big, 'wb') as file:
            file.write(os.urandom(MEGABYTE))
        os.chmod(big, 0o644)
        place = self.place('upstream')
        file = write(os.path.join(place, 'conf'),
                     render('upstream.conf', PORT=self.upstream, DIRECTORY=place, BIG=big))
        upstream = self.start('upstream', ['nginx', '-c', file], machine.LOAD_CORE, place)
        machine.wait_for(upstream, self.upstream, ITEM)
        # Its worker may have been there before.
        for process in upstream.tree():
            machine.take_short_turns(process)
        self.start('sink', [self.options.load, 'sink', f'127.0.0.1:{self.sink}'], machine.LOAD_CORE, self.place('sink'))

    def token_service(self, algorithm):
        """The token service that signs with this algorithm; started when it is needed first."""
        if algorithm not in self.token_services:
            self.token_services[algorithm] = TokenService(self, algorithm)
        return self.token_services[algorithm]

    def load(self, port, seconds, paths=(ITEM,), connections=64, rate=0, requests=0, tokens=None, skip=0, take=None,
             upload=None):
        """Has the load client send requests; what it measured."""
        command = ['taskset', '-c', str(machine.LOAD_CORE), self.options.load, 'run', '--address', f'127.0.0.1:{port}',
                   '--seconds', str(seconds), '--connections', str(connections), '--rate', str(rate),
                   '--requests', str(requests)]
        for path in paths:
            command += ['--path', path]
        if tokens:
            command += ['--tokens', tokens, '--skip', str(skip)]
            if take:
                command += ['--take', str(take)]
        if upload:
            command += ['--upload', str(upload)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
            try:
                machine.take_short_turns(client.pid)
                measured, complaint = client.communicate(timeout=seconds + 60)
            except BaseException:
                # Whoever has to end does not wait for it.
                client.kill()
                raise
        if client.returncode:
            raise Failure(f'the load client failed: {complaint.strip()}')
        return json.loads(measured)
