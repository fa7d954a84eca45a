"""A site that fails all the time fills nobody's terminal."""

from hypothesis import given
from hypothesis import strategies as st

from fedtt.sites.limited_news import A_MINUTE, STRANGERS, LimitedNews

SITES = ("north", "south")
EVENTS = st.lists(
    st.tuples(st.floats(0, 30), st.sampled_from([*SITES, "node 1", "node 2"]), st.integers(0, 40)),
    max_size=200,
)


def test_what_is_too_much_is_counted_and_the_others_are_heard() -> None:
    now = [0.0]
    told: list[tuple[str, str]] = []
    news = LimitedNews(lambda *line: told.append(line), sites=SITES, clock=lambda: now[0])
    for _ in range(A_MINUTE + 7):
        news("north", "no")
    news("south", "joined")
    assert told == [("north", "no")] * A_MINUTE + [("south", "joined")]
    now[0] = 61.0
    news("south", "left")
    assert told[A_MINUTE + 1 :] == [
        ("north", "7 more messages, left out here"),
        ("south", "left"),
    ]
    news("north", "no")
    assert told[-1] == ("north", "no")


def test_nodes_that_are_no_sites_share_their_lines() -> None:
    told: list[tuple[str, str]] = []
    news = LimitedNews(lambda *line: told.append(line), sites=SITES, clock=lambda: 0.0)
    for node in range(1000):
        news(f"node {node}", "refused")
    assert len(told) == A_MINUTE
    news.say_left_out()
    assert told[-1] == (STRANGERS, "980 more messages, left out here")


@given(EVENTS)
def test_no_site_has_more_lines_a_minute_and_none_is_lost_uncounted(
    events: list[tuple[float, str, int]],
) -> None:
    now, minutes, counted = 0.0, {}, 0
    passed = 0

    def tell(site: str, what: str) -> None:
        nonlocal counted, passed
        if "left out here" in what:
            counted += int(what.split(maxsplit=1)[0].replace(",", ""))
            return
        passed += 1
        known = site if site in SITES else STRANGERS
        key = (known, int(now // 60))
        minutes[key] = minutes.get(key, 0) + 1 + what.count("\n")

    news = LimitedNews(tell, sites=SITES, clock=lambda: now)
    for wait, site, breaks in events:
        now += wait
        news(site, "x" + "\n  | y" * breaks)
    news.say_left_out()
    assert all(lines <= A_MINUTE for lines in minutes.values())
    assert passed + counted == len(events)
