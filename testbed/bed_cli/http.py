"""HTTP to the bed's own servers on loopback: never through a proxy, always with a deadline."""
import json
import ssl
import urllib.error
import urllib.request

from .errors import BedError

# What never is a proxy's business: the bed's own servers. Of other clients not all know that by themselves.
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_no_proxy = urllib.request.ProxyHandler({})


def unproxied(environment, *more: str) -> dict[str, str]:
    """Variables that keep clients from asking a proxy for the bed's own servers, and what more is named, beside what they are kept from already."""
    kept = [entry.strip() for name in ("NO_PROXY", "no_proxy") for entry in environment.get(name, "").split(",")]
    entries = ",".join(dict.fromkeys([entry for entry in kept if entry] + [*LOOPBACK, *more]))
    return {"NO_PROXY": entries, "no_proxy": entries}


def get(url: str, *, context: ssl.SSLContext | None = None, token: str | None = None, timeout: float = 3,
        method: str = "GET", body: object = None) -> bytes:
    handlers = [_no_proxy] + ([urllib.request.HTTPSHandler(context=context)] if context else [])
    request = urllib.request.Request(url, method=method)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    if body is not None:
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps(body).encode()
    with urllib.request.build_opener(*handlers).open(request, timeout=timeout) as answer:
        return answer.read()


def answers(url: str, **how) -> bool:
    try:
        get(url, **how)
    except (OSError, urllib.error.URLError):
        return False
    return True


def call(url: str, **how):
    """JSON from a server that is expected to be there."""
    try:
        text = get(url, **how)
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace").strip()
        try:
            said = json.loads(said)["error"]
        except (ValueError, KeyError, TypeError):
            pass
        raise BedError(f"{said or error.reason} ({how.get('method', 'GET')} {url}: HTTP {error.code})") from error
    except OSError as error:
        raise BedError(f"{how.get('method', 'GET')} {url}: {error}. Is the bed up? `testbed/bed status` tells") from error
    return json.loads(text) if text.strip() else None
