"""A refresh token that simplejwt made is exchanged for a session, once, and neither of its kinds is an access token here."""

from datetime import datetime, timedelta, timezone

import pytest
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from conftest import BINARY, DJANGO_KEY
from portcullis import Portcullis, request


@pytest.fixture
def portcullis(directory):
    until = datetime.now(timezone.utc) + timedelta(hours=1)
    running = Portcullis(
        BINARY,
        directory / "cut-over",
        PORTCULLIS_TOKEN__LEGACY__SECRET=DJANGO_KEY,
        PORTCULLIS_TOKEN__LEGACY__UNTIL=until.isoformat(),
    )
    yield running
    running.stop()


def test_a_session_of_simplejwt_goes_on(portcullis, directory):
    user = portcullis.register("ada")["user"]
    ids = directory / "ids.csv"
    ids.write_text("ada@example.com,5\n")
    portcullis.command("users", "legacy-ids", str(ids))
    refresh = RefreshToken()
    refresh["user_id"] = 5
    shown = {"refresh": str(refresh)}

    for token in (str(refresh), str(refresh.access_token)):
        assert request("GET", f"{portcullis.url}/home", token)[0] == 401
    assert request("POST", f"{portcullis.url}/token/refresh/", json={"refresh": str(AccessToken())})[0] == 401
    status, pair, _ = request("POST", f"{portcullis.url}/token/refresh/", json=shown)
    assert status == 200, pair
    status, me, _ = request("GET", f"{portcullis.url}/api/auth/me", pair["access"])
    assert (status, me["id"]) == (200, user["id"])
    again = request("POST", f"{portcullis.url}/token/refresh/", json=shown)[1]
    assert again["refresh"] == pair["refresh"]
    status, _, _ = request("POST", f"{portcullis.url}/logout/", pair["access"], {"refresh_token": str(refresh)})
    assert status == 205
    assert request("POST", f"{portcullis.url}/token/refresh/", json=shown)[0] == 401
