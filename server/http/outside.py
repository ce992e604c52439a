"""How the service is seen from outside: through which proxies, and under which path."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from server.config import ConfigError, HttpSettings
from server.dialects.interface import Headers

UNIX_PEER: Final = "0.0.0.0"  # noqa: S104  # as Tornado calls the peer of a Unix socket
UNIX: Final = "unix"
MANY: Final = 1024  # cached peers
MAX_PREFIX: Final = 200  # characters

_PAIR: Final = re.compile(r'[ \t]*([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s";,]*))[ \t]*')
_ESCAPE: Final = re.compile(r"\\(.)")
_NODE: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\w+)?|([0-9.]+)(?::\w+)?")
_OBFUSCATED: Final = re.compile(r"_[A-Za-z0-9._-]{1,39}")  # RFC 7239, section 6.3
_HOST: Final = re.compile(r"[\w.\-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?", re.ASCII)
_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Seen(NamedTuple):
    """How a client sees the service, and the service its client.

    Attributes:
        client: the address of the client.
        scheme: `http` or `https`.
        host: the host, and its port if it is not the one of the scheme.
        root: the path under which the service is, such as `/models`, or an empty string.
    """

    client: str
    scheme: str
    host: str
    root: str

    @property
    def address(self) -> str:
        """What the URLs of the service begin with."""
        return f"{self.scheme}://{self.host}{self.root}"


class _Told(NamedTuple):
    """What headers tell; empty where they tell nothing."""

    client: str = ""
    scheme: str = ""
    host: str = ""


class Outside:
    """Takes from requests what trusted proxies tell, and from paths what they have added.

    Args:
        has_route: returns whether there is a route for a path.

    Attributes:
        root: the path under which the service is, unless a proxy tells another one.

    Raises ConfigError for a network that cannot be.
    """

    def __init__(
        self, settings: HttpSettings, has_route: Callable[[str], bool] = lambda _: False
    ) -> None:
        self.root = settings.root_path
        self._has_route = has_route
        self._trusts_unix = UNIX in settings.trusted_proxies
        self._networks = [_network(each) for each in settings.trusted_proxies if each != UNIX]
        self.trusts = lru_cache(MANY)(self._trusts)
        self.inner_path = lru_cache(MANY)(self._inner_path)

    def seen(self, headers: Headers, peer: str, scheme: str, host: str) -> Seen:
        """Return how a request is seen, that comes from `peer` to a `host` by a `scheme`.

        Where Forwarded and the X-Forwarded headers tell different things, none of them is believed:
        the proxy sets one of them, and passes on what a client wrote into the other.
        """
        if not self.trusts(peer):
            return Seen(peer, scheme, host, self.root)
        rfc, usual = self._forwarded(headers), self._x_forwarded(headers)
        client, scheme_told, host_told = map(_agreed, rfc, usual)
        root = _prefix(headers.get("x-forwarded-prefix", ""))
        return Seen(client or peer, scheme_told or scheme, host_told or host, root or self.root)

    def client(self, headers: Headers, peer: str) -> str:
        """Return the address of the client whose request comes from `peer`."""
        return self.seen(headers, peer, "", "").client if self.trusts(peer) else peer

    def inner_target(self, target: str) -> str:
        """Return a target in normal form without the path under which the service is."""
        if not self.root or not target.startswith(self.root):
            return target
        path, mark, query = target.partition("?")
        return self.inner_path(path) + mark + query

    def _inner_path(self, path: str) -> str:
        """Remove `root`, which some proxies remove themselves; a route of that path comes first."""
        if not self.root or not f"{path}/".startswith(f"{self.root}/") or self._has_route(path):
            return path
        return path.removeprefix(self.root) or "/"

    def _trusts(self, peer: str) -> bool:
        if peer == UNIX_PEER:
            return self._trusts_unix
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    def _forwarded(self, headers: Headers) -> _Told:
        """Read Forwarded (RFC 7239); one that is malformed tells nothing."""
        elements = _elements(headers.get("forwarded", ""))
        if not elements:
            return _Told()
        chosen = elements[self._client_in([_node(each.get("for", "")) for each in elements])]
        client = _node(chosen["for"]) if "for" in chosen else ""
        return _Told(client, _scheme(chosen.get("proto", "")), _host(chosen.get("host", "")))

    def _x_forwarded(self, headers: Headers) -> _Told:
        """Read X-Forwarded-For, -Proto and -Host."""
        given = headers.get("x-forwarded-for", "")
        nodes = [_node(each.strip()) for each in given.split(",")] if given else []
        number = self._client_in(nodes)

        def same_hop(name: str) -> str:
            values = headers.get(name, "").split(",")
            return values[number if len(values) == len(nodes) else -1].strip()

        return _Told(
            nodes[number] if nodes else "",
            _scheme(same_hop("x-forwarded-proto")),
            _host(same_hop("x-forwarded-host")),
        )

    def _client_in(self, nodes: list[str]) -> int:
        """Return which node is the client: the last one that is no trusted proxy.

        Clients can write whatever they like to the left of it.
        """
        for number in range(len(nodes) - 1, -1, -1):
            if not self.trusts(nodes[number]):
                return number
        return 0


def _agreed(one: str, other: str) -> str:
    """Return what both tell, or what one tells alone."""
    return "" if one and other and one != other else one or other


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(f"http.trusted_proxies: {error}") from None


def _elements(text: str) -> list[dict[str, str]]:
    """Return the parameters of each element of Forwarded by name; nothing if it is malformed."""
    found: list[dict[str, str]] = [{}]
    position = 0
    while position < len(text):
        pair = _PAIR.match(text, position)
        position = pair.end() if pair else 0
        if pair is None or text[position : position + 1] not in ("", ";", ","):
            return []
        value = _ESCAPE.sub(r"\1", pair[2]) if pair[2] is not None else pair[3]
        found[-1].setdefault(pair[1].lower(), value)
        if text[position : position + 1] == ",":
            found.append({})
        position += 1
    return found if text else []


def _node(text: str) -> str:
    """Return an address without its port, or what a proxy says in place of one."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    match = _NODE.fullmatch(text)
    if match:
        try:
            return str(ipaddress.ip_address(match[1] or match[2]))
        except ValueError:
            return "unknown"
    return text if _OBFUSCATED.fullmatch(text) else "unknown"


def _scheme(text: str) -> str:
    return text.lower() if text.lower() in ("http", "https") else ""


def _host(text: str) -> str:
    return text if _HOST.fullmatch(text) else ""


def _prefix(text: str) -> str:
    """Return a path without a slash at its end; each of several proxies may have removed a part."""
    path = "".join(f"/{part.strip().strip('/')}" for part in text.split(",") if part.strip(" /"))
    return path if len(path) <= MAX_PREFIX and _PREFIX.fullmatch(path) else ""
