"""The style of the page of traces: one sheet, light and dark, wide and narrow."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root {
  --page: #f6f7f9; --card: #ffffff; --ink: #17202c; --soft: #5b6675; --line: #e3e7ec; --track: #eef1f4;
  --wait: #9aa4b2; --ready: #8a63d2; --fetch: #2f6fde; --move: #0d8f7f; --warm: #d9822b; --kept: #7fb069;
  --total: #5b6675; --bad: #b42318; --bad-page: #fdecea;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #10141a; --card: #181e26; --ink: #e7ecf2; --soft: #97a3b2; --line: #2a323d; --track: #232b35;
    --wait: #6b7686; --ready: #a586e6; --fetch: #5b93f5; --move: #2bb5a3; --warm: #e89a4c; --kept: #8cc474;
    --total: #97a3b2; --bad: #ff8a7e; --bad-page: #3a1d1b;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.25rem 1rem 3rem; }
h1 { font-size: 1.05rem; font-weight: 600; margin: 0 0 1rem; color: var(--soft); }
h2 { font-size: 1.1rem; font-weight: 650; margin: 0; overflow-wrap: anywhere; flex: 1; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.15rem;
  margin: 0 0 1rem; }
summary { display: flex; align-items: baseline; gap: 1rem; cursor: pointer; list-style: none; }
summary::before { content: "\\25b8"; color: var(--soft); width: .7rem; }
details[open] > summary::before { content: "\\25be"; }
summary::-webkit-details-marker { display: none; }
summary:focus-visible, a:focus-visible { outline: 2px solid var(--fetch); outline-offset: 3px; border-radius: 3px; }
details[open] > summary { margin-bottom: .9rem; }
.big { font-size: 1.35rem; font-weight: 650; font-variant-numeric: tabular-nums; white-space: nowrap; }
.name { display: block; font-size: .8rem; font-weight: 500; color: var(--soft); }
.bad { font-size: .78rem; font-weight: 600; color: var(--bad); background: var(--bad-page); border-radius: 5px;
  padding: .1rem .45rem; margin-left: .35rem; }
.error { color: var(--bad); background: var(--bad-page); border-radius: 6px; padding: .55rem .75rem; margin: 0 0 .9rem;
  overflow-wrap: anywhere; }
a { color: var(--fetch); text-decoration: none; overflow-wrap: anywhere; }
a:hover { text-decoration: underline; }
table { width: 100%; border-collapse: collapse; }
th { text-align: left; font-weight: 500; }
thead th { font-size: .78rem; color: var(--soft); padding-bottom: .35rem; vertical-align: bottom; }
th, td { padding: .28rem 0 .28rem .9rem; vertical-align: top; }
th:first-child, td:first-child { padding-left: 0; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
.waterfall td:nth-child(2), .waterfall th:nth-child(2) { width: 55%; }
.list td:nth-child(3) { width: 35%; }
.axis { position: relative; height: 1.15em; }
.axis span { position: absolute; transform: translateX(-50%); white-space: nowrap; font-variant-numeric: tabular-nums; }
.axis span:first-child { transform: none; }
.bars { position: relative; height: .95rem; margin-top: .22rem; background: var(--track); border-radius: 3px; }
.bars i { position: absolute; top: 0; bottom: 0; min-width: 2px; border-radius: 3px; }
.track small { display: block; color: var(--soft); font-size: .78rem; overflow-wrap: anywhere; margin-top: .15rem; }
.wait { background: var(--wait); } .ready { background: var(--ready); } .fetch { background: var(--fetch); }
.move { background: var(--move); } .warm { background: var(--warm); } .kept { background: var(--kept); }
i.total { background: var(--total); }
.shares { display: grid; grid-template-columns: 8.5rem 1fr; gap: .1rem .9rem; align-items: center; margin-top: .9rem; }
.place { color: var(--soft); font-size: .85rem; }
.stack { display: flex; height: .6rem; gap: 2px; border-radius: 3px; overflow: hidden; }
.stack i { min-width: 2px; }
.legend { grid-column: 2; display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; font-size: .85rem;
  font-variant-numeric: tabular-nums; }
.legend em { display: inline-block; width: .65rem; height: .65rem; border-radius: 2px; margin-right: .4rem; }
dl { display: flex; flex-wrap: wrap; gap: .35rem 1.6rem; margin: 1rem 0 0; padding-top: .8rem;
  border-top: 1px solid var(--line); font-size: .82rem; }
dl div { display: flex; gap: .45rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.compared .total > * { font-weight: 650; border-top: 2px solid var(--line); }
.compared small { display: block; color: var(--soft); font-size: .82rem; font-weight: 400; }
.ratio { font-weight: 600; }
@media (max-width: 40rem) {
  main { padding: .9rem .6rem 2rem; }
  section { padding: .85rem .8rem; }
  .waterfall, .waterfall thead, .waterfall tbody { display: block; }
  .waterfall thead tr { display: block; }
  .waterfall thead th { display: none; }
  .waterfall thead th:nth-child(2) { display: block; width: 100%; padding: 0 0 .3rem; }
  .waterfall tbody tr { display: flex; flex-wrap: wrap; column-gap: .8rem; padding: .4rem 0; }
  .waterfall tbody tr + tr { border-top: 1px solid var(--line); }
  .waterfall tbody tr > * { border: 0; padding: 0; }
  .waterfall tbody th { flex: 1; }
  .waterfall td:nth-child(2) { order: 1; flex: 0 0 100%; }
  .waterfall td:empty { display: none; }
  .list td:nth-child(3), .list th:nth-child(3) { display: none; }
  .shares { grid-template-columns: 1fr; }
  .legend { grid-column: 1; }
  .compared small { white-space: normal; }
}
"""
