"""The command line behind scripts/bench."""
import argparse
import fnmatch
import json
import os
import re
import signal
import subprocess
import sys
import time

from . import flat, machine, profile, report
from .bench import Bench
from .contestants import contestants
from .scenarios import Runner, run, scenarios


# Who is looked at closely.
PROFILED = 'portcullis'


def pair(text):
    name, equals, value = text.partition('=')
    if not equals:
        raise argparse.ArgumentTypeError('write it as NAME=VALUE')
    return name, value


def arguments():
    parser = argparse.ArgumentParser(prog='scripts/bench', description=__doc__)
    parser.add_argument('what', nargs='?', default='run', choices=['run', 'list', 'profile', 'report'],
                        help='run: measure (the default); list: contestants and scenarios; profile: where the time of a '
                             'request goes in portcullis; report: write table and chart of FILE again')
    parser.add_argument('file', nargs='?', help='a JSON file of results, for report')
    parser.add_argument('--contestants', default='*', metavar='A,B', help='who; * stands for anything')
    parser.add_argument('--scenarios', default='*', metavar='A,B', help='what')
    parser.add_argument('--rounds', type=int, help='how often (default 7; some scenarios half of it, or a multiple)')
    parser.add_argument('--quick', action='store_true', help='few and short rounds: to see that it works, and roughly what')
    parser.add_argument('--rate', type=int, default=2500, help='requests a second of `paced` (default 2500)')
    parser.add_argument('--compare', type=pair, action='append', default=[], metavar='NAME=BINARY',
                        help='another build of portcullis as a contestant')
    parser.add_argument('--add', type=pair, action='append', default=[], metavar='NAME=COMMAND',
                        help='another contestant; {port}, {upstream}, {sink} and {jwks} are filled in')
    parser.add_argument('--results', metavar='DIRECTORY', help='where results go (default bench/results)')
    for hidden in ('binary', 'load', 'envoy', 'traefik', 'bench'):
        parser.add_argument(f'--{hidden}', required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in ('binary', 'load', 'envoy', 'traefik'):
        setattr(options, name, os.path.abspath(getattr(options, name)))
    options.compare = [(name, os.path.abspath(path)) for name, path in options.compare]
    options.readme = None if options.results else os.path.join(options.bench, 'README.md')
    options.results = os.path.abspath(options.results or os.path.join(options.bench, 'results'))
    return options


def wanted(name, patterns):
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns.split(','))


def chosen(patterns, named, what):
    found = [each for each in named if wanted(each.name, patterns)]
    for pattern in patterns.split(','):
        if pattern not in ('flat', 'profile', '*') and not any(fnmatch.fnmatch(each.name, pattern) for each in named):
            raise machine.Failure(f'there is no {what} {pattern}; `scripts/bench list` names them all')
    return found


def progress(text):
    print(f'{time.strftime("%T")} {text}', file=sys.stderr, flush=True)


def versions(options):
    """Of everybody who takes part, as they say it."""
    said = {
        'Portcullis': [options.binary, '--version'],
        'HAProxy': ['haproxy', '-v'],
        'nginx': ['nginx', '-v'],
        'Envoy': [options.envoy, '--version'],
        'Traefik': [options.traefik, 'version'],
    }
    found = {}
    for name, command in said.items():
        done = subprocess.run(command, capture_output=True, text=True)
        version = re.search(r'\d+\.\d+\.\d+', done.stdout + done.stderr)
        found[name] = version.group() if version else 'unknown'
    return found


def start(bench, options, results):
    """Starts everybody who is to be measured. Who cannot be is reported, and does not keep the others from it."""
    runners = []
    for contestant in chosen(options.contestants, contestants(options), 'contestant'):
        try:
            runner = Runner(bench, contestant)
            runner.warm()
        except machine.Failure as failure:
            results['failures'].append(str(failure))
            progress(f'FAILED {failure}')
            continue
        results['starts'][runner.name] = {
            'checks': contestant.checks, 'seconds': runner.starts, 'memory': runner.idle_memory}
        progress(f'{runner.name}: answers after {min(runner.starts) * 1000:.0f} ms, {runner.idle_memory / 1e6:.1f} MB')
        runners.append(runner)
    return runners


def measure(options):
    everything = options.contestants == options.scenarios == '*'
    plan = chosen(options.scenarios, scenarios(options), 'scenario')
    results = {
        'machine': machine.describe(),
        'versions': versions(options),
        'whole': everything and not options.quick,
        'scenarios': {scenario.name: scenario.title for scenario in plan},
        'starts': {},
        'failures': [],
    }
    look_closely = wanted('profile', options.scenarios) and profile.available()
    with Bench(options) as bench:
        runners = start(bench, options, results) if plan or look_closely else []
        results['samples'] = run(bench, runners, plan, progress, results['failures'])
        for runner in runners:
            if look_closely and runner.name == PROFILED:
                results['profile'] = profile.profile(bench, runner)
        if wanted('flat', options.scenarios):
            results['flat'] = flat.measure(bench, progress)
    return results


def rounded(value):
    """Figures as exact as they can be; more digits would only fill the file."""
    if isinstance(value, float):
        return float(f'{value:.6g}')
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return {key: rounded(each) for key, each in value.items()} if isinstance(value, dict) else value


def save(options, suffix, text):
    """Writes a file of today's results; its path."""
    os.makedirs(options.results, exist_ok=True)
    path = os.path.join(options.results, time.strftime('%F') + suffix)
    with open(path, 'w') as file:
        file.write(text)
    return path


def main():
    options = arguments()
    # What we do ourselves must not disturb who is measured.
    os.sched_setaffinity(0, {machine.LOAD_CORE})
    if options.what == 'list':
        for each in contestants(options):
            print(f'{each.name:24} {each.checks}')
        print()
        for each in scenarios(options):
            print(f'{each.name:24} {each.title}')
        print(f'{"flat":24} {flat.TITLE}')
        print(f'{"profile":24} {profile.TITLE}, where there is perf')
    elif options.what == 'profile':
        with Bench(options) as bench:
            patterns = PROFILED if options.contestants == '*' else options.contestants
            for each in chosen(patterns, contestants(options), 'contestant'):
                runner = Runner(bench, each)
                runner.warm()
                report.print_profile(profile.profile(bench, runner))
    elif options.what == 'report':
        report.write(options.file, options.readme)
    else:
        results = measure(options)
        suffix = '.json' if results['whole'] else '-part.json'
        report.write(save(options, suffix, json.dumps(rounded(results), indent=1)), options.readme)
        if results['failures']:
            sys.exit('bench: not everybody could be measured:\n' + '\n'.join(results['failures']))


if __name__ == '__main__':
    # Being told to end is no reason to leave servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except machine.Failure as failure:
        sys.exit(f'bench: {failure}')
