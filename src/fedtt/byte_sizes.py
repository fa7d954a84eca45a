"""Numbers of bytes as a reader wants them."""


def format_bytes(count: float) -> str:
    """``1234567`` as ``1.23 MB`` (powers of 1000), three significant digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
