"""What a site has for itself: its name, its data, and the configuration that it agrees to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtt.config import RunConfig, load_config, override_config, parse_config
from fedtt.engine.build import Federation, build_federation
from fedtt.engine.data import build_site_data
from fedtt.engine.hostile_clients import check_no_attack
from fedtt.errors import ConfigError
from fedtt.sites.agreement import OWN_KEYS, foreign_differences, sites_differences
from fedtt.sites.data_shares import Share

# Keys of a site's own business that a server could misuse: what a site reads, and what it loads.
HELD = {
    "model": ("name", "revision"),
    "data": (
        "test_path",
        "text_column",
        "pair_column",
        "label_column",
        "client_column",
        "label_values",
    ),
}


@dataclass(frozen=True, kw_only=True)
class SiteData:
    """A site's part: a file with one client's examples, or a share of the run's own data.

    ``agreed`` is the configuration that the site's owner agrees to, None for any; ``overrides``
    change keys that are the site's own business.
    """

    name: str
    data: Path | Share
    agreed: Path | None = None
    overrides: Sequence[str] = ()

    def config(self, table: Mapping[str, Any]) -> RunConfig:
        """The server's configuration as this site uses it.

        Raises :class:`ConfigError`, with the differences, where the server does something else
        than agreed, or the site would, and for a simulated attack.
        """
        server = parse_config(table, where="the server's configuration")
        check_no_attack(server.attack, elsewhere="asked for by the server")
        if self.agreed is not None:
            agreed = load_config(self.agreed)
            _check_agreed(server, agreed, where=self.agreed)
            server = _hold_to(agreed, server)
        elif isinstance(self.data, Path):  # a server chooses none of the site's files
            data = server.data.model_copy(update={"test_path": None})
            server = server.model_copy(update={"data": data})
        own = override_config(server, self.overrides)
        foreign = foreign_differences(server, own)
        if foreign:
            raise ConfigError(
                "a site may not change what all have in common:\n" + _lines(foreign),
                where="--set",
                expected=f"keys such as {', '.join(sorted(OWN_KEYS)[:3])}",
            )
        if isinstance(self.data, Share):
            return own
        data = own.data.model_copy(
            update={"path": self.data.resolve(), "source": None, "directory": None}
        )
        return own.model_copy(update={"data": data, "partition": None})

    def build(self, config: RunConfig) -> Federation:
        """The site's own objects of the run."""
        if isinstance(self.data, Share):
            return build_federation(config)
        data = build_site_data(config.data, config.task, client_id=self.name)
        return build_federation(config, data)

    def clients(self, federation: Federation) -> tuple[str, ...]:
        """The clients that train here."""
        if isinstance(self.data, Share):
            return self.data.of(federation.population)
        return (self.name,)


def _hold_to(agreed: RunConfig, server: RunConfig) -> RunConfig:
    """The server's configuration, but for which columns are read and which model is loaded.

    These may differ from the server's, and so are not compared; nor may the server choose them.
    """
    sections = {}
    for section, keys in HELD.items():
        own = {key: getattr(getattr(agreed, section), key) for key in keys}
        sections[section] = getattr(server, section).model_copy(update=own)
    return server.model_copy(update=sections)


def _check_agreed(server: RunConfig, agreed: RunConfig, *, where: Path) -> None:
    if agreed.model.dtype == "auto":  # left to the server's machine, which has settled it
        model = agreed.model.model_copy(update={"dtype": server.model.dtype})
        agreed = agreed.model_copy(update={"model": model})
    if agreed.task.date is None:  # and to the day on which the server began
        task = agreed.task.model_copy(update={"date": server.task.date})
        agreed = agreed.model_copy(update={"task": task})
    differences = foreign_differences(agreed, server) + sites_differences(agreed, server)
    if differences:
        raise ConfigError(
            "the server's configuration is not the one agreed to:\n" + _lines(differences),
            where=str(where),
            fix="agree on one configuration; each line says: here -> at the server",
        )


def _lines(differences: Sequence[str]) -> str:
    return "\n".join(f"  - {line}" for line in differences)
