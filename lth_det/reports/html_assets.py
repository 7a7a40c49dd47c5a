"""The style sheet and the few lines of script that every page carries inside itself."""

from __future__ import annotations

from typing import Final

from lth_det.reports.style import (
    BLUE,
    FONT_STACK,
    GREEN,
    GRID,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    VERMILION,
)

_COLOURS: Final = {
    "ink": INK,
    "muted": MUTED,
    "line": GRID,
    "blue": BLUE,
    "orange": ORANGE,
    "green": GREEN,
    "vermilion": VERMILION,
    "purple": PURPLE,
    "tint": "#f4f7fa",
    "font": FONT_STACK,
}

_RULES: Final = """
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 3.5rem; }
body { margin: 0; font: 15px/1.55 var(--font); color: var(--ink); background: #f7f8fa; }
.inner, main, footer { max-width: 1280px; margin: 0 auto; padding: 0 1.5rem; }
header { background: #14283c; color: #fff; padding: 1.6rem 0 1.3rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; letter-spacing: -0.01em; overflow-wrap: anywhere; }
.subtitle { margin: .35rem 0 0; color: #c9d6e2; overflow-wrap: anywhere; }
nav { position: sticky; top: 0; z-index: 5; background: #ffffffee; border-bottom: 1px solid var(--line); }
nav .inner { display: flex; gap: 1.3rem; overflow-x: auto; }
nav a { color: var(--muted); text-decoration: none; padding: .65rem 0; white-space: nowrap; font-size: .92rem; }
nav a:hover, nav a:focus { color: var(--blue); }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 1.1rem 1.4rem 1.3rem; margin: 1.2rem 0; }
h2 { font-size: 1.2rem; margin: 0 0 .7rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { max-width: 95ch; margin: .5rem 0; }
.lead { font-size: 1.08rem; }
.quiet, figcaption, caption { color: var(--muted); font-size: .88rem; }
.note { background: #fff8e6; border-left: 4px solid var(--orange); padding: .55rem .9rem; max-width: none; font-size: .92rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(185px, 1fr)); gap: .8rem; margin: .8rem 0 1rem; }
.card { background: var(--tint); border: 1px solid var(--line); border-radius: 8px; padding: .7rem .9rem; }
.card-label { color: var(--muted); font-size: .8rem; }
.card-value { font-size: 1.5rem; font-weight: 600; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card-detail { color: var(--muted); font-size: .84rem; }
figure { margin: .6rem 0 1.1rem; }
figure.figure { overflow-x: auto; }
figure.figure > svg { display: block; width: 100%; height: auto; }
svg text { font-family: var(--font) !important; }
figcaption { max-width: 95ch; margin-top: .4rem; }
.files a { color: var(--blue); margin-left: .35rem; font-size: .8rem; }
.table-wrap { overflow-x: auto; margin: .6rem 0; max-height: 640px; overflow-y: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9rem; }
caption { text-align: left; padding-bottom: .4rem; }
th { position: sticky; top: 0; background: #fff; box-shadow: inset 0 -2px 0 var(--ink); text-align: left; padding: 0; vertical-align: bottom; }
th button { all: unset; white-space: normal; cursor: pointer; padding: .4rem .6rem; font-weight: 600; font-size: .84rem; box-sizing: border-box; width: 100%; }
th.number button { text-align: right; }
th button:focus-visible { outline: 2px solid var(--blue); }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
td { border-bottom: 1px solid var(--line); padding: .36rem .6rem; white-space: nowrap; }
td.number { text-align: right; }
td.up { color: #00694c; } td.down { color: #a34300; } td.missing { color: var(--muted); }
tbody tr:hover td { background: var(--tint); }
.compact td { padding: .36rem .36rem; font-size: .86rem; } .compact th button { padding: .4rem .36rem; font-size: .8rem; }
tr.emphasised td { background: #eaf2f8; font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; margin: .4rem 0; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--blue); }
.controls { display: flex; flex-wrap: wrap; gap: .6rem 1.6rem; align-items: center; font-size: .9rem; margin: .6rem 0; }
.controls input[type=range] { vertical-align: middle; width: 190px; accent-color: var(--blue); }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.3rem; font-size: .88rem; margin: .4rem 0 .8rem; }
.legend svg { width: 30px; height: 14px; vertical-align: -2px; margin-right: .4rem; }
.strip { border-top: 1px solid var(--line); padding: .8rem 0 .4rem; break-inside: avoid; }
.strip-title { font-size: .9rem; margin: 0 0 .4rem; max-width: none; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: .7rem; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: .9rem 1.4rem; }
.pair { border-top: 1px solid var(--line); padding-top: .5rem; break-inside: avoid; } .panels.two { grid-template-columns: 1fr 1fr; }
.panel { margin: 0; } .panel svg { width: 100%; height: auto; display: block; border-radius: 5px; background: #eee; }
.panel figcaption { margin: .25rem 0 0; font-size: .84rem; }
.mark * { vector-effect: non-scaling-stroke; fill: none; }
.mark .halo { stroke: #fff; stroke-opacity: .75; stroke-width: 4px; }
.mark .line { stroke-width: 2px; }
.truth .line { stroke: var(--green); } .found .line { stroke: var(--blue); }
.false .line { stroke: var(--orange); stroke-dasharray: 6 3; }
.missed .line { stroke: var(--vermilion); stroke-dasharray: 2 3; stroke-width: 2.5px; }
.ignored .line { stroke: var(--purple); stroke-dasharray: 8 3 2 3; stroke-width: 1.5px; }
.mark .area { stroke: none; fill-opacity: .2; }
.mark .dot { fill: #fff; stroke-width: 1.5px; }
.truth .dot { stroke: var(--green); } .found .dot { stroke: var(--blue); } .false .dot { stroke: var(--orange); } .missed .dot { stroke: var(--vermilion); }
.truth .area { fill: var(--green); } .found .area { fill: var(--blue); } .false .area { fill: var(--orange); }
.missed .area { fill: none; } .ignored .area { fill: none; }
.mark text { fill: #fff; stroke: #000; stroke-opacity: .75; stroke-width: 3px; paint-order: stroke; stroke-linejoin: round; font-weight: 600; }
.no-labels .mark text { display: none; } .no-areas .mark .area { display: none; }
.wrapped td { white-space: normal; overflow-wrap: anywhere; vertical-align: top; }
pre.commands { background: var(--tint); border: 1px solid var(--line); border-radius: 6px; padding: .7rem .9rem; overflow-x: auto; font-size: .8rem; line-height: 1.5; max-height: 480px; }
li { max-width: 95ch; margin: .25rem 0; }
footer { color: var(--muted); font-size: .84rem; padding-bottom: 2.5rem; }
@media (max-width: 700px) { dl { grid-template-columns: 1fr; } section { padding: .9rem; } .inner, main { padding: 0 .8rem; } }
@media print {
  body { background: #fff; font-size: 11px; } nav, .controls, .files { display: none; }
  header { background: none; color: #000; padding: 0; } .subtitle { color: #444; }
  section { border: 0; padding: 0; } .table-wrap { overflow: visible; max-height: none; }
  figure, .strip, tr { break-inside: avoid; } th { position: static; }
}
"""

