"""A page about where time went, like that of ``cargo build --timings``: bars on a time axis, the number of steps at once, and a table.

It is also well-formed XML, for tests. Lengths are percentages, to fit any window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from math import floor, log10

from coconut_tasks.dataclass import dataclass
from coconut_tasks.reports.markup import cells, duration, escape, one_line, sayable

_MOST_TICKS = 10
_LONGEST_LABEL = 34


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar."""

    what: str
    waiting: bool
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A step's row."""

    name: str
    result: str
    start: float
    end: float
    parts: tuple[Part, ...]
    """In order, without overlaps."""
    critical: bool

    @property
    def length(self) -> float:
        return max(0.0, self.end - self.start)

    @property
    def seconds(self) -> float:
        """Time of work, without waiting."""
        return max(0.0, self.length - self.waiting)

    @property
    def waiting(self) -> float:
        return sum(part.end - part.start for part in self.parts if part.waiting)

    @property
    def commands(self) -> int:
        return sum(not part.waiting for part in self.parts)


def page(
    command: str,
    began: float,
    seconds: float,
    bars: Sequence[Bar],
    path: Sequence[str],
    *,
    jobs: int,
    up_to_date: int,
    at_once: Sequence[tuple[float, int, int]],
) -> str:
    """The whole page. ``at_once``: how many steps were running and how many were waiting, from each second on."""
    length = max([seconds, *(bar.end for bar in bars)])
    axis = length if length > 0 else 1.0
    label = max([12, *(cells(bar.name) for bar in bars)])
    body = [
        f'<main style="--label:{min(label, _LONGEST_LABEL) + 3}ch">',
        "<header>",
        f"<h1>{escape(one_line(command)) or 'a run'}</h1>",
        f"<dl>{''.join(_facts(began, seconds, bars, path, jobs, up_to_date))}</dl>",
        "</header>",
    ]
    if bars:
        body += [*_chart(bars, axis), *_strip(at_once, axis, jobs), *_path(bars, path), *_table(bars, seconds)]
    else:
        body.append("<h2>No step had to run.</h2>")
    head = [
        '<meta charset="utf-8"/>',
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
        '<meta name="color-scheme" content="light dark"/>',
        f"<title>{escape(one_line(command))}: {duration(seconds)}</title>",
        f"<style>{_STYLE}</style>",
    ]
    script = [f"<script>{_SCRIPT}</script>"] if bars else []
    lines = ['<!DOCTYPE html>\n<html lang="en">', "<head>", *head, "</head>", "<body>", *body, "</main>", *script]
    return "\n".join([*lines, "</body>", "</html>", ""])


def ticks(length: float) -> list[float]:
    """Round numbers from 0 to the length, at most eleven."""
    if length <= 0:
        return [0.0]
    rough = length / _MOST_TICKS
    power = 10.0 ** floor(log10(rough))
    decimal = [power * factor for factor in (1, 2, 5, 10)]
    steps = decimal if rough <= 20 else [30.0, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, *decimal]
    step = next((one for one in steps if one >= rough), decimal[-1])
    return [at * step for at in range(floor(length / step + 1e-9) + 1)]


def _tick_text(second: float, most: float) -> str:
    if most > 120:
        minutes, rest = divmod(round(second), 60)
        return f"{minutes}:{rest:02}"
    return f"{second:.6g} s"


def _facts(
    began: float, seconds: float, bars: Sequence[Bar], path: Sequence[str], jobs: int, up_to_date: int
) -> Iterator[str]:
    count = Counter(bar.result for bar in bars)
    inside = frozenset(path)
    critical = sum(bar.seconds for bar in bars if bar.name in inside)
    others = [(f"{count[name]} {name}", name) for name in ("failed", "placed", "cached") if count[name]]
    facts = [
        ("total", duration(seconds)),
        ("steps", ", ".join([f"{count['built']} built", *(text for text, _ in others), f"{up_to_date} up to date"])),
        ("jobs", str(jobs)),
        ("critical path", f"{duration(critical)}{_share(critical, seconds)}" if bars else "–"),
        ("began", _date(began)),
    ]
    for name, value in facts:
        yield f"<div><dt>{name}</dt><dd>{value}</dd></div>"


