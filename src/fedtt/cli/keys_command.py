"""``fedtt keys``: the keys with which sites and server know each other."""

from pathlib import Path

from fedtt.cli.console import console, print_json, print_line


def keys_command(
    directory: Path, *, hosts: list[str], sites: list[str], overwrite: bool, as_json: bool
) -> None:
    """Make keys, and say which machine needs which."""
    from fedtt.sites.flower.version import check_flower

    check_flower()  # which brings what makes keys
    from fedtt.sites.keygen import make_keys

    written = make_keys(directory, hosts=hosts, names=sites, overwrite=overwrite)
    if as_json:
        print_json({"written": [str(path) for path in written]})
        return
    out = console()
    print_line(out, f"wrote {len(written)} files under {directory}")
    if hosts:
        print_line(out, f"  the server      {directory / 'server'}    fedtt serve --keys")
    for name in sites:
        print_line(out, f"  site {name}    {directory / 'sites' / name}    fedtt join --keys")
    if sites and not hosts:
        print_line(out, f"  the server needs its new {directory / 'server' / 'sites'}")
    print_line(
        out,
        f"Give each site its own directory and no other. {directory / 'ca.key'} stays off the "
        "network: it is needed only to make a new server certificate.",
    )
