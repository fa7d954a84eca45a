"""How soon Flower asks again for what was announced and has not arrived yet. No torch.

Who pulls a message between its announcement and its last part waits a second by Flower's own pace,
where a tenth would do: of three sites, one does in about every second round.
"""

from fedtt.sites.flower.version import not_as_tested

FIRST_PAUSE = 0.1  # seconds; each next one is twice as long


def pull_soon() -> None:
    """From now on this process asks again soon."""
    from flwr.supercore.inflatable.inflatable_utils import pull_objects

    defaults = pull_objects.__kwdefaults__ or {}
    if "initial_backoff" not in defaults:
        raise not_as_tested("flwr.supercore.inflatable, pulling objects")
    defaults["initial_backoff"] = FIRST_PAUSE