def _date(began: float) -> str:
    try:
        return datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "–"


def _share(part: float, whole: float) -> str:
    return f" ({part / whole:.0%})" if whole > 0 else ""


def _percent(value: float, axis: float) -> str:
    return f"{min(100.0, max(0.0, 100 * value / axis)):.3f}%"


def _chart(bars: Sequence[Bar], axis: float) -> Iterator[str]:
    marks = ticks(axis)
    yield '<section class="chart">'
    yield "<h2>Steps</h2>"
    kinds = [name for name in ("built", "placed", "cached", "failed") if any(bar.result == name for bar in bars)]
    yield '<p class="legend">'
    yield from (f'<span><i class="key {kind}"></i>{kind}</span>' for kind in kinds)
    if "built" in kinds:
        yield '<span><i class="key bar-rest"></i>between commands</span>'
    if any(part.waiting for bar in bars for part in bar.parts):
        yield '<span><i class="key waiting"></i>waiting</span>'
    yield '<span><i class="key critical"></i><b>◆ on the critical path</b></span>'
    yield "</p>"
    texts = "".join(f'<span style="left:{_percent(mark, axis)}">{_tick_text(mark, axis)}</span>' for mark in marks)
    yield f'<div class="row axis"><span></span><div class="lane">{texts}</div></div>'
    yield '<div class="rows">'
    lines = "".join(f'<i style="left:{_percent(mark, axis)}"></i>' for mark in marks)
    yield f'<div class="row grid"><span></span><div class="lane">{lines}</div></div>'
    for bar in bars:
        yield "".join(_row(bar, axis))
    yield "</div>"
    yield "</section>"


def _row(bar: Bar, axis: float) -> Iterator[str]:
    name = escape(one_line(bar.name))
    critical, mark = (" critical", "<b>◆</b> ") if bar.critical else ("", "")
    note = duration(bar.seconds) + {"failed": " failed", "placed": " placed", "cached": " cached"}.get(bar.result, "")
    hint = f"{bar.name}: {note}, from {duration(bar.start)} to {duration(bar.end)}"
    if bar.waiting > 0:
        hint += f", {duration(bar.waiting)} of it waiting"
    start, end = max(0.0, bar.start), max(bar.start, bar.end)
    left, width = _percent(start, axis), _percent(end - start, axis)
    # Beyond three quarters of the axis there is no room for the time after the bar.
    where = f"left:{_percent(end, axis)}" if end < 0.75 * axis else f"right:{_percent(axis - start, axis)}"
    side = "after" if end < 0.75 * axis else "before" if start > 0.25 * axis else "inside"
    if side == "inside":
        where = f"right:{_percent(axis - end, axis)}"
    yield f'<div class="row step{critical}"><span class="name" title="{name}">{mark}{name}</span><div class="lane">'
    yield f'<div class="bar {escape(bar.result)}" style="left:{left};width:{width}" title="{escape(hint)}">'
    for part in bar.parts:
        long = bar.length or 1.0
        place = f"left:{_percent(part.start - bar.start, long)};width:{_percent(part.end - part.start, long)}"
        what = f"{'waiting: ' if part.waiting else ''}{sayable(part.what)}\n{duration(part.end - part.start)}"
        yield f'<i class="{"waiting" if part.waiting else "command"}" style="{place}" title="{escape(what)}"></i>'
    yield f'</div><span class="time {side}" style="{where}">{note}</span></div></div>'


