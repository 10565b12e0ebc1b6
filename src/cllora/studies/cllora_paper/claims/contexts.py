"""The question that the paper leaves open: whether the effect of length is one of cutting texts."""

from cllora.analysis import Results
from cllora.claims import Evidence, claims, difference
from cllora.studies.cllora_paper.claims.evidence import GLOBAL_LOSS, PAPER, contrasts_of, strong
from cllora.studies.cllora_paper.measures import share_cut
from cllora.studies.cllora_paper.skew import LENGTH, Setting, setting_key, settings_of

FEW_CUT = 0.05
"""The share of texts that a context may cut and still pass for one that cuts none."""


@claims.register(
    "paper/i",
    label="i",
    title="the effect of length skew on the global model persists where texts are not cut (our question, which the "
    "paper leaves open)",
    metrics=GLOBAL_LOSS,
    rule="touches",
    computed="global loss, mean of the last half of the rounds, skewed minus control, at the longest context, which "
    "decides; and that minus the same at the shortest",
    source=PAPER,
    run="ablate/context",
)
def the_effect_persists_where_texts_are_whole(results: Results) -> Evidence:
    """Length skew touches the global model at the longest of several contexts, if that cuts next to no text; beside
    it, how much its effect there differs from that at the shortest."""
    alike: dict[str, list[Setting]] = {}
    for setting in settings_of(results, LENGTH, strong):
        key = setting_key(setting.run.experiment, "model.context", "model.positions")
        alike.setdefault(key, []).append(setting)
    several = [sorted(settings, key=_context) for settings in alike.values()]
    every = [setting for settings in several for setting in settings]
    cut = dict.fromkeys(f"{100 * share_cut(setting.run):.1f} % at {_context(setting)}" for setting in every)
    share_cut_texts = f"texts cut: {', '.join(cut)}"
    ends = [(settings[0], settings[-1]) for settings in several if len(settings) > 1]
    whole = [(short, long) for short, long in ends if share_cut(long.run) <= FEW_CUT]
    if not whole:
        lacking = (
            f"no context that cuts at most {100 * FEW_CUT:g} % ({share_cut_texts})" if ends else "no axis over contexts"
        )
        return Evidence(lacking=lacking)
    beside = [difference(long.contrast, short.contrast) for short, long in whole]
    return Evidence(contrasts_of([long for _, long in whole]), beside, share_cut_texts)


def _context(setting: Setting) -> int:
    return setting.run.experiment.model.context
