"""Draw who sees whom under each pattern of attention, from the rule that the computation uses.

python scripts/attention_picture.py [--out docs/images/attention.svg]
"""

import argparse
from pathlib import Path

import numpy as np

from cllora.model.patterns import pattern_of
from cllora.spec import Choice

TOKENS, GROUP, CELL, GAP, TOP = 16, 4, 11, 30, 44
PANELS = (
    ("full", False, "full", "all heads"),
    ("local", False, "local, and half of s2", "unshifted heads"),
    ("s2", True, "the other half of s2", "shifted heads"),
    ("s2_roll", True, "the other half of s2_roll", "shifted heads: red leaks"),
)
SEEN, LEAKED, UNSEEN = "#3b6ea8", "#c0392b", "#eef1f4"


def cells(name: str, shifted: bool) -> list[str]:
    """A square for every pair of tokens: rows are those that see, columns those that are seen."""
    chosen = pattern_of(Choice(name=name, **({} if name == "full" else {"group": GROUP})), TOKENS)
    place = np.arange(TOKENS)
    seen = chosen.visible(place[:, None], place[None], np.array(TOKENS), shifted)
    colour = np.where(seen, np.where(place[None] > place[:, None], LEAKED, SEEN), UNSEEN)
    return [
        f'<rect x="{CELL * key}" y="{CELL * query}" width="{CELL - 1}" height="{CELL - 1}" fill="{fill}"/>'
        for (query, key), fill in np.ndenumerate(colour)
    ]


def picture() -> str:
    """The panels side by side, as SVG."""
    side = CELL * TOKENS
    width, height = len(PANELS) * (side + GAP) + GAP, TOP + side + 32
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#222">',
        "<title>Who sees whom under each pattern of attention</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for panel, (name, shifted, title, heads) in enumerate(PANELS):
        lines += [
            f'<g transform="translate({GAP + panel * (side + GAP)} {TOP})">',
            f'<text y="-26" font-weight="600">{title}</text>',
            f'<text y="-10">{heads}</text>',
            *cells(name, shifted),
            f'<text x="{side / 2:g}" y="{side + 18}" text-anchor="middle">is seen →</text>',
            f'<text transform="translate(-8 {side / 2:g}) rotate(-90)" text-anchor="middle">← sees</text>',
            "</g>",
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs/images/attention.svg")
    parser.parse_args().out.write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
