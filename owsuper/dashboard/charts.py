"""Small charts as SVG, made here: no script draws them. Colors come from the style sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

_HEIGHT = 30
_STEP, _BAR = 4, 3  # the width of a bar and its gap, in units of the view box


def bars(series: Mapping[str, Sequence[int]], label: str, *, height: int = _HEIGHT) -> Markup:
    """Return stacked bars: numbers by the class of their color, the oldest first.

    ``label`` says in words what the picture shows, for people who do not see it.
    """
    length = max((len(counts) for counts in series.values()), default=0)
    sums = [sum(counts[place] for counts in series.values()) for place in range(length)]
    top = max(sums, default=0) or 1
    base = [float(height)] * length
    groups = []
    for name, counts in series.items():
        rects = []
        for place, number in enumerate(counts):
            if number:
                tall = max(1.0, number / top * (height - 1))
                base[place] -= tall
                rects.append(
                    f'<rect x="{place * _STEP}" y="{max(0.0, base[place]):.1f}" width="{_BAR}"'
                    f' height="{tall:.1f}"/>'
                )
        groups.append(f'<g class="{escape(name)}">{"".join(rects)}</g>')
    width = max(length, 1) * _STEP - (_STEP - _BAR)
    return Markup(
        f'<svg class="spark" role="img" aria-label="{escape(label)}" viewBox="0 0 {width} {height}"'
        f' preserveAspectRatio="none"><title>{escape(label)}</title>'
        f'<rect class="base" x="0" y="{height - 0.5}" width="{width}" height="0.5"/>'
        f"{''.join(groups)}</svg>"
    )