def _strip(at_once: Sequence[tuple[float, int, int]], axis: float, jobs: int) -> Iterator[str]:
    """How many steps ran at once: running steps at the bottom, waiting steps above them."""
    most = max([1, jobs, *(work + wait for _, work, wait in at_once)])
    # A scale up to the number of jobs would flatten the strip if few were used.
    used = max([1, *(work + wait for _, work, wait in at_once)])
    high = min(most, 2 * used)
    limit = (
        f'<line class="jobs" x1="0" x2="1000" y1="{100 - 100 * jobs / high:.2f}" y2="{100 - 100 * jobs / high:.2f}"/>'
    )
    yield '<section class="strip">'
    yield "<h2>Steps at once</h2>"
    yield f'<div class="row"><span class="name">at most {used},<br/>jobs: {jobs}</span>'
    yield '<div class="lane"><svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label="steps at once">'
    for kind in ("still", "work"):
        course = [(second, work + wait if kind == "still" else work) for second, work, wait in at_once]
        yield f'<path class="{kind}" d="{_area(course, axis, high)}"/>'
    yield limit if jobs <= high else ""
    yield "</svg></div></div>"
    yield "</section>"


def _area(course: Sequence[tuple[float, int]], axis: float, high: int) -> str:
    points = "".join(
        f"H{1000 * max(0.0, second) / axis:.2f}V{100 - 100 * count / high:.2f}" for second, count in course
    )
    return f"M0 100{points}V100z"


def _path(bars: Sequence[Bar], path: Sequence[str]) -> Iterator[str]:
    took = {bar.name: bar.seconds for bar in bars}
    yield "<section>"
    yield "<h2>Critical path</h2>"
    yield "<p>The longest chain of steps in which each needs the previous one. Waiting does not count.</p>"
    yield '<ol class="path">'
    yield from (f"<li><b>{escape(one_line(name))}</b> {duration(took[name])}</li>" for name in path)
    yield "</ol>"
    yield "</section>"


def _table(bars: Sequence[Bar], seconds: float) -> Iterator[str]:
    heads = ("step", "seconds", "% of total", "waiting, s", "commands", "result", "critical path")
    yield "<section>"
    yield "<h2>By duration</h2>"
    yield '<div class="wide">'
    yield "<table>"
    yield "<thead><tr>"
    yield from (f'<th scope="col">{head}</th>' for head in heads)
    yield "</tr></thead>"
    yield "<tbody>"
    for bar in sorted(bars, key=lambda bar: -bar.seconds):
        share = 100 * bar.seconds / seconds if seconds > 0 else 0.0
        numbers = (f"{bar.seconds:.2f}", f"{share:.1f}", f"{bar.waiting:.2f}", str(bar.commands))
        row = [
            f'<th scope="row">{escape(one_line(bar.name))}</th>',
            *(f'<td class="number">{one}</td>' for one in numbers),
        ]
        row += [f"<td>{escape(bar.result)}</td>", f"<td>{'◆ yes' if bar.critical else ''}</td>"]
        yield f"<tr>{''.join(row)}</tr>"
    yield "</tbody>"
    yield "</table>"
    yield "</div>"
    yield "</section>"


