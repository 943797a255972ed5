"""What a stretch of load costs the process that serves it."""
import time

from . import machine


def cores():
    """How long the contestant's core was busy, and how long the two were not there, added up."""
    (busy, stolen), (_, of_load) = machine.core_seconds(machine.PROXY_CORE), machine.core_seconds(machine.LOAD_CORE)
    return busy, stolen + of_load


def measure(process, client, load):
    """Has `client` run `load`; what it saw, and what it cost the two."""
    before, cpu, loading, began = cores(), process.cpu_ns(), client.cpu_ns(), time.monotonic()
    sample = load()
    took = time.monotonic() - began
    cpu, loading = process.cpu_ns() - cpu, client.cpu_ns() - loading
    busy, stolen = (after - earlier for after, earlier in zip(cores(), before))
    good = sample['statuses'].get('200', 0)
    if good < sample['requests'] or sample['broken']:
        raise machine.Failure(f'{process.name} answered {sample["statuses"]}, and {sample["broken"]} requests broke')
    return {
        **sample,
        'cpu_us': cpu / 1000 / max(1, good),
        'core_used': cpu / 1e9 / took,
        'client_used': loading / 1e9 / took,
        'foreign': max(0.0, busy - cpu / 1e9) / took,
        'stolen': stolen / took,
        'memory': process.memory(),
    }
