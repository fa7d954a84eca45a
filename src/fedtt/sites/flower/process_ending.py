"""Processes of Flower that end when they should, whatever their threads wait for. No torch.

Flower ends a process by raising in its main thread, and Python then waits for the threads that pull
objects: for two hours where a node has announced an object that it never sends.
"""

import multiprocessing
import os
import signal
import threading
import time

STARTER = "FEDTT_STARTER"  # names the id of the process that started this one
LOOK_EVERY = 0.5
GRACE = 10.0  # seconds to end by itself


def starter() -> int:
    """The process that started this one, also where it is gone already. To be asked once.

    Whoever asks the system only after its imports, which take seconds, may find who inherited it.
    So ``child_processes.start`` says it in the environment; it is taken out of there, since what
    this process starts has another parent.
    """
    said = os.environ.pop(STARTER, "")
    return int(said) if said.isdecimal() else os.getppid()


def end_with_parent() -> None:
    """From now on this process is asked to stop once its parent is gone, and then made to.

    Of one that was forked for another it is that other: what forked it lives as long as it does.
    """
    asker, parent = multiprocessing.parent_process(), starter()

    def watch() -> None:
        if asker is not None:
            asker.join()
        else:
            while os.getppid() == parent:
                time.sleep(LOOK_EVERY)
        os.kill(os.getpid(), signal.SIGTERM)
        end_soon()

    threading.Thread(target=watch, daemon=True).start()


def end_soon() -> None:
    """Let this process end by itself within the grace, and no later."""
    timer = threading.Timer(GRACE, os._exit, (1,))
    timer.daemon = True
    timer.start()
