"""Identities made from what they stand for, so that the same thing has the same one each time."""

import random


def digest(text: str, digits: int) -> str:
    """Return so many hexadecimal digits for a text, which tell it from others; no secret can be kept by them.

    They are not hashlib's, which brings OpenSSL along: 4 MiB.
    """
    source = random.Random(text.encode(errors="surrogatepass"))  # noqa: S311
    return f"{source.getrandbits(4 * digits):0{digits}x}"


def uid(text: str) -> str:
    """Return an identity for a text in the form that the API server's have."""
    made = digest(text, 32)
    return "-".join((made[:8], made[8:12], made[12:16], made[16:20], made[20:]))
