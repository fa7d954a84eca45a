"""What trackers wrote, read back without the code that wrote it."""

import json
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedtt.extras import EXTRAS

Points = dict[tuple[str, int], float]  # (name, round) -> value
BLOCK = 32768  # of a LevelDB log, as wandb writes


def tensorboard(run: Path) -> tuple[Points, dict[str, Any]]:
    """Scalars and hyper-parameters of a run's event files; no point may be there twice."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    points, found = [], {}
    for file in sorted((run / "track" / "tensorboard").iterdir()):
        assert socket.gethostname() not in file.name
        for frame in tf_records(file.read_bytes()):
            event = Event.FromString(frame)
            for value in event.summary.value:
                if not value.tag.startswith("_hparams_/"):
                    points.append(((value.tag, event.step), value.simple_value))
                    continue
                content = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                for key, held in content.session_start_info.hparams.items():
                    assert key not in found
                    found[key] = getattr(held, held.WhichOneof("kind"))
                if content.HasField("session_end_info"):
                    found["ended"] = content.session_end_info.status
    return once(points), found


def tf_records(content: bytes) -> list[bytes]:
    """Length (8 bytes), its checksum (4), the record, its checksum (4); again and again."""
    found, at = [], 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        found.append(content[at + 12 : at + 12 + length])
        assert len(found[-1]) == length
        at += length + 16
    return found


def mlflow(run: Path) -> tuple[Points, Any]:
    """Metrics of the one run in a file store, and the run."""
    from fedtt.experiment.tracking.mlflow_tracker import SETTINGS
    from fedtt.experiment.tracking.tracked_run import environment_defaults

    with environment_defaults(SETTINGS):
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=(run / "track" / "mlflow").absolute().as_uri())
        (experiment,) = [e for e in client.search_experiments() if e.name == "fedtt"]
        (found,) = client.search_runs([experiment.experiment_id])
        names = found.data.metrics
        every = [m for name in names for m in client.get_metric_history(found.info.run_id, name)]
    return once([((m.key, m.step), m.value) for m in every]), found


def wandb(run: Path) -> tuple[Points, dict[str, Any], list[int]]:
    """Points, configuration and row numbers of a run's offline folders."""
    from wandb.proto.wandb_internal_pb2 import Record

    points, config, rows, ids = [], {}, [], set()
    for file in sorted((run / "track" / "wandb").rglob("*.wandb"), key=lambda f: f.stat().st_mtime):
        for record in wandb_records(file, Record.FromString):
            if record.HasField("run"):
                ids.add(record.run.run_id)
                assert record.run.host == "-"  # nobody is told whose machine it was
                config |= {
                    item.key: json.loads(item.value_json) for item in record.run.config.update
                }
            if record.HasField("history"):
                row = {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json)
                    for item in record.history.item
                }
                rows.append(row["_step"])
                named = {name: x for name, x in row.items() if name[0] != "_" and name != "round"}
                points += [((name, row["round"]), x) for name, x in named.items()]
    assert len(ids) == 1
    return once(points), config, rows


def wandb_records(file: Path, parse: Callable[[bytes], Any]) -> list[Any]:
    """All of them, once the last is there: another process writes them, a moment later."""
    for _ in range(300):
        found = [parse(frame) for frame in leveldb_records(file.read_bytes()[7:])]
        if found and found[-1].HasField("exit"):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{file} has no end")


def leveldb_records(content: bytes) -> list[bytes]:
    """Blocks of pieces: checksum (4 bytes), length (2), kind (1: whole, 2: first, 3, 4: last)."""
    found, at, whole = [], 7, b""
    content = b"\0" * 7 + content  # what the header of the file was
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            found.append(whole)
            whole = b""
    return found


def once(points: list[tuple[tuple[str, int], float]]) -> Points:
    twice = [point for point, times in Counter(point for point, _ in points).items() if times > 1]
    assert twice == []
    return dict(points)


TENSORBOARD = ["tensorboard"] if not EXTRAS["tensorboard"].missing else []
"""``track.to`` of a test that is about something else: TensorBoard, where it is."""
