"""Tasks by name: the catalog, and their data from a directory or the hub."""

from fedtt.data.named.catalog import SILOS, SOURCES, TASKS, find_task
from fedtt.data.named.named_source import load_named, load_named_split
from fedtt.data.named.named_task import NamedTask

__all__ = [
    "SILOS",
    "SOURCES",
    "TASKS",
    "NamedTask",
    "find_task",
    "load_named",
    "load_named_split",
]
