"""Turns a file of results into tables, and a chart, beside it."""
import collections
import json
import os
import statistics

from .contestants import PLAIN
from .profile import TITLE as PROFILE

# What the gateway is to reach: a contestant's CPU per request in proportion to another's, at most this.
GOALS = [
    ('saturated', PLAIN, 1.5, 'HAProxy that checks no token'),
    ('saturated', 'haproxy-rs256', 0.4, 'HAProxy that checks RS256 signatures'),
    ('saturated', 'envoy-rs256-cache', 0.35, 'Envoy with its cache of tokens, RS256'),
    ('saturated', 'envoy-es256-cache', 0.35, 'Envoy with its cache of tokens, ES256'),
    ('saturated', 'nginx-auth-request', 1.0, 'nginx that asks an endpoint that always says yes'),
    ('cold', 'haproxy-es256', 1.0, 'HAProxy that checks ES256 signatures, every token being new'),
]
IDLE_MEMORY, FLAT = 15e6, 1.1
REVOCATIONS_MEMORY, FLAT_REVOCATIONS = 100e6, 1.05
# Beyond this share of the core for others, figures say more about them.
BUSY = 0.1


def median(samples, key):
    return statistics.median(sample[key] for sample in samples)


def latency(samples, key):
    """The median of the quieter half of the rounds: those in which others used least of the core, and the machine was as
    fast as it can be (the same request cost the least). Latencies show first what others do, be it on other machines."""
    fastest = min(sample['cpu_us'] for sample in samples)
    quiet = sorted(samples, key=lambda sample: sample['foreign'] + sample['cpu_us'] / fastest)
    return median(quiet[:(len(samples) + 1) // 2], key)


def ratio(ours, theirs, key='cpu_us'):
    """The median of the ratios within rounds: what slows the machine down slows both."""
    theirs = {sample['round']: sample[key] for sample in theirs}
    paired = [sample[key] / theirs[sample['round']] for sample in ours
              if sample[key] and theirs.get(sample['round'])]
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


def scenario_table(found):
    rows = [
        [name, number(median(samples, 'cpu_us')), number(ratio(samples, found.get(PLAIN, [])), 2),
         number(median(samples, 'per_second'), 0), number(latency(samples, 'p50'), 0), number(latency(samples, 'p99'), 0),
         number(median(samples, 'usual_p99'), 0) if median(samples, 'usual_p99') else '',
         *(f'{median(samples, key):.0%}' for key in ('core_used', 'client_used', 'foreign')),
         number(median(samples, 'memory') / 1e6, 0)]
        for name, samples in found.items()]
    return table(['', 'CPU µs/request', f'× {PLAIN}', 'requests/s', 'p50 µs', 'p99 µs', 'usual p99 µs',
                  'of the core used', 'of the other core', 'used by others', 'memory MB'], rows)


def goals(results):
    """How every portcullis did against what it is to reach."""
    scenarios = {scenario: by_contestant(results, scenario) for scenario in results['scenarios']}
    ours = [name for name in results['starts'] if name.startswith('portcullis')]
    if not ours:
        return ''
    rows = []
    for scenario, peer, most, words in GOALS:
        found = scenarios.get(scenario, {})
        if peer in found:
            measured = [number(ratio(found[name], found[peer]), 2) if name in found else '' for name in ours]
            rows.append([f'CPU per request × {words}', f'≤ {most}', *measured])
    for scenario, words in (('own70', 'usual p99 at 70 % of its own saturation × HAProxy’s at 70 % of its own'),
                            ('plain70', 'usual p99 at 70 % of HAProxy’s saturation × HAProxy’s')):
        found = scenarios.get(scenario, {})
        if PLAIN in found:
            measured = [number(ratio(found[name], found[PLAIN], 'usual_p99'), 2) if name in found
                        else 'does not reach that rate' for name in ours]
            rows.append([words, '≤ 1.0', *measured])
            # What the host did in the worst hundredth of these half seconds is in it, too.
            measured = [number(ratio(found[name], found[PLAIN], 'p99'), 2) if name in found else '' for name in ours]
            rows.append([words.replace('usual p99', 'plain p99', 1), '', *measured])
    rows.append(['memory at idle, MB', f'< {IDLE_MEMORY / 1e6:.0f}',
                 *(number(results['starts'][name]['memory'] / 1e6) for name in ours)])
    if flat := results.get('flat'):
        none = [''] * (len(ours) - 1)
        rows.append([f'CPU per request with {flat["title"]}', f'≤ {FLAT}', number(flat['ratio'], 2), *none])
        revocations = f'{flat["revocations"]:,} revocations'
        rows.append([f'CPU per request with {revocations} beside none', f'≤ {FLAT_REVOCATIONS}',
                     number(flat['ratio_of_revocations'], 2), *none])
        rows.append([f'memory of {revocations}, MB', f'< {REVOCATIONS_MEMORY / 1e6:.0f}',
                     number(flat['memory']['of_a_revocation'] * flat['revocations'] / 1e6, 0), *none])
    return table(['', 'goal', *ours], rows)


def flat_table(flat):
    rows = []
    for name, samples in flat['samples'].items():
        label = 'large, without revocations' if name == 'routes' else name
        rows.append([label, number(median(samples, 'cpu_us')), number(median(samples, 'per_second'), 0),
                     number(latency(samples, 'p99'), 0), number(flat['ready_after_seconds'][name], 1),
                     number(flat['memory'][name] / 1e6, 0)])
    memory = flat['memory']
    return (table(['', 'CPU µs/request', 'requests/s', 'p99 µs', 'start to first answer s', 'memory MB'], rows)
            + f'\n\nCPU per request: × {flat["ratio"]:.2f}, of which the revocations × {flat["ratio_of_revocations"]:.2f}. Memory: {memory["of_a_revocation"]:.0f} bytes a revocation, '
            f'{memory["of_a_cached_token"]:.0f} a cached token, {memory["of_a_route"]:,.0f} a route.')


def profile_table(profile, part):
    """Where the time of a request went, by `kinds` or by `functions`."""
    total = profile['cpu_us']
    rows = [[name if part == 'kinds' else f'`{name}`', number(cost, 2), f'{cost / total:.1%}']
            for name, cost in profile[part].items()]
    return table([f'{profile["contestant"]}: {total:.1f} µs/request, {profile["samples"]:,} samples', 'µs/request', 'share'],
                 rows)


def introduction(results):
    """When, on what and with which versions."""
    machine = results['machine']
    versions = ', '.join(f'{name} {version}' for name, version in results['versions'].items())
    return (f'Measured on {machine["date"]}: {machine["cores"]} cores of {machine["processor"]}, '
            f'Linux {machine["kernel"]}; {versions}.')


def tables(results):
    parts = [introduction(results)]
    if results['samples'] and (others := median(results['samples'], 'foreign')) > BUSY:
        parts.append(f'**The machine was busy: others used {others:.0%} of the core of those who were measured. Neither '
                     'times nor ratios can be believed.**')
    if results['failures']:
        parts.append('**Not everybody could be measured:** ' + '; '.join(results['failures']))
    if reached := goals(results):
        parts.append('### What it is to reach\n\n' + reached)
    for scenario, title in results['scenarios'].items():
        if found := by_contestant(results, scenario):
            parts.append(f'### {title}\n\n{scenario_table(found)}')
    if results.get('flat'):
        parts.append(f'### {results["flat"]["title"]}\n\n{flat_table(results["flat"])}')
    if profile := results.get('profile'):
        parts.append(f'### {PROFILE}\n\n{profile_table(profile, "kinds")}\n\n{profile_table(profile, "functions")}')
    if results['starts']:
        rows = [[name, start['checks'], number(min(start['seconds']) * 1000, 0), number(start['memory'] / 1e6)]
                for name, start in results['starts'].items()]
        parts.append('### Start and idle\n\n' + table(
            ['', 'what it does about the token', 'start to first answer ms', 'idle MB'], rows))
    return '\n\n'.join(parts) + '\n'


def chart(results, path):
    """CPU per request by contestant, as a picture."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    found = by_contestant(results, 'saturated')
    if not found:
        return
    names = sorted(found, key=lambda name: -median(found[name], 'cpu_us'))
    values = [median(found[name], 'cpu_us') for name in names]
    figure, axes = pyplot.subplots(figsize=(10, 0.5 * len(names) + 1.6), layout='constrained')
    colors = ['#1f6feb' if name.startswith('portcullis') else '#b8bec7' for name in names]
    bars = axes.barh([f'{name}\n{results["starts"][name]["checks"]}' for name in names], values, color=colors)
    axes.tick_params(axis='y', labelsize=8)
    labels = []
    for name, value in zip(names, values):
        times = ratio(found[name], found.get(PLAIN, []))
        labels.append(f'{value:.1f}' + (f'  (× {times:.2f})' if times else ''))
    axes.bar_label(bars, labels, padding=4, fontsize=9)
    axes.set_xlim(0, max(values) * 1.18)
    axes.set_xlabel(f'µs of one core for a request of 200 bytes of JSON (× {PLAIN}); less is better')
    axes.set_title('What a proxied request costs, and what is done about its token', fontsize=11)
    axes.spines[['top', 'right']].set_visible(False)
    figure.savefig(path, dpi=130)


def into_readme(readme, results, stem):
    """Puts the outcome of a whole run into the README, between its markers."""
    with open(readme) as file:
        before, begin, rest = file.read().partition('<!-- results -->\n')
    _, end, after = rest.partition('<!-- end of results -->')
    name = os.path.relpath(stem, os.path.dirname(readme))
    parts = [
        introduction(results),
        '### What it is to reach',
        goals(results),
        f'![CPU per request by contestant]({name}.png)',
        f'### {results["scenarios"]["saturated"]}',
        scenario_table(by_contestant(results, 'saturated')),
        f'### {results["flat"]["title"]}',
        flat_table(results['flat']),
        *([f'### {PROFILE}', profile_table(results['profile'], 'kinds')] if 'profile' in results else []),
        f'Everything else: [{name}.md]({name}.md), and every round in [{name}.json]({name}.json).',
    ]
    with open(readme, 'w') as file:
        file.write(before + begin + '\n' + '\n\n'.join(parts) + '\n\n' + end + after)


def print_profile(profile):
    """Both tables of a profile."""
    print('\n\n'.join([f'### {PROFILE}', profile_table(profile, 'kinds'), profile_table(profile, 'functions')]))


def write(path, readme=None):
    """Writes the tables and the chart, and prints the tables."""
    with open(path) as file:
        results = json.load(file)
    text = tables(results)
    stem = os.path.splitext(path)[0]
    with open(stem + '.md', 'w') as file:
        file.write(text)
    chart(results, stem + '.png')
    if readme and results['whole']:
        into_readme(readme, results, stem)
    print(text)
