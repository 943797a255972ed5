"""Starts the real binary for a benchmark, on ports that the system chooses, and speaks JSON to it."""
import json
import os
import subprocess
import sys


def start(binary, data, **more):
    """The process, the environment it runs in (for operators' commands, with `more` variables), and the address of its
    gateway."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith('PORTCULLIS_')}
    environment['PORTCULLIS_DATA_DIR'] = data
    for role in ('GATEWAY', 'IDENTITY', 'TOKEN', 'HOME'):
        environment[f'PORTCULLIS_{role}__LISTEN'] = environment[f'PORTCULLIS_{role}__ADMIN_LISTEN'] = '127.0.0.1:0'
    environment.update(more)
    server = subprocess.Popen([binary], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in server.stdout:
        if line.startswith('Portcullis is ready: '):
            return server, environment, line.split()[3].removeprefix('http://')
    sys.exit('it did not start')


def post(connection, path, body):
    """The status and the text of the answer."""
    connection.request('POST', path, json.dumps(body), {'Content-Type': 'application/json'})
    response = connection.getresponse()
    return response.status, response.read()
