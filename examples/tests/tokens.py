"""Tokens that are not good, made from one that is."""

import base64
import hashlib
import hmac
import json

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWK


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def parts(token):
    """Header, claims and signature of a token."""
    header, claims, signature = map(decode, token.split("."))
    return json.loads(header), json.loads(claims), signature


def join(header, claims, signature):
    return ".".join(encode(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (header, claims, signature))


def hmac_signed(header, claims, secret, algorithm="HS256"):
    signed = join({**header, "alg": algorithm}, claims, b"").rpartition(".")[0]
    return f"{signed}.{encode(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def public_pem(jwk):
    return PyJWK.from_dict(jwk).key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def tampered(token, key_set):
    """What anybody can make from a token and the public keys, by name. None of these may be taken for good."""
    header, claims, signature = parts(token)
    head, _, tail = token.rpartition(".")
    [jwk] = [key for key in key_set["keys"] if key["kid"] == header["kid"]]
    flipped = bytes([signature[0] ^ 1]) + signature[1:]
    return {
        "another subject": join(header, {**claims, "sub": "somebody-else", "user_id": "somebody-else"}, signature),
        "another role": join(header, {**claims, "roles": ["superuser"]}, signature),
        "a later expiry": join(header, {**claims, "exp": claims["exp"] + 3600}, signature),
        "another header": join({**header, "x": "y"}, claims, signature),
        "a changed signature": join(header, claims, flipped),
        "a signature of zeros": join(header, claims, bytes(len(signature))),
        "half a signature": join(header, claims, signature[: len(signature) // 2]),
        "no signature": f"{head}.",
        "two segments": head,
        "alg none": join({**header, "alg": "none"}, claims, b""),
        "alg none with the signature": join({**header, "alg": "none"}, claims, signature),
        "alg nOnE": join({**header, "alg": "nOnE"}, claims, b""),
        "HS256 under the public key as PEM": hmac_signed(header, claims, public_pem(jwk)),
        "HS256 under the public key as JWK": hmac_signed(header, claims, json.dumps(jwk).encode()),
        "HS256 under nothing": hmac_signed(header, claims, b""),
        "a key that nobody has published": join({**header, "kid": "unknown"}, claims, signature),
        "garbage": "garbage",
    }
