"""The looks of the report: light and dark, narrow and wide, screen and paper."""

# Of the charts alone, for other pages; these bring the colours.
CHARTS = """
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(21rem, 1fr)); gap: 1rem; }
.chart { margin: 0; padding: .7rem .7rem .3rem; }
.chart svg { display: block; width: 100%; height: auto; }
.chart text { fill: var(--soft); font-size: 11px; }
.grid { stroke: var(--rule); stroke-width: 1; }
.line { fill: none; stroke: var(--line); stroke-width: 1.8; stroke-linejoin: round; }
.dot { fill: var(--line); opacity: 0; }
.dot.seen, .dot:hover { opacity: 1; }
.area { fill: var(--line); opacity: .22; }
.truth { --line: var(--truth); }
.run0 { --line: var(--run0); } .run1 { --line: var(--run1); } .run2 { --line: var(--run2); }
.run3 { --line: var(--run3); } .run4 { --line: var(--run4); } .run5 { --line: var(--run5); }
.run6 { --line: var(--run6); } .run7 { --line: var(--run7); }
"""

STYLE = (
    CHARTS
    + """
:root {
  color-scheme: light dark;
  --page: #f7f7f5; --card: #fff; --ink: #1c1c1a; --soft: #62625c; --rule: #dddcd6; --best: #e9f3ea;
  --shade: #0004;
  --truth: #8a8a84;
  --run0: #2a6fc9; --run1: #d1591f; --run2: #12875f; --run3: #8a4fbf; --run4: #b58100;
  --run5: #c73a6b; --run6: #0c8a9e; --run7: #6b6b2d;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #151514; --card: #1f1f1d; --ink: #ecebe6; --soft: #a3a29b; --rule: #3a3a36;
    --best: #1f3325; --truth: #8f8e87; --shade: #000c;
    --run0: #6aa5f0; --run1: #f0894f; --run2: #45bf92; --run3: #b98ae6; --run4: #d9a93a;
    --run5: #ee7a9f; --run6: #4fc0d1; --run7: #b5b565;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 76rem; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
h1 { margin: 0 0 .25rem; font-size: 1.7rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 2.4rem 0 .6rem; font-size: 1.2rem; }
h3 { margin: 1.4rem 0 .4rem; font-size: 1rem; }
p { margin: .3rem 0; max-width: 48rem; }
.soft, small, figcaption, dt { color: var(--soft); }
small { display: block; font-size: .78rem; line-height: 1.35; white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .8rem 0; }
dd { margin: 0; overflow-wrap: anywhere; }
.legend {
  display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: 0; padding: .55rem 0; list-style: none;
  position: sticky; top: 0; z-index: 2; background: var(--page); overflow-wrap: anywhere;
}
.swatch {
  display: inline-block; width: 1.4em; margin-right: .45em; vertical-align: .28em;
  border-top: 3px solid var(--line);
}
.wide { overflow-x: auto; }
.wide:focus-visible { outline: 2px solid var(--run0); }
.wide, .chart { border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .5rem .9rem; text-align: left; vertical-align: top; }
tr + tr > *, tbody tr > * { border-top: 1px solid var(--rule); }
thead th { border-top: 0; vertical-align: bottom; overflow-wrap: anywhere; }
thead .swatch { display: block; width: 2.2em; margin-bottom: .4em; }
tbody th { font-weight: 500; }
.numbers tbody th, .facts tbody th { position: sticky; left: 0; background: var(--card); }
td.best { background: var(--best); }
.chart, .wide { background: var(--card); border: 1px solid var(--rule); }
.wide { /* a shadow where there is more to scroll to */
  background:
    linear-gradient(to right, var(--card) 40%, transparent) 0 0 / 3rem 100% no-repeat local,
    linear-gradient(to left, var(--card) 40%, transparent) 100% 0 / 3rem 100% no-repeat local,
    linear-gradient(to right, var(--shade), transparent) 0 0 / 1rem 100% no-repeat scroll,
    linear-gradient(to left, var(--shade), transparent) 100% 0 / 1rem 100% no-repeat scroll,
    var(--card);
}
.sheet td, .sheet th { padding: .3rem; }
.sheet tbody tr > * { border-top: 0; }
.sheet img { display: block; width: 100%; min-width: 6.5rem; max-width: 16rem; border-radius: 3px; }
.small img { image-rendering: pixelated; }
.sheet tbody th { width: 7rem; min-width: 5rem; font-size: .78rem; color: var(--soft); }
.sheet tbody th { overflow-wrap: anywhere; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--soft); }
details > *:not(summary) { margin-top: .8rem; }
footer { margin-top: 3rem; border-top: 1px solid var(--rule); padding-top: .8rem; }
@media (max-width: 40rem) {
  .charts { grid-template-columns: 1fr; }
  body { padding: 1.2rem .8rem 3rem; } th, td { padding: .4rem .55rem; }
}
@media print {
  :root { --page: #fff; }
  body { max-width: none; padding: 0; font-size: 10pt; print-color-adjust: exact; }
  .legend, .numbers tbody th, .facts tbody th { position: static; }
  .wide { overflow: visible; }
  .chart, tr, figure { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .charts { grid-template-columns: 1fr 1fr; }
  .sheet img { min-width: 0; }
}
"""
)
