"""Complete configurations by name: in a wheel ``fedtt/presets``, in a checkout beside ``src``."""

import os
from functools import cache
from pathlib import Path

from fedtt.errors import ConfigError
from fedtt.registry import Registry

_PACKAGE = Path(__file__).parent
PLACES = (_PACKAGE / "presets", _PACKAGE.parents[1] / "presets")


@cache
def preset_files() -> Registry[Path]:
    """Name -> file, of all presets that there are."""
    place = next((place for place in PLACES if place.is_dir()), PLACES[0])
    return Registry("preset", {path.stem: path for path in sorted(place.glob("*.toml"))})


def find_config(given: str | Path, *, folder: Path = Path()) -> Path:
    """The file that is meant: the one at that path or, where none is, the preset of that name.

    A path is relative to ``folder``; left out, to the working directory.

    Raises :class:`ConfigError` for a name, neither a path nor one with an extension, of neither.
    """
    name = Path(given)
    path = folder / name
    is_name = name.name == str(name) and not name.suffix
    # os.path: pathlib raises for a name longer than any file's.
    if os.path.isfile(path) or not is_name:  # noqa: PTH113
        return path
    presets = preset_files()
    if name.name not in presets and os.path.exists(path):  # noqa: PTH110
        return path
    try:
        return presets[presets.check(name.name)]
    except ValueError as error:
        raise ConfigError(
            "cannot read the configuration",
            where=str(path),
            got=f"no such file, and {error}",
            fix="give the path of a TOML file or the name of a preset: fedtt presets",
        ) from error
