"""What the kernel says about processes and cores, and how processes are started, pinned and ended."""
import http.client
import os
import re
import signal
import socket
import subprocess
import time

PROXY_CORE = int(os.environ.get('BENCH_PROXY_CORE', '0'))
LOAD_CORE = int(os.environ.get('BENCH_LOAD_CORE', '1'))
TICK = os.sysconf('SC_CLK_TCK')


class Failure(Exception):
    """What went wrong, in words for whoever ran the benchmark."""


def free_ports(count):
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(('127.0.0.1', 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def read(path):
    with open(path) as file:
        return file.read()


def cpu_clock(pid):
    """The clock of the time that all threads of a process have been on a core, as clock_getcpuclockid(3) makes it."""
    return (~pid << 3) | 2


class Process:
    """A server, on one core, with its children. Its output goes to a file, unless it is talked to through `pipes`: then only
    what it complains about."""

    def __init__(self, name, command, core, directory, environment=None, pipes=False):
        os.makedirs(directory, exist_ok=True)
        self.name = name
        self.directory = directory
        self.log = os.path.join(directory, 'log')
        clean = {key: value for key, value in os.environ.items() if not key.startswith('PORTCULLIS_')}
        with open(self.log, 'w') as log:
            self.popen = subprocess.Popen(
                ['taskset', '-c', str(core), *command], stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else log, stderr=log, text=True, cwd=directory,
                env={**clean, 'HOME': directory, **(environment or {})}, start_new_session=True)

    def tree(self):
        """The process ids of it and of its children."""
        found, open_ends = [], [self.popen.pid]
        while open_ends:
            pid = open_ends.pop()
            found.append(pid)
            try:
                for task in os.listdir(f'/proc/{pid}/task'):
                    open_ends += map(int, read(f'/proc/{pid}/task/{task}/children').split())
            except OSError:
                pass
        return found

    def cpu_ns(self):
        """Nanoseconds on a core so far, threads that have ended included."""
        total = 0
        for pid in self.tree():
            try:
                total += time.clock_gettime_ns(cpu_clock(pid))
            except OSError:
                pass  # It has ended meanwhile.
        return total

    def memory(self):
        """Resident bytes."""
        return sum(int(re.search(r'VmRSS:\s+(\d+)', read(f'/proc/{pid}/status')).group(1)) for pid in self.tree()) * 1024

    def tail(self):
        return read(self.log)[-2000:]

    def stop(self):
        """Asks it to end, and sees to it that it does."""
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(4)
            except subprocess.TimeoutExpired:
                for pid in self.tree():
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except OSError:
                        pass
                self.popen.wait()


def core_seconds(core):
    """For how long the core has been busy since the machine started, with whatever, and for how long of that it was not
    there: a virtual machine's host had given it to others.
    """
    for line in read('/proc/stat').splitlines():
        if line.startswith(f'cpu{core} '):
            values = [int(value) for value in line.split()[1:9]]
            return (sum(values) - values[3] - values[4]) / TICK, values[7] / TICK
    raise Failure(f'there is no core {core}: the benchmark needs two (BENCH_PROXY_CORE, BENCH_LOAD_CORE)')


def get(port, path, token=None, timeout=5):
    """The status of an answer."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=timeout)
    try:
        connection.request('GET', path, headers={'Authorization': f'Bearer {token}'} if token else {})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def wait_for(process, port, path, token=None, patience=60):
    """Waits until the answer is 200; gives the seconds since the process was asked for."""
    began = time.monotonic()
    status = None
    while time.monotonic() - began < patience:
        if process.popen.poll() is not None:
            break
        try:
            status = get(port, path, token)
            if status == 200:
                return time.monotonic() - began
        except OSError:
            pass
        # Only how finely the start is measured hangs on this pause.
        time.sleep(0.002)
    raise Failure(f'{process.name} does not answer 200 to {path} (last: {status}); it said:\n{process.tail()}')


def describe():
    """The machine, for the report."""
    model = re.search(r'model name\s*:\s*(.*)', read('/proc/cpuinfo'))
    return {
        'processor': model.group(1) if model else 'unknown',
        'cores': os.cpu_count(),
        'kernel': os.uname().release,
        'date': time.strftime('%F %T'),
    }