STYLE_SHEET: Final = (
    ":root { " + " ".join(f"--{name}: {value};" for name, value in _COLOURS.items()) + " }" + _RULES
)

SCRIPT: Final = """
document.querySelectorAll('table.sortable th button').forEach(function (button) {
  button.addEventListener('click', function () {
    var head = button.parentNode, index = head.cellIndex, table = head.closest('table'), body = table.tBodies[0];
    var descending = head.getAttribute('aria-sort') === 'ascending';
    var key = function (row) {
      var cell = row.cells[index], number = cell.dataset.sort;
      return cell.classList.contains('missing') ? null : number === undefined ? cell.textContent : parseFloat(number);
    };
    var rows = Array.from(body.rows).sort(function (a, b) {
      var x = key(a), y = key(b);
      if (x === null || y === null) { return (x === null) - (y === null); }
      var order = typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y));
      return descending ? -order : order;
    });
    table.querySelectorAll('th').forEach(function (other) { other.removeAttribute('aria-sort'); });
    head.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
    rows.forEach(function (row) { body.appendChild(row); });
  });
});
document.querySelectorAll('.gallery').forEach(function (gallery) {
  var slider = gallery.querySelector('.score'), shown = gallery.querySelector('.score-shown');
  var update = function () {
    var cut = parseFloat(slider.value);
    shown.textContent = cut.toFixed(2);
    gallery.querySelectorAll('[data-from]').forEach(function (mark) {
      var from = parseFloat(mark.dataset.from), to = parseFloat(mark.dataset.to);
      mark.style.display = cut > from && cut <= to ? '' : 'none';
    });
    gallery.querySelectorAll('.panel').forEach(function (panel) {
      var count = function (state) {
        return Array.from(panel.querySelectorAll('.' + state)).filter(function (m) { return m.style.display !== 'none'; }).length;
      };
      if (panel.querySelector('.found, .false, .missed')) {
        panel.querySelector('.caption').textContent = count('found') + ' found, ' + count('false') + ' without object';
      }
    });
  };
  if (slider) { slider.addEventListener('input', update); update(); }
  gallery.querySelectorAll('.toggle').forEach(function (box) {
    box.addEventListener('change', function () { gallery.classList.toggle(box.value, !box.checked); });
  });
});
"""
