"""How many clients a secure sum takes; loads no package of an extra."""

FEWEST = 3  # in a sum of two, either knows the other's update
MOST_CLIENTS = 1000  # of a round: everyone makes keys and shares for everyone


def default_threshold(clients: int) -> int:
    """More than two thirds of them: the least that a sum takes, too."""
    return max(FEWEST, 2 * clients // 3 + 1)
