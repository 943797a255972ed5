"""Deployments, tokens and example services that several tests share."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import django
import pytest
import requests
from django.conf import settings

from portcullis import AUDIENCE, ISSUER, Portcullis, Process, request
from tokens import parts, tampered

EXAMPLES = Path(__file__).parents[1]
BINARY = os.environ["PORTCULLIS_BIN"]
# Where Node.js has found its packages, with copies of the files of ours that want them.
EXPRESS = os.environ["PORTCULLIS_EXPRESS"]
# The example of crates/client, built.
RUST = os.environ["PORTCULLIS_RUST_EXAMPLE"]
ALGORITHMS = ["ES256", "EdDSA", "RS256"]
# What simplejwt signs with, where it does.
DJANGO_KEY = "django-insecure-0123456789abcdef0123456789abcdef"

settings.configure(SECRET_KEY=DJANGO_KEY, INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"])
django.setup()


@dataclass
class Deployment:
    """A running Portcullis, a good token of each kind, and those signed by its key all the same that are not good."""

    portcullis: Portcullis
    follower: tuple
    algorithm: str
    user: dict
    access: str
    service: str
    wrong: dict
    key_set: dict

    @property
    def jwks_url(self):
        return self.portcullis.jwks_url

    def bad_tokens(self):
        """By name: tampered ones, and real ones for somebody else. The expired one has expired when this returns."""
        expired = parts(self.wrong["expired"])[1]["exp"]
        time.sleep(max(0, expired + 6 - time.time()))  # the leeway of all that look at it, and a second
        return {**tampered(self.access, self.key_set), **self.wrong}


def service_token(portcullis, account):
    form = {"grant_type": "client_credentials"}
    return requests.post(f"{portcullis.url}/oauth/token", form, auth=account, timeout=5).json()["access_token"]


@pytest.fixture(scope="session")
def directory():
    path = Path(os.environ["PORTCULLIS_WORK"])
    path.mkdir(parents=True, exist_ok=True)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def deployments(directory):
    """One for each algorithm."""
    running = []

    def start(data, **settings):
        portcullis = Portcullis(BINARY, data, **settings)
        running.append(portcullis)
        return portcullis

    def deployment(algorithm):
        data = directory / algorithm
        own = {"PORTCULLIS_TOKEN__ALGORITHM": algorithm}
        portcullis = start(data, **own)
        user = portcullis.register("ada")
        superuser = ["createsuperuser", "--username=root", "--email=root@example.com", "--password-stdin"]
        portcullis.command(*superuser, input="correct horse")
        account = portcullis.client("plain")
        # Others on the same store and with the same key, that say something else.
        wrong = {}
        for what, setting in {
            "another issuer": {"PORTCULLIS_TOKEN__ISSUER": "https://evil.example.com"},
            "another audience": {"PORTCULLIS_TOKEN__AUDIENCE": "another-service"},
            "expired": {"PORTCULLIS_TOKEN__ACCESS_TTL": "1s"},
        }.items():
            wrong[what] = start(data, **own, **setting).login("ada")["access"]
            running.pop().stop()
        key_set = request("GET", portcullis.jwks_url)[1]
        return Deployment(
            portcullis, portcullis.client("follower", "feed:read"), algorithm, user["user"], user["access"], service_token(portcullis, account), wrong, key_set
        )

    try:
        yield {algorithm: deployment(algorithm) for algorithm in ALGORITHMS}
    finally:
        for portcullis in running:
            portcullis.stop()


@pytest.fixture(scope="session")
def es256(deployments):
    return deployments["ES256"]


def service_environment(deployment, **more):
    return {
        **os.environ,
        "PORTCULLIS_ISSUER": ISSUER,
        "PORTCULLIS_AUDIENCE": AUDIENCE,
        "PORTCULLIS_JWKS_URL": deployment.jwks_url,
        "PORTCULLIS_TOKEN_URL": deployment.portcullis.token_url,
        "PORTCULLIS_CLIENT_ID": deployment.follower[0],
        "PORTCULLIS_CLIENT_SECRET": deployment.follower[1],
        "DJANGO_SECRET_KEY": "only for sessions and forms, which this service has none of",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PORT": "0",
        **more,
    }


def start_service(name, directory, deployment, **more):
    """One of the example services, as its document says it is started."""
    command, cwd = {
        "django": ([sys.executable, "-m", "gunicorn", "--bind=127.0.0.1:0", "service"], EXAMPLES / "django"),
        "fastapi": ([sys.executable, "-m", "uvicorn", "--port=0", "service:app"], EXAMPLES / "fastapi"),
        "express": (["node", "service.js"], EXPRESS),
        "rust": ([RUST], EXAMPLES),
    }[name]
    log = directory / f"{name}-{len(list(directory.iterdir()))}.log"
    return Process(command, r"(http://127\.0\.0\.1:\d+)", log, cwd, service_environment(deployment, **more))


@pytest.fixture(scope="session", params=["django", "fastapi", "express", "rust"])
def service(request, directory, es256):
    running = start_service(request.param, directory, es256)
    running.name = request.param
    yield running
    running.stop()


@pytest.fixture(scope="session")
def jose(directory):
    """The package `jose`, in a process that is asked line by line."""
    with open(directory / "jose.log", "w") as log:
        process = subprocess.Popen(
            ["node", "verify.js"], cwd=EXPRESS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        yield process
        process.stdin.close()
        process.wait(10)
