"""The page of a run, served on this machine alone, which follows the run as it goes on.

It reads the files of the run and asks nothing of the processes that write them.
"""

from fedtt.live.page_server import PageServer, serving

__all__ = ["PageServer", "serving"]
