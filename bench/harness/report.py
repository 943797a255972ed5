"""Turns a file of results into tables and a chart beside it."""
import collections
import json
import os
import statistics

from .contestants import PLAIN


def median(samples, key):
    return statistics.median(sample[key] for sample in samples)


def ratio(ours, theirs):
    """The median of the ratios within rounds: what slows the machine down slows both."""
    theirs = {sample['round']: sample['cpu_us'] for sample in theirs}
    paired = [sample['cpu_us'] / theirs[sample['round']] for sample in ours if sample['round'] in theirs]
    return statistics.median(paired) if paired else None


def number(value, digits=1):
    return '' if value is None else f'{value:,.{digits}f}'


def table(head, rows):
    lines = ['| ' + ' | '.join(head) + ' |', '|---' * len(head) + '|']
    return '\n'.join(lines + ['| ' + ' | '.join(row) + ' |' for row in rows])


def by_contestant(results, scenario):
    found = collections.defaultdict(list)
    for sample in results['samples']:
        if sample['scenario'] == scenario:
            found[sample['contestant']].append(sample)
    return found


def tables(results):
    parts = []
    for scenario, title in results['scenarios'].items():
        found = by_contestant(results, scenario)
        if not found:
            continue
        rows = []
        for name, samples in found.items():
            rows.append([name, number(median(samples, 'cpu_us')), number(ratio(samples, found.get(PLAIN, [])), 2),
                         number(median(samples, 'per_second'), 0), number(median(samples, 'p50'), 0),
                         number(median(samples, 'p99'), 0), f'{median(samples, "kernel"):.0%}',
                         f'{median(samples, "core_used"):.0%}', f'{median(samples, "foreign"):.0%}',
                         number(median(samples, 'memory') / 1e6)])
        head = ['', 'CPU µs/request', f'× {PLAIN}', 'requests/s', 'p50 µs', 'p99 µs', 'in the kernel', 'core used',
                'core used by others', 'memory MB']
        parts.append(f'### {title}\n\n{table(head, rows)}')
    rows = [[name, start['checks'], number(min(start['seconds']) * 1000, 0), number(start['memory'] / 1e6)]
            for name, start in results['starts'].items()]
    if rows:
        parts.append('### Start and idle\n\n' + table(['', 'checks the token', 'start to first answer ms', 'idle MB'], rows))
    return '\n\n'.join(parts) + '\n'


def write(path):
    """Writes the tables, and prints them."""
    with open(path) as file:
        results = json.load(file)
    text = tables(results)
    with open(os.path.splitext(path)[0] + '.md', 'w') as file:
        file.write(text)
    print(text)
