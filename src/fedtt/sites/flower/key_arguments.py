"""What Flower's programs are told about keys, and the registering of the sites' keys."""

import tomllib
from pathlib import Path

import tomli_w

from fedtt.errors import ConfigError, FedttError
from fedtt.sites.flower.child_environment import direct_connections
from fedtt.sites.keys import ServerKeys, SiteKeys, public_key_pem

CONNECTION = "fedtt"  # [superlink.fedtt] in $FLWR_HOME/config.toml


def superlink_arguments(keys: ServerKeys | None) -> list[str]:
    """To add to ``flower-superlink``: TLS and node authentication, or neither."""
    if keys is None:
        return ["--insecure"]
    return [
        "--ssl-ca-certfile",
        str(keys.ca.resolve()),
        "--ssl-certfile",
        str(keys.certificate.resolve()),
        "--ssl-keyfile",
        str(keys.key.resolve()),
        "--enable-supernode-auth",
    ]


def supernode_arguments(keys: SiteKeys | None) -> list[str]:
    """To add to ``flower-supernode``: whom it trusts, and who it is."""
    if keys is None:
        return ["--insecure"]
    return [
        "--root-certificates",
        str(keys.ca.resolve()),
        "--auth-supernode-private-key",
        str(keys.private_key.resolve()),
    ]


def connection_toml(keys: ServerKeys | None) -> str:
    """The lines of a connection to the server's own SuperLink, without its address."""
    lines: dict[str, object] = (
        {"insecure": True} if keys is None else {"root-certificates": str(keys.ca.resolve())}
    )
    return tomli_w.dumps(lines)


def register_nodes(keys: ServerKeys, *, flwr_home: Path) -> dict[int, str]:
    """Make the sites' keys known to the running SuperLink. Returns the site of every node id.

    A node id is the only name that Flower gives to a site, and it belongs to one key. Keys that the
    SuperLink knows already, from an earlier run on its database, keep their node; nodes whose keys
    are no longer among ``keys`` are removed, so that they are shut out.
    """
    from flwr.proto.control_pb2 import (
        ListNodesRequest,
        RegisterNodeRequest,
        UnregisterNodeRequest,
    )
    from flwr.supercore.control import ControlHttpClient
    from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
    from httpx import HTTPError

    wanted = {public_key_pem(path): name for name, path in keys.nodes.items()}
    with direct_connections():
        client = ControlHttpClient.from_server_address(
            _address_in(flwr_home / "config.toml"),
            insecure=False,
            root_certificates=keys.ca.read_bytes(),
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")],
        )
    try:
        with client:
            known = {
                node.public_key: node.node_id
                for node in client.ListNodes(ListNodesRequest()).nodes_info
                if node.status != "unregistered"
            }
            for key in known.keys() - wanted.keys():
                client.UnregisterNode(UnregisterNodeRequest(node_id=known.pop(key)))
            for key in wanted.keys() - known.keys():
                request = RegisterNodeRequest(public_key=key, name=wanted[key])
                known[key] = client.RegisterNode(request).node_id
    except HTTPError as error:
        raise FedttError(
            "the SuperLink did not take the sites' keys",
            where=f"{keys.directory}/sites",
            got=error,
            fix="see the SuperLink's log in the run directory",
        ) from error
    return {node_id: wanted[key] for key, node_id in known.items()}


def _address_in(path: Path) -> str:
    try:
        return str(tomllib.loads(path.read_text())["superlink"][CONNECTION]["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            "no connection to the SuperLink", where=str(path), got=repr(error)
        ) from error
