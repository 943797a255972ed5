"""Libraries that others wrote verify our access tokens, and refuse what is not one."""

import json

import jwt
import pytest
import requests
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from joserfc.jwk import KeySet
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError

from portcullis import AUDIENCE, ISSUER  # noqa: E402


class Refused(Exception):
    """The library says that the token is not good."""


class PyJwt:
    algorithms = ("ES256", "EdDSA", "RS256")

    def __init__(self, deployment):
        self.algorithm = deployment.algorithm
        self.keys = jwt.PyJWKClient(deployment.jwks_url)

    def verify(self, token):
        try:
            key = self.keys.get_signing_key_from_jwt(token)
            return jwt.decode(token, key, algorithms=[self.algorithm], issuer=ISSUER, audience=AUDIENCE)
        except jwt.PyJWTError as error:
            raise Refused from error


class Authlib(JWTBearerTokenValidator):
    """Its validator of RFC 9068 access tokens, with the one method that is left to users of it."""

    algorithms = ("ES256", "RS256")

    def __init__(self, deployment):
        super().__init__(issuer=ISSUER, resource_server=AUDIENCE)
        self.key_set = KeySet.import_key_set(requests.get(deployment.jwks_url, timeout=5).json())

    def get_jwks(self):
        return self.key_set

    def verify(self, token):
        try:
            claims = self.authenticate_token(token)
            self.validate_token(claims, None, None)
            return dict(claims)
        except (OAuth2Error, ValueError) as error:
            raise Refused from error


class SimpleJwt:
    """djangorestframework-simplejwt, which knows no EdDSA."""

    algorithms = ("ES256", "RS256")

    def __init__(self, deployment):
        self.backend = TokenBackend(deployment.algorithm, audience=AUDIENCE, issuer=ISSUER, jwk_url=deployment.jwks_url)

    def verify(self, token):
        try:
            return self.backend.decode(token)
        except TokenBackendError as error:
            raise Refused from error


class Jose:
    algorithms = ("ES256", "EdDSA", "RS256")

    def __init__(self, deployment, process):
        self.deployment, self.process = deployment, process

    def verify(self, token):
        question = {"token": token, "jwks": self.deployment.jwks_url, "algorithms": [self.deployment.algorithm]}
        question |= {"issuer": ISSUER, "audience": AUDIENCE, "typ": "at+jwt"}
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "refused" in answer:
            raise Refused(answer["refused"])
        return answer["claims"]


@pytest.fixture(
    params=[(library, algorithm) for library in (PyJwt, Authlib, SimpleJwt, Jose) for algorithm in library.algorithms],
    ids=lambda pair: f"{pair[0].__name__}-{pair[1]}",
)
def case(request, deployments):
    library, algorithm = request.param
    deployment = deployments[algorithm]
    if library is Jose:
        return deployment, Jose(deployment, request.getfixturevalue("jose"))
    return deployment, library(deployment)


def test_it_takes_the_token_of_a_user_and_reads_its_claims(case):
    deployment, library = case
    claims = library.verify(deployment.access)
    assert claims["sub"] == claims["user_id"] == deployment.user["id"]
    assert (claims["iss"], claims["aud"], claims["token_type"]) == (ISSUER, AUDIENCE, "access")


def test_it_takes_the_token_of_a_service_account_and_can_tell_it_apart(case):
    deployment, library = case
    claims = library.verify(deployment.service)
    assert (claims["sub"], claims["client_id"], claims["token_type"]) == ("plain", "plain", "service")


def test_it_refuses_whatever_is_not_good(case):
    deployment, library = case
    for name, token in deployment.bad_tokens().items():
        with pytest.raises(Refused):
            library.verify(token)
            pytest.fail(f"{name} was taken for a good token")
