"""The app that Flower is told to run: a directory with a ``pyproject.toml`` and nothing else.

Flower packs it (a FAB), sends it to every site and loads the two apps from the installed fedtt: no
code travels. Without ``dependencies`` a SuperNode would look for some to install.
"""

from pathlib import Path

from fedtt._version import __version__

_PYPROJECT = """\
[project]
name = "fedtt-sites"
version = "{version}"
description = "Carries messages between fedtt serve and fedtt join"
license = {{ text = "Apache-2.0" }}
dependencies = []

[tool.flwr.app]
publisher = "fedtt"

[tool.flwr.app.components]
serverapp = "fedtt.sites.flower.server_app:app"
clientapp = "fedtt.sites.flower.client_app:app"

[tool.flwr.app.config]
"""


def write_app(directory: Path) -> Path:
    """Make the app's directory; where it is."""
    app = directory / "fedtt-sites"
    app.mkdir(parents=True, exist_ok=True)
    (app / "pyproject.toml").write_text(app_text(), encoding="utf-8")
    return app


def app_text() -> str:
    """All that the app consists of."""
    plain = ".".join(part for part in __version__.split(".")[:3] if part.isdigit())
    return _PYPROJECT.format(version=plain)
