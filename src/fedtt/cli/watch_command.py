"""``fedtt watch``: the report of a run in a browser, while the run goes on."""

import sys
import threading
import webbrowser
from pathlib import Path

from fedtt.cli.begin import loading
from fedtt.cli.console import console, print_json, print_line


def watch_command(run: Path, *, port: int, in_browser: bool, as_json: bool) -> None:
    """Say where the page is, and serve it until Ctrl-C."""
    with loading(silent=as_json):
        from fedtt.live import serving
    with serving(run, port=port) as server:
        if as_json:
            print_json({"run": str(run), "address": server.address})
        else:
            print_line(console(), server.address)
            print_line(console(), "Ctrl-C ends the page, not the run", style="dim")
        sys.stdout.flush()  # who started this may wait for the address
        if in_browser:
            # One in this terminal waits for the page, and this would wait for it.
            threading.Thread(target=webbrowser.open, args=(server.address,), daemon=True).start()
        server.serve_forever()
