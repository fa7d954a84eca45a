"""Vega, Vega-Lite and vega-embed as one script, which a page carries along."""

import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

import platformdirs

from fedtt.atomic_write import replace_file
from fedtt.errors import FedttError
from fedtt.extras import EXTRAS

SECONDS = 300
PRINT_BUNDLE = (
    "import sys, vl_convert; sys.stdout.buffer.write(vl_convert.javascript_bundle().encode())"
)


class MissingReportError(FedttError, ImportError):
    """What draws the pictures is not installed."""


@cache
def drawing_code() -> str:
    """The script. It is put together once a machine, which takes seconds, and kept in the cache.

    In a process of its own: it runs a JavaScript engine, which takes memory and may end the process
    it is in. Raises :class:`MissingReportError` without the extra.
    """
    if "vl_convert" in EXTRAS["report"].missing:
        raise MissingReportError(
            "what draws the report is not installed", fix="pip install 'fedtt[report]'"
        )
    place = Path(platformdirs.user_cache_dir("fedtt")) / f"vega-{version('vl-convert-python')}.js"
    if (kept := _kept(place)) is not None:
        return kept
    try:
        made = subprocess.run(
            [sys.executable, "-c", PRINT_BUNDLE],
            capture_output=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise FedttError(
            "the report's drawing code could not be made", got=f"nothing in {SECONDS} seconds"
        ) from error
    if made.returncode != 0 or b"vegaEmbed" not in made.stdout:
        raise FedttError(
            "the report's drawing code could not be made",
            got=made.stderr.decode(errors="replace").strip()[-300:] or made.returncode,
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, made.stdout)
    except OSError:
        pass  # made anew next time
    return made.stdout.decode()


def _kept(place: Path) -> str | None:
    try:
        text = place.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return text if "vegaEmbed" in text else None
