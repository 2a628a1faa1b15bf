"""The parts of a report: one HTML file with everything in it, the same bytes for the same facts."""

from collections.abc import Mapping, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --soft: #5d6677; --page: #ffffff;
  --card: #f4f6fa; --line: #dde2ea; --good: #1d7f4e; --bad: #c33636; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaf0; --soft: #9aa4b5; --page: #14171d;
  --card: #1d222b; --line: #323946; --good: #4cc38a; --bad: #ff7b7b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .7rem; }
.soft { color: var(--soft); margin: .2rem 0 0; }
.verdict { font-weight: 600; margin: .8rem 0; } .good { color: var(--good); }
.bad { color: var(--bad); }
.cards { display: grid; gap: .8rem; margin-top: .8rem; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .7rem .9rem; }
.card b { display: block; font-size: 1.4rem; white-space: nowrap; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: .85rem; }
svg { width: 100%; height: auto; display: block; } .narrow { max-width: 36rem; }
.pair { display: grid; gap: 1.5rem; align-items: end;
  grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 600; }
code, pre { font: .85rem/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
code { overflow-wrap: anywhere; } td code { display: inline-block; max-width: 44rem; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .8rem 1rem; overflow-x: auto; margin: 0; }
"""


def page(title: str, header: str, sections: Sequence[str]) -> str:
    """A whole page.

    Args:
        title: text; header, sections: HTML.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{header}\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def header(name: str, about: str, verdict: str, figures: Mapping[str, str]) -> str:
    """The top of a page.

    Args:
        name: text; about, verdict: HTML.
        figures: by what they mean, in the order shown; each is a card.
    """
    cards = "".join(
        f'<div class="card"><b>{figure}</b><span>{meaning}</span></div>'
        for meaning, figure in figures.items()
    )
    return (
        f'<header>\n<h1>{escape(name)}</h1>\n<p class="soft">{about}</p>\n'
        f'{verdict}\n<div class="cards">{cards}</div>\n</header>'
    )


def verdict(text: str, good: bool) -> str:
    """The sentence that matters most."""
    return f'<p class="verdict {"good" if good else "bad"}">{escape(text)}</p>'


def section(title: str, body: str) -> str:
    """A part of the page with its heading; `body` is HTML."""
    return f"<section>\n<h2>{title}</h2>\n{body}\n</section>"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is on the left; cells are HTML."""
    head = "".join(f"<th>{column}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def facts_table(facts: Mapping[str, str]) -> str:
    """Names and values; both are HTML."""
    rows = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in facts.items())
    return f'<div class="scroll"><table><tbody>{rows}</tbody></table></div>'


def code(text: str) -> str:
    """Text as a program writes it."""
    return f"<code>{escape(text)}</code>"
