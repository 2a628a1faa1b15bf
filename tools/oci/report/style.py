"""The style of the size report's page."""

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f5f6f8; color: #1f2733; font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 64px; }
header p { margin: 0; color: #6a7484; }
h1 { margin: 0; font-size: 34px; line-height: 1.2; letter-spacing: -0.02em; }
h2 { margin: 0; font-size: 19px; }
code { font: 12.5px/1.5 ui-monospace, monospace; color: #6a7484; overflow-wrap: anywhere; }
small { color: #6a7484; font-size: 13px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(148px, 1fr)); gap: 12px; margin: 24px 0 12px; }
.card, .budget, section { background: #fff; border: 1px solid #e3e6eb; border-radius: 10px; }
.card { padding: 14px 16px; }
.card span { display: block; color: #6a7484; font-size: 13px; }
.card b { display: block; font-size: 24px; line-height: 1.3; letter-spacing: -0.01em; }
.budgets { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 12px; margin: 12px 0; }
.budget { padding: 14px 16px; }
.budget div { display: flex; justify-content: space-between; gap: 12px; margin-bottom: 8px; }
.budget em { align-self: start; color: #fff; border-radius: 99px; padding: 1px 10px; font: 600 12px/1.6 system-ui; }
.budget .bar { background: #eceef2; }
section { padding: 20px 24px 12px; margin: 20px 0; }
section > p { margin: 2px 0 14px; color: #6a7484; font-size: 13.5px; }
.bar { display: block; width: 100%; height: 12px; border-radius: 3px; }
.whole { display: block; width: 100%; height: 30px; border-radius: 6px; margin-bottom: 12px; }
.whole rect { stroke: #fff; stroke-width: 0.15; }
table { width: 100%; border-collapse: collapse; margin-bottom: 10px; table-layout: fixed; }
th { font-weight: 500; font-size: 13px; color: #6a7484; text-align: left; padding: 6px 10px 6px 0; }
td { border-top: 1px solid #eceef2; padding: 7px 10px 7px 0; vertical-align: middle; }
td b { font-weight: 600; overflow-wrap: anywhere; }
td.name code, td.name small { margin-left: 8px; }
td.name i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 9px; }
td.name { white-space: nowrap; }
th.name { width: 39%; }
th.number { width: 92px; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; padding-right: 0; }
.files th.name { width: 22%; }
.files td { vertical-align: top; }
.files code { color: #1f2733; }
.same { color: #1f2733; }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""
