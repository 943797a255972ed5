"""Where the time of a request goes in our gateway: samples of the process under load, by what it was doing."""
import collections
import os
import re
import shutil
import subprocess
import threading

from .machine import Failure

SECONDS = 8
# So many functions are named.
TOP = 40
TITLE = 'Where each µs goes'
# What the kernel did, by the function that a system call begins with.
CALLS = [
    ('kernel: send', r'__sys_send|do_writev|vfs_writev|tcp_sendmsg$'),
    ('kernel: receive', r'__sys_recv|do_readv|sock_read_iter|inet_recvmsg|tcp_recvmsg$'),
    ('kernel: wait for events', r'epoll|sys_poll'),
    ('kernel: write the log', r'ksys_write|vfs_write$'),
    ('kernel: other calls', r'^__x64_sys_|do_syscall_64'),
]
# What the process did itself, by function; the first that fits.
FUNCTIONS = [
    ('allocate', r'malloc|free|realloc|raw_vec|calloc|unlink_chunk|_int_|mi_|rdl_alloc|rust_alloc|sysmalloc'),
    ('copy and compare bytes', r'memmove|memcpy|memset|memcmp|memchr'),
    ('revocation', r'revocation|Revocations|trust::Trust'),
    ('token: find, hash, look up', r'bearer|sha256|SHA256|digest|quick_cache|verif|admission|jsonwebtoken|Claims|ecdsa|p256'),
    ('access log', r'write_log|logging|log::|anstream|anstyle|env_logger|env_filter|jiff|access_log'),
    ('metrics', r'metrics|prometheus|Histogram'),
    ('routes, limits, policy', r'routes::|policy|limits|governor|table::|path::'),
    ('request id, random', r'rdrand|aes_hw|RAND|rand_|random|ctr_drbg|CTR_|uuid|RequestId'),
    ('headers', r'header|Header|cookie|cors|Cors'),
    ('parse', r'httparse|decoder|role::.*parse|Uri|uri::|Method|method|from_shared|bytestr'),
    ('format text', r'fmt|itoa|to_string|str::|String'),
    ('system calls, before the kernel', r'^__GI_|^__libc_|^__send|^__recv|^epoll_|^__write'),
    ('clock', r'clock_gettime|Instant|Timespec|clock::'),
    ('bytes, hash maps', r'^<?(bytes|hashbrown|core::hash)|BuildHasher'),
    ('upstream client', r'proxy|upstream|http1::|HeadWriter|gateway::body'),
    ('server (actix)', r'actix'),
    ('our own: serve, edge', r'portcullis'),
    ('runtime (tokio)', r'tokio|mio::|futures|waker|Waker|local_waker'),
]


# Where the kernel's addresses begin.
KERNEL = 1 << 63


def kind(stack):
    """What a sample belongs to: the innermost function comes first, and the kernel's before ours."""
    if stack[0][0] >= KERNEL:
        # From the outside in: whatever an interrupt does on top of a call that caused it belongs to the call.
        symbols = [symbol for address, symbol in reversed(stack) if address >= KERNEL and symbol != '[unknown]']
        for name, pattern in CALLS:
            if any(re.search(pattern, symbol) for symbol in symbols):
                return name
        return 'kernel: interrupts'
    symbol = stack[0][1]
    return next((name for name, pattern in FUNCTIONS if re.search(pattern, symbol)), 'other')


def stacks(data):
    """The samples of a recording, as lists of addresses and names."""
    text = subprocess.run(['perf', 'script', '-i', data, '-F', 'ip,sym'], capture_output=True, text=True).stdout
    for paragraph in text.split('\n\n'):
        stack = []
        for line in paragraph.strip().splitlines():
            address, _, symbol = line.strip().partition(' ')
            stack.append((int(address, 16), symbol))
        if stack:
            yield stack


def available():
    """Whether samples can be taken on this machine."""
    return shutil.which('perf') is not None


def profile(bench, runner):
    """What the process did while it was under load: microseconds a request by kind, and by function."""
    if not available():
        raise Failure('there is no perf: sudo apt-get install --no-install-recommends linux-perf')
    data = os.path.join(bench.directory, 'perf.data')
    measured = {}
    load = threading.Thread(target=lambda: measured.update(runner.measure(SECONDS + 1.0)))
    load.start()
    recorded = subprocess.run(
        ['perf', 'record', '--quiet', '--output', data, '--event', 'cpu-clock', '--freq', '1999', '--call-graph', 'fp',
         '--pid', str(runner.process.popen.pid), '--', 'sleep', str(SECONDS)], capture_output=True, text=True)
    load.join()
    if recorded.returncode or not measured:
        raise Failure(f'perf could not record: {recorded.stderr.strip()}')
    kinds, functions = collections.Counter(), collections.Counter()
    for stack in stacks(data):
        kinds[kind(stack)] += 1
        functions[stack[0][1][:90]] += 1
    total = sum(kinds.values())
    share = measured['cpu_us'] / total
    return {
        'contestant': runner.name,
        'cpu_us': measured['cpu_us'],
        'samples': total,
        'kinds': {name: count * share for name, count in kinds.most_common()},
        'functions': {name: count * share for name, count in functions.most_common(TOP)},
    }
