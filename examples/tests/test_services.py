"""The example services of docs/RESOURCE_SERVICES.md, as they stand there."""

import pytest

from conftest import start_service
from portcullis import request


def orders(service, token=None, method="GET"):
    return request(method, f"{service.url}/orders", token)


def test_a_user_gets_through_and_is_known(service, es256):
    status, body, _ = orders(service, es256.access)
    assert (status, body) == (200, {"user": es256.user["id"], "orders": []})


def test_nobody_gets_through_without_a_token(service):
    status, body, headers = orders(service)
    assert status == 401 and headers["www-authenticate"].startswith("Bearer")
    assert body["detail"] == "Authentication credentials were not provided."


def test_tokens_that_are_not_good_are_refused(service, es256):
    for name, token in {**es256.bad_tokens(), "a token of a service account": es256.service}.items():
        status, _, headers = orders(service, token)
        assert status == 401, f"{name}: {status}"
        assert headers["www-authenticate"].startswith("Bearer"), name


def test_a_role_that_the_token_lacks_is_missed(service, es256):
    assert orders(service, es256.access, "DELETE")[0] == 403
    assert orders(service, es256.portcullis.login("root")["access"], "DELETE")[0] == 204


def test_a_logout_is_known_at_the_gateway_and_to_whoever_follows_the_feed(service, es256):
    """What docs/RESOURCE_SERVICES.md warns of: those who only have the keys do not learn of it."""
    pair, gate = es256.portcullis.login("ada"), es256.portcullis.url
    assert orders(service, pair["access"])[0] == 200
    assert request("POST", f"{gate}/api/auth/logout", json={"refresh": pair["refresh"]})[0] == 205
    while request("GET", f"{gate}/home", pair["access"])[0] != 401:
        pass
    if service.name == "rust":
        while orders(service, pair["access"])[0] != 401:
            pass
    else:
        assert orders(service, pair["access"])[0] == 200


@pytest.mark.parametrize("name", ["fastapi", "express"])
def test_a_key_set_that_cannot_be_fetched_is_not_the_callers_fault(name, directory, es256):
    service = start_service(name, directory, es256, PORTCULLIS_JWKS_URL="http://127.0.0.1:9/jwks.json")
    try:
        status, _, headers = orders(service, es256.access)
        assert (status, headers["retry-after"]) == (503, "1")
    finally:
        service.stop()
