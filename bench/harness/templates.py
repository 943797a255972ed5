"""Configurations of the servers, from bench/peers."""
import os
import subprocess

PEERS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'peers')


def render(name, **values):
    """A configuration with its {{NAMES}} filled in."""
    with open(os.path.join(PEERS, name)) as file:
        text = file.read()
    for key, value in values.items():
        text = text.replace('{{%s}}' % key, str(value))
    return text


def write(path, text):
    """Writes a file; gives its path."""
    with open(path, 'w') as file:
        file.write(text)
    return path


def log_setting(binary, logs):
    """How `access_log` is written for this binary: it was true or false before it was a kind of log."""
    defaults = subprocess.run([binary, 'defaults'], capture_output=True, text=True, check=True).stdout
    if 'access_log = true' in defaults:
        return 'true' if logs else 'false'
    return '"text"' if logs else '"off"'
