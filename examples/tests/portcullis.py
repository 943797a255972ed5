"""Starts what the tests talk to: the real binary, and the example services, each on a port that the system chooses."""

import json
import os
import re
import subprocess
import urllib.error
import urllib.request

ISSUER = "https://auth.example.com"
AUDIENCE = "example-services"


class Process:
    """A program that says where it listens. What it prints after that goes to a file beside its data."""

    def __init__(self, command, pattern, log, cwd=None, environment=None):
        self.log = open(log, "w+")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT, cwd=cwd, env=environment)
        with open(log) as said:
            text = ""
            while not (found := re.search(pattern, text)):
                if self.process.poll() is not None:
                    raise RuntimeError(f"{command} ended:\n{text + said.read()}")
                text += said.read()
        self.url = found[1]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.log.close()


class Portcullis(Process):
    """`portcullis up` on `data`, with settings of its own."""

    def __init__(self, binary, data, **settings):
        self.binary = binary
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("PORTCULLIS_")}
        for role in ("GATEWAY", "IDENTITY", "TOKEN", "HOME"):
            self.environment[f"PORTCULLIS_{role}__LISTEN"] = "127.0.0.1:0"
            self.environment[f"PORTCULLIS_{role}__ADMIN_LISTEN"] = "127.0.0.1:0"
        self.environment |= {
            "PORTCULLIS_DATA_DIR": str(data),
            "PORTCULLIS_GATEWAY__WEB_ROOT": "",
            "PORTCULLIS_IDENTITY__BCRYPT_COST": "4",
            "PORTCULLIS_TOKEN__ISSUER": ISSUER,
            "PORTCULLIS_TOKEN__AUDIENCE": AUDIENCE,
            **settings,
        }
        log = data.parent / f"{data.name}-{len(list(data.parent.iterdir()))}.log"
        super().__init__([binary, "up"], r"Portcullis is ready: (\S+)", log, environment=self.environment)
        self.jwks_url = f"{self.url}/.well-known/jwks.json"
        said = log.read_text()
        self.token_url = "http://" + re.search(r"listening role=token address=(\S+)", said)[1]

    def command(self, *arguments, **more):
        """What an operator's command prints."""
        return subprocess.run(
            [self.binary, *arguments], env=self.environment, check=True, capture_output=True, text=True, **more
        ).stdout

    def client(self, name, *scopes):
        """A new service account: its id and its secret."""
        said = self.command("clients", "create", name, *(f"--scope={scope}" for scope in scopes))
        return tuple(re.search(rf"^{member}=(\S+)$", said, re.M)[1] for member in ("client_id", "client_secret"))

    def register(self, name):
        """A new user: the account, and the tokens of its first session."""
        member = {"username": name, "email": f"{name}@example.com", "password": "correct horse"}
        return request("POST", f"{self.url}/api/auth/register", json=member)[1]

    def login(self, name):
        return request("POST", f"{self.url}/token", json={"username": name, "password": "correct horse"})[1]


def request(method, url, token=None, json=None):
    """The status, what the body says as JSON, and the headers of the answer."""
    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
    data = None
    if json is not None:
        headers["content-type"] = "application/json"
        data = dumps(json)
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=10)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        text = answer.read()
        return answer.status, loads(text) if text else None, answer.headers


def dumps(value):
    return json.dumps(value).encode()


def loads(text):
    try:
        return json.loads(text)
    except ValueError:
        return text
