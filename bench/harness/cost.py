"""What a stretch of load costs the process that serves it."""
import time

from . import machine


def measure(process, load):
    """Runs `load`; what the client saw, and what it cost."""
    core = machine.PROXY_CORE
    busy, cpu, began = machine.core_busy_seconds(core), process.cpu_ns(), time.monotonic()
    sample = load()
    took = time.monotonic() - began
    cpu = process.cpu_ns() - cpu
    busy = machine.core_busy_seconds(core) - busy
    good = sample['statuses'].get('200', 0)
    if good < sample['requests'] or sample['broken']:
        raise machine.Failure(f'{process.name} answered {sample["statuses"]}, and {sample["broken"]} requests broke')
    return {
        **sample,
        'cpu_us': cpu / 1000 / max(1, good),
        'core_used': cpu / 1e9 / took,
        'foreign': max(0.0, busy - cpu / 1e9) / took,
        'memory': process.memory(),
    }
