"""A FastAPI service that checks by itself who calls it. Run it with `uvicorn service:app`."""

import os
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

ISSUER = os.environ["PORTCULLIS_ISSUER"]  # token.issuer in portcullis.toml
AUDIENCE = os.environ["PORTCULLIS_AUDIENCE"]  # token.audience
JWKS_URL = os.environ["PORTCULLIS_JWKS_URL"]  # the gateway's /.well-known/jwks.json

# Fetched once in five minutes, and for a key that is not in it; half a minute later at the earliest.
keys = jwt.PyJWKClient(JWKS_URL, timeout=3)
app = FastAPI()


def refusal(detail: str, challenge: str, status: int = 401) -> HTTPException:
    return HTTPException(status, detail, {"WWW-Authenticate": challenge})


def caller(
    header: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> dict:
    """The claims of a user whose token is good. Not `async`: fetching the key set blocks."""
    if header is None:
        raise refusal("Authentication credentials were not provided.", "Bearer")
    try:
        key = keys.get_signing_key_from_jwt(header.credentials)
        token = jwt.decode_complete(
            header.credentials,
            key,
            algorithms=["ES256"],  # token.algorithm; never taken from the token
            issuer=ISSUER,
            audience=AUDIENCE,
            leeway=5,
            options={"require": ["exp", "iat", "iss", "aud", "sub"]},
        )
    except jwt.PyJWKClientConnectionError as error:
        # Not 401: clients throw their tokens away on that.
        raise HTTPException(503, "The key set cannot be fetched.", {"Retry-After": "1"}) from error
    except jwt.PyJWTError as error:
        raise refusal("The token is not valid.", 'Bearer error="invalid_token"') from error
    claims = token["payload"]
    # RFC 9068 section 4: an access token, and of a user rather than of a service account.
    if token["header"].get("typ", "").lower() != "at+jwt" or claims.get("token_type") != "access":
        raise refusal("The token is of the wrong kind.", 'Bearer error="invalid_token"')
    return claims


Caller = Annotated[dict, Depends(caller)]


def role(name: str):
    """A dependency: only users who have this role get through."""

    def check(user: Caller) -> dict:
        if name not in user.get("roles", []):
            raise HTTPException(403, f"The role {name} is needed here.")
        return user

    return Depends(check)


@app.get("/orders")
def orders(user: Caller) -> dict:
    return {"user": user["sub"], "orders": []}


@app.delete("/orders", status_code=204)
def clear(user: Annotated[dict, role("superuser")]) -> None:
    """For administrators."""
