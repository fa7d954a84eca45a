"""Whether sites write their labels the same way: a 2 at one and at another is the same class."""

from collections.abc import Mapping, Sequence

Cells = Sequence[int] | None  # what stands for each class, None for their names


def contradict(one: Cells, other: Cells) -> int | None:
    """A label that means one class to one and another to the other; None where they agree."""
    if one is None or other is None:  # names say themselves what they mean
        return None
    classes = {cell: index for index, cell in enumerate(other)}
    return next((cell for index, cell in enumerate(one) if classes.get(cell, index) != index), None)


def odd_sites(cells: Mapping[str, Cells]) -> dict[str, str]:
    """Sites whose labels contradict those of most, each with why.

    Where as many write them one way as another, nobody knows who is right: then all that
    contradict another are told.
    """
    camps: list[list[str]] = []
    for name, own in cells.items():
        if own is None:
            continue
        camp = next((c for c in camps if contradict(cells[c[0]], own) is None), None)
        if camp is None:
            camps.append([name])
        else:
            camp.append(name)
    if len(camps) < 2:
        return {}
    camps.sort(key=len, reverse=True)
    most, *others = camps
    if len(others[0]) == len(most):
        others, most = camps, others[0]
    found = {}
    for camp in others:
        rival = most[0] if camp is not most else camps[0][0]
        for name in camp:
            found[name] = _why(cells[name], cells[rival], rival=rival)
    return found


def _why(own: Cells, other: Cells, *, rival: str) -> str:
    return f"{_text(own)} here, {_text(other)} at site {rival}, for the same classes"


def _text(cells: Cells) -> str:
    shown = ", ".join(map(str, (cells or ())[:5]))
    return f"labels {shown}{', ...' if len(cells or ()) > 5 else ''}"
