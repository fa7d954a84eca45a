"""A bar in a notebook, of plain HTML: rich's needs ipywidgets, which not every notebook has."""

import time
from collections.abc import Callable
from html import escape
from typing import Any

from rich.progress import TaskID

SECONDS_BETWEEN = 0.2  # a notebook's file and connection are spared


class NotebookBar:
    """One bar, drawn anew where it stands; as much of rich's ``Progress`` as is used here.

    ``show`` is given the HTML of the bar as it is now.
    """

    def __init__(
        self, show: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._show = show
        self._clock = clock
        self._shown_at = -SECONDS_BETWEEN
        self._state: dict[str, Any] = {"completed": 0.0, "total": None, "description": ""}

    def add_task(self, description: str, *, total: float | None, **fields: Any) -> TaskID:
        """The one task there is."""
        self.update(TaskID(0), description=description, total=total, **fields)
        return TaskID(0)

    def update(self, task_id: TaskID, *, advance: float = 0.0, **changed: Any) -> None:  # noqa: ARG002
        """Note what changed, and draw it unless the bar was drawn just now."""
        self._state |= changed
        self._state["completed"] += advance
        now = self._clock()
        if now - self._shown_at >= SECONDS_BETWEEN:
            self._shown_at = now
            self._show(self.html())

    def close(self) -> None:
        """Draw how it ended."""
        self._show(self.html())

    def html(self) -> str:
        """The bar, then what is done now; without a value as long as the total is not known."""
        total = self._state["total"]
        value = f' value="{self._state["completed"]:.3f}" max="{total}"' if total else ""
        words = f"{self._state['description']} {self._state.get('detail', '')}".strip()
        return f'<progress{value} aria-label="training"></progress> {escape(words)}'


def open_bar() -> NotebookBar:
    """A bar in the output of the cell that runs; only where IPython's kernel runs."""
    display = __import__("IPython.display", fromlist=["HTML", "display"])
    handle = display.display(display.HTML(""), display_id=True)
    return NotebookBar(lambda html: handle.update(display.HTML(html)))
