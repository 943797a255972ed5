"""OAuth clients that others wrote, unmodified, at our endpoints."""

import os

import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session as Authlib
from authlib.oauth2.rfc6750 import InsufficientScopeError, InvalidTokenError
from authlib.oauth2.rfc7662 import IntrospectTokenValidator
from oauthlib.oauth2 import BackendApplicationClient
from oauthlib.oauth2.rfc6749.errors import InvalidClientError, InvalidScopeError
from requests_oauthlib import OAuth2Session as RequestsOauthlib

from portcullis import ISSUER, request

# Both ask for https, and the tests are on one machine.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"


@pytest.fixture(scope="module")
def account(es256):
    return es256.portcullis.client("orders", "orders:read", "orders:write")


@pytest.fixture(scope="module")
def endpoints(es256):
    """Where they are, as the metadata says (RFC 8414), but on this machine."""
    url = es256.portcullis.url
    metadata = requests.get(f"{url}/.well-known/oauth-authorization-server", timeout=5).json()
    assert metadata["issuer"] == ISSUER
    return {name: address.replace(ISSUER, url) for name, address in metadata.items() if isinstance(address, str)}


@pytest.fixture(params=["client_secret_basic", "client_secret_post"])
def authlib(request, account):
    return Authlib(*account, token_endpoint_auth_method=request.param, revocation_endpoint_auth_method=request.param)


def test_authlib_gets_a_token_by_client_credentials(authlib, endpoints):
    token = authlib.fetch_token(endpoints["token_endpoint"], grant_type="client_credentials", scope="orders:read")
    assert (token["token_type"], token["scope"]) == ("Bearer", "orders:read")
    assert 0 < token["expires_in"] <= 300 and not token.is_expired()


def test_authlib_calls_another_service_in_its_own_name(account, endpoints, es256):
    session = Authlib(*account, token_endpoint=endpoints["token_endpoint"])
    session.fetch_token(grant_type="client_credentials")
    answer = session.get(f"{es256.portcullis.url}/home")
    assert answer.request.headers["authorization"] == f"Bearer {session.token['access_token']}"
    assert answer.json()["messages"][0]["message"] == "Token has wrong type", "the gateway is for users"


def test_authlib_introspects_tokens_of_users_and_of_service_accounts(authlib, endpoints, es256, account):
    own = authlib.fetch_token(endpoints["token_endpoint"], grant_type="client_credentials")["access_token"]
    url = endpoints["introspection_endpoint"]
    told = authlib.introspect_token(url, token=own, token_type_hint="access_token").json()
    assert told["active"] is True and told["token_type"] == "Bearer"
    assert (told["client_id"], told["sub"], told["iss"]) == ("orders", "orders", ISSUER)
    assert set(told["scope"].split()) == {"orders:read", "orders:write"}
    told = authlib.introspect_token(url, token=es256.portcullis.login("ada")["access"]).json()
    assert told["active"] is True and told["sub"] == es256.user["id"]
    for bad in ("garbage", own[:-4], es256.wrong["another audience"]):
        answer = authlib.introspect_token(url, token=bad)
        assert (answer.status_code, answer.json()) == (200, {"active": False})


def test_authlib_revokes_its_token_and_introspection_says_so(authlib, endpoints):
    token = authlib.fetch_token(endpoints["token_endpoint"], grant_type="client_credentials")["access_token"]
    assert authlib.revoke_token(endpoints["revocation_endpoint"], token=token, token_type_hint="access_token").ok
    url = endpoints["introspection_endpoint"]
    while authlib.introspect_token(url, token=token).json() != {"active": False}:
        pass
    assert authlib.revoke_token(endpoints["revocation_endpoint"], token=token).ok, "again is as good"


def test_a_service_that_introspects_by_rfc_7662_learns_of_a_logout(es256, account, endpoints):
    class Validator(IntrospectTokenValidator):
        """What Authlib's users write, as its documentation shows it."""

        def introspect_token(self, token_string):
            answer = requests.post(
                endpoints["introspection_endpoint"], data={"token": token_string}, auth=account, timeout=5
            )
            answer.raise_for_status()
            return answer.json()

        def check(self, token_string, scopes=None):
            self.validate_token(self.authenticate_token(token_string), scopes, None)

    validator, pair = Validator(), es256.portcullis.login("ada")
    validator.check(pair["access"])
    with pytest.raises(InsufficientScopeError):
        validator.check(pair["access"], "orders:read")
    status, _, _ = request("POST", f"{es256.portcullis.url}/api/auth/logout", json={"refresh": pair["refresh"]})
    assert status == 205
    with pytest.raises(InvalidTokenError):
        while True:
            validator.check(pair["access"])


@pytest.mark.parametrize("in_body", [False, True])
def test_requests_oauthlib_gets_a_token_and_revokes_it(account, endpoints, in_body):
    id, secret = account
    session = RequestsOauthlib(client=BackendApplicationClient(client_id=id, scope=["orders:write"]))
    token = session.fetch_token(
        endpoints["token_endpoint"], client_id=id, client_secret=secret, include_client_id=in_body or None
    )
    assert token["token_type"] == "Bearer" and token.scope == "orders:write"
    url, headers, body = session._client.prepare_token_revocation_request(
        endpoints["revocation_endpoint"], token["access_token"]
    )
    assert requests.post(url, body, headers=headers, auth=account, timeout=5).status_code == 200


def test_requests_oauthlib_understands_our_errors(account, endpoints):
    id, secret = account
    with pytest.raises(InvalidClientError):
        session = RequestsOauthlib(client=BackendApplicationClient(client_id=id))
        session.fetch_token(endpoints["token_endpoint"], client_id=id, client_secret="wrong")
    with pytest.raises(InvalidScopeError):
        session = RequestsOauthlib(client=BackendApplicationClient(client_id=id, scope=["everything"]))
        session.fetch_token(endpoints["token_endpoint"], client_id=id, client_secret=secret)
