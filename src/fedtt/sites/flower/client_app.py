"""Flower's client app: hands a message to the site's warm worker, and brings its answer back.

Flower starts a new process for every message. So this one loads neither torch nor a model, which
take seconds; the worker is the long-lived process of ``fedtt join``.
"""

import os
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedtt.errors import WireError
from fedtt.sites.flower.flower_message import from_record, to_record
from fedtt.sites.flower.process_ending import end_with_parent
from fedtt.sites.frames import OWN_LIMIT, SITE_SOCKET, Frame, ask

PATIENCE = 12 * 3600.0  # the worker itself knows how long a round lasts


def answer(message: Message, _context: Context) -> Message:
    """The worker's answer to the message, as Flower carries it."""
    end_with_parent()
    try:
        asked = from_record(message.content, limit=OWN_LIMIT)
        reply = ask(Path(os.environ[SITE_SOCKET]), asked, timeout=PATIENCE, limit=OWN_LIMIT)
    except (WireError, OSError) as error:
        reply = Frame(content={"error": f"the site's worker does not answer: {error}"})
    return Message(to_record(reply), reply_to=message)


app = ClientApp()
app.query()(answer)
