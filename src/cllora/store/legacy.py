"""Probes in folders of 0.1.0, read as the tables that are written now.

There, how a round's updates relate stood in its line of `rounds.jsonl` (`mechanism`), and what was measured at the end
in a JSON file each. The numbers are the same, to the last bit.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cllora.store.files import read_json
from cllora.store.folder import damage

Json = Mapping[str, Any]  # as such folders have it
WHEN = ("before", "after")
NUMBERS = ("norm", "cosine", "diversity", "drift", "averaging_error", "effective_rank", "effective_updates")


def legacy_names(folder: Path, rounds: Sequence[Json]) -> set[str]:
    """The probes of which a run's folder holds something in the form of 0.1.0.

    Args:
        rounds: the objects of its `rounds.jsonl`.
    """
    recorded = {"update_geometry"} if any(record.get("mechanism") for record in rounds) else set()
    return recorded | {name for name, (file, _) in FILES.items() if (folder / file).is_file()}


def legacy_probe(folder: Path, name: str, rounds: Sequence[Json]) -> pd.DataFrame:
    """The table of one of `legacy_names`.

    Raises:
        UsageError: a file is damaged.
    """
    if name == "update_geometry":
        with damage(folder / "rounds.jsonl"):
            return _update_geometry(rounds)
    file, table_of = FILES[name]
    kept, last = read_json(folder / file), read_json(folder / "spec.json")
    with damage(folder / file):
        table = table_of(kept)
        table.insert(0, "round", last["federation"]["num_rounds"])
    return table


def _update_geometry(rounds: Sequence[Json]) -> pd.DataFrame:
    names = next((record["layers"] for record in rounds if "layers" in record), None)
    rows = [row for record in rounds if record.get("mechanism") for row in _of_round(record, names)]
    table = pd.DataFrame(rows, columns=["round", "scope", "layer", "client", "other", *NUMBERS])
    table = table.fillna({"layer": "", "client": -1, "other": -1})
    return table.astype({"client": int, "other": int, **dict.fromkeys(NUMBERS, float)})


def _of_round(record: Json, names: Sequence[str] | None) -> Iterator[Json]:
    kept, clients, number = record["mechanism"], [client["client"] for client in record["clients"]], record["round"]
    yield {"round": number, "scope": "all", **kept["total"]}
    by_layer = kept["by_layer"]
    many = len(next(iter(by_layer.values()), []))
    for place, name in enumerate(names or map(str, range(many))):
        yield {"round": number, "scope": "layer", "layer": name, **{key: by_layer[key][place] for key in by_layer}}
    for client, norm, drift in zip(clients, kept["norms"], kept["drifts"], strict=True):
        yield {"round": number, "scope": "client", "client": client, "norm": norm, "drift": drift}
    for (first, second), cosine in zip(combinations(clients, 2), kept["cosines"] or [], strict=False):
        yield {"round": number, "scope": "pair", "client": first, "other": second, "cosine": cosine}


def _attention_entropy(kept: Json) -> pd.DataFrame:
    before, after = (np.array(kept[when]["share"], float) for when in WHEN)
    layers, heads = before.shape
    return pd.DataFrame(
        {
            "layer": np.repeat(np.arange(1, layers + 1), heads),
            "head": np.tile(np.arange(1, heads + 1), layers),
            "before": before.ravel(),
            "after": after.ravel(),
            "change": (after - before).ravel(),
            "nats_before": np.array(kept["before"]["nats"], float).ravel(),
            "nats_after": np.array(kept["after"]["nats"], float).ravel(),
            "texts": kept["texts"],
        }
    )


def _loss_by_position(kept: Json) -> pd.DataFrame:
    edges = kept["edges"]
    parts = [
        pd.DataFrame({"pattern": pattern, "when": when, "start": edges[:-1], "stop": edges[1:], **sums[when]})
        for pattern, sums in kept["patterns"].items()
        for when in WHEN
    ]
    table = pd.concat(parts).astype({"nll": float})
    table = table[table["tokens"] > 0].reset_index(drop=True)
    return table.assign(loss=table["nll"] / table["tokens"], texts=kept["texts"], bytes=kept["bytes"])


def _loss_surface(kept: Json) -> pd.DataFrame:
    xs, ys, line = kept["x"], kept["y"], kept["line"]
    t, along = np.array(line["t"], float), np.array(line["loss"], float)
    parts = [
        pd.DataFrame(kept["points"]).assign(kind="point"),
        pd.DataFrame({"kind": "grid", "x": np.tile(xs, len(ys)), "y": np.repeat(ys, len(xs))}).assign(
            loss=np.array(kept["loss"], float).ravel()
        ),
        pd.DataFrame({"kind": "line", "t": t, "loss": along, "rise": along - ((1 - t) * along[0] + t * along[-1])}),
    ]
    numbers = ["x", "y", "off", "t", "loss", "rise"]
    table = pd.concat(parts, ignore_index=True)[["kind", "name", *numbers]].assign(texts=kept["texts"])
    return table.fillna({"name": ""}).astype(dict.fromkeys(numbers, float))


def _passkey(kept: Json) -> pd.DataFrame:
    lengths, depths = kept["lengths"], kept["depths"]
    table = pd.DataFrame({"length": np.repeat(lengths, len(depths)), "depth": np.tile(depths, len(lengths))})
    table = table.astype({"depth": float}).assign(keys=kept["keys"], digits=kept["digits"])
    for when in WHEN:
        table[f"found_{when}"] = np.ravel(kept[when]["found"])
        table[f"nats_{when}"] = np.array(kept[when]["nll"], float).ravel()
    return table


FILES = {
    "attention_entropy": ("attention.json", _attention_entropy),
    "loss_by_position": ("positions.json", _loss_by_position),
    "loss_surface": ("surface.json", _loss_surface),
    "passkey": ("passkey.json", _passkey),
}
"""The files, each with what makes a table of it."""
