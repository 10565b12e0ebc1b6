"""The section on communication: bytes over the network."""

import pandas as pd

from cllora.analysis import Results
from cllora.metrics.formats import ends, megabytes, percent
from cllora.reports.columns import PARTS
from cllora.reports.facts import Fact, NotMeasured, Range, Statement
from cllora.reports.section import Bars, Dots, Section, sections
from cllora.reports.tables import means

WAYS = {"bytes_sent": "adapters, as sent", "bytes_full": "full model, had it been sent"}
SHOWN = ("bytes_up", "bytes_down", "per_round", "bytes_full", "saved")
SAVES = 0.005
"""The share of the full model's bytes from which on anything counts as saved."""


@sections.register(title="Communication", after="passkey")
def communication(results: Results) -> Section:
    """Megabytes (10^6 bytes) that all clients sent and received over a run, as serialised messages, beside what the
    full model's parameters in float32 would have been, sent just as often. The scale is logarithmic: every line is ten
    times the one before. Where more than LoRA is trained, also what one adapter weighs by part, on a plain scale."""
    metrics = ["bytes_up", "bytes_down", "bytes_sent", "bytes_full", "saved", "rounds"]
    costs = results.averaged.groupby("cell", sort=False)[metrics].mean()
    costs = costs.assign(per_round=costs["bytes_sent"] / costs["rounds"].clip(lower=1))
    parts = _parts(results).reindex(costs.index)
    table = costs[list(SHOWN)].join(parts.add_suffix("_per_message")).reset_index()
    if costs["bytes_sent"].sum() == 0:
        return Section((NotMeasured("traffic", "Nothing crossed the network yet"),), table=table)
    dots = costs.reset_index().melt("cell", list(WAYS), "way", "bytes").dropna(subset=["bytes"])
    bars = parts.rename(columns=PARTS).reset_index(names="cell").melt("cell", None, "part", "bytes_of_an_adapter")
    dots = dots.assign(way=dots["way"].map(WAYS))
    return Section(
        facts=(*_saved(results, costs), *_beside_lora(parts)),
        figures=(
            Dots(dots, "bytes", by="way", joined=True, log=True, title="A run" if len(bars) else ""),
            Bars(bars, "bytes_of_an_adapter", "cell", "part", title="One adapter, by part"),
        ),
        table=table,
    )


def _saved(results: Results, costs: pd.DataFrame) -> list[Fact]:
    """The bytes of a run and the share saved, from the least to the most where cells differ in it."""
    sent: Fact = Range("bytes_sent", means(results.averaged, "bytes_sent"))
    if costs["bytes_full"].isna().any():
        return [sent, NotMeasured("share saved", "The full model's size was not recorded")]
    if costs["saved"].max() < SAVES:
        text = "The full model would have been no more for as many messages."
        return [sent, Statement(text, {"saved": float(costs["saved"].max())})]
    less, full = ends(costs["saved"], percent), ends(costs["bytes_full"], megabytes)
    text = f"That is {less} less than the full model's {full} MB for as many messages."
    return [sent, Statement(text, {"saved": float(costs["saved"].min())})]


def _parts(results: Results) -> pd.DataFrame:
    """Bytes of one adapter by part, a row per cell, with the parts that any has; none where all is LoRA."""
    rows = {
        results.cell(run.labels): run.environment.communication.parts
        for run in results.members
        if run.environment.communication.parts is not None
    }
    parts = pd.DataFrame.from_dict(rows, orient="index", columns=list(PARTS)).astype(float)
    beside = parts.drop(columns="lora").to_numpy().sum() > 0
    return parts.loc[:, (parts > 0).any()] if beside else pd.DataFrame(index=parts.index)


def _beside_lora(parts: pd.DataFrame) -> list[Fact]:
    """The largest part that is sent beside LoRA, where one is, against LoRA's."""
    if "lora" not in parts:
        return []
    beside = parts[parts["lora"] > 0].drop(columns="lora").max()
    if not (beside > 0).any():
        return []
    part = str(beside.idxmax())
    lora, other = float(parts.loc[parts[part] > 0, "lora"].max()), float(beside[part])
    text = f"Beside LoRA's {megabytes(lora)} MB a message, {PARTS[part]} weigh {megabytes(other)} MB."
    return [Statement(text, {"lora": lora, part: other})]