_STYLE = """
:root { --ground: #fff; --ink: #1c2026; --soft: #59616e; --line: #e1e4e9; --bar: #6ba5d1; --command: #2674ad;
--placed: #a3aab5; --cached: #3f8f5f; --failed: #c24e00; --still: #d5dae1; --critical: #b3006b; }
@media (prefers-color-scheme: dark) { :root { --ground: #15181d; --ink: #e8eaee; --soft: #a2aab7; --line: #2b313a;
--bar: #35658a; --command: #4f9fda; --placed: #69717e; --cached: #52b788; --failed: #ff8a3d; --still: #4b5361;
--critical: #ff70c0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 14px/1.45 system-ui, sans-serif; }
main { max-width: 1500px; margin: 0 auto; padding: 24px; }
h1 { font: 600 20px/1.3 ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; margin: 0 0 14px;
overflow-wrap: anywhere; }
h2 { font-size: 16px; margin: 30px 0 8px; }
dl { display: flex; flex-wrap: wrap; gap: 8px 34px; margin: 0; }
dt { color: var(--soft); font-size: 12px; }
dd { margin: 0; font-weight: 600; font-size: 15px; }
p { margin: 0 0 8px; color: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; font-size: 13px; }
.legend span { display: flex; align-items: center; gap: 6px; }
.key { width: 22px; height: 12px; border-radius: 2px; }
.row { display: grid; grid-template-columns: min(var(--label), 38vw) 1fr; align-items: center; font-size: 12.5px; }
.name, .path b, tbody th { font-family: ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; }
.name { font-size: 12px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; padding-right: 10px;
text-align: right; }
.name b, .legend b, td:last-child { color: var(--critical); }
.lane { position: relative; height: 22px; }
.axis { position: sticky; top: 0; background: var(--ground); z-index: 2; border-bottom: 1px solid var(--line); }
.axis .lane span { position: absolute; bottom: 1px; transform: translateX(-50%); color: var(--soft); white-space: nowrap; }
.axis .lane span:first-child { transform: none; }
@media (max-width: 760px) { .axis .lane span:nth-child(even) { visibility: hidden; } }
.rows { position: relative; }
.grid { position: absolute; inset: 0; align-items: stretch; pointer-events: none; }
.grid .lane { height: auto; }
.grid i { position: absolute; top: 0; bottom: 0; width: 1px; background: var(--line); }
.step:hover { background: color-mix(in srgb, var(--line) 55%, transparent); }
.bar { position: absolute; top: 4px; height: 14px; min-width: 3px; border-radius: 2px; overflow: hidden; z-index: 1; }
.bar i { position: absolute; top: 0; bottom: 0; border-right: 1px solid var(--ground); }
.bar i:last-child { border-right: 0; }
.built { background: var(--bar); }
.bar-rest { background: var(--bar); }
.command, .key.built { background: var(--command); }
.placed, .placed .command { background: var(--placed); }
.cached, .cached .command { background: var(--cached); }
.failed, .failed .command { background: var(--failed); }
.waiting, .failed .waiting { background: repeating-linear-gradient(135deg, var(--soft) 0 2px, var(--ground) 2px 6px); }
.bar:has(.waiting) { outline: 1px solid var(--soft); }
.step.critical .bar { overflow: visible; box-shadow: 0 3px 0 var(--critical); }
.key.critical { border-radius: 0; background: linear-gradient(var(--command) 75%, var(--critical) 75%); }
.step.critical .name { font-weight: 600; }
.time { position: absolute; top: 2px; padding: 0 6px; color: var(--soft); white-space: nowrap; z-index: 1; }
.time.inside { color: #fff; text-shadow: 0 0 3px #000, 0 0 3px #000; pointer-events: none; }
.strip .lane { height: 72px; border-bottom: 1px solid var(--line); border-left: 1px solid var(--line); }
.strip svg { width: 100%; height: 100%; display: block; }
.still { fill: var(--still); }
.work { fill: var(--command); }
.jobs { stroke: var(--soft); stroke-dasharray: 4 4; vector-effect: non-scaling-stroke; }
.path { display: flex; flex-wrap: wrap; gap: 2px 8px; list-style: none; padding: 0; margin: 0; font-size: 12.5px; }
.path li:not(:last-child)::after { content: " →"; color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; }
th, td { text-align: left; padding: 3px 18px 3px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
tbody th { font-weight: normal; font-size: 12px; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
thead th { color: var(--soft); font-size: 12px; }
thead button { all: unset; cursor: pointer; }
thead button:hover, thead button:focus-visible { text-decoration: underline; }
"""

_SCRIPT = """
document.querySelectorAll('thead th').forEach((head, at) => {
  const button = document.createElement('button');
  button.append(...head.childNodes);
  head.append(button);
  let down = at === 1;
  button.addEventListener('click', () => {
    const body = document.querySelector('tbody'), rows = [...body.rows];
    down = !down;
    const text = row => row.cells[at].textContent, number = row => Number(text(row));
    rows.sort((a, b) => at === 0 || at === 5 || at === 6 ? text(a).localeCompare(text(b)) : number(a) - number(b));
    if (down) rows.reverse();
    body.append(...rows);
  });
});
"""
