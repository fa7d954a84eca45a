"""The bar in a notebook: what is drawn, and how often."""

import io

import pytest
from rich.console import Console

from fedtt.cli import progress
from fedtt.cli.notebook_bar import NotebookBar
from fedtt.experiment.events import RunPrepared, StepDone


def test_a_bar_says_how_far_it_is_and_draws_no_more_often_than_it_must() -> None:
    shown: list[str] = []
    now = iter([0.0, 0.1, 0.15, 0.25])
    bar = NotebookBar(shown.append, clock=lambda: next(now))
    task = bar.add_task("preparing", total=None, detail="")
    bar.update(task, total=8, completed=2)
    bar.update(task, advance=0.5, description="round 1/4 <b>", detail="step 1/2")
    bar.update(task, advance=0.5)
    assert shown == [
        '<progress aria-label="training"></progress> preparing',
        '<progress value="3.000" max="8" aria-label="training"></progress> '
        "round 1/4 &lt;b&gt; step 1/2",
    ]
    bar.close()
    assert shown[2] == shown[1]


def test_a_run_watched_in_a_notebook_is_shown_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(progress, "open_bar", lambda: NotebookBar(shown.append))
    out = Console(file=io.StringIO())
    out.is_jupyter = True
    kept = {"rounds": 2, "next_round": 1, "cohort_size": 3, "alone": False, "sent_bytes": 0}
    step = {"round_index": 1, "step": 0, "steps": 1, "loss": 0.5, "alone": False}
    with progress.watch(out, silent=False) as show:
        show(RunPrepared(**kept, clients=("a", "b", "c"), exchanged_parameters={}, notes=()))
        for client in "abc":
            show(StepDone(**step, client_id=client))
    assert "preparing" in shown[0]
    assert shown[-1] == (
        '<progress value="6.000" max="6" aria-label="training"></progress> '
        "round 2/2 c step 1/1 loss 0.500"
    )
