"""Texts of queries without what people said: the driver writes their words into them."""

import re

LONGEST_SHOWN = 300

# What a query is made of, as far as literals are concerned. A text that the server has cut off
# may end within any of them.
TOKEN = re.compile(
    r"""
    (?P<line_comment> --[^\n]*)
    | (?P<comment> /\*)
    | (?P<literal>
        [eE]'(?:[^'\\]|''|\\.)*(?:'|\\?\Z)
        | (?:[bBxXnN]|[uU]&)?'(?:[^']|'')*(?:'|\Z)
        | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)
        | \.?\d(?:[eE][+-]|[\w.])*
      )
    | (?P<kept>
        "(?:[^"]|"")*(?:"|\Z)     # a name
        | [^\W\d][\w$]*           # a word
        | \$\d+                   # a parameter
        | .
      )
    """,
    re.VERBOSE | re.DOTALL,
)
COMMENT_END = re.compile(r"/\*|\*/")


def masked(query: str) -> str:
    """The query in one line of at most 300 characters, with `?` for every literal.

    Quoted strings, dollar quotes and numbers count as literals. Comments are left out.
    """
    parts, position = [], 0
    while token := TOKEN.match(query, position):
        position = token.end()
        if token.lastgroup == "comment":
            position = _end_of_comment(query, position)
        parts.append({"kept": token[0], "literal": "?"}.get(str(token.lastgroup), " "))
    text = "".join(character if character.isprintable() else " " for character in "".join(parts))
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_SHOWN else line[: LONGEST_SHOWN - 1] + "…"


def _end_of_comment(query: str, position: int) -> int:
    """Where the comment ends whose beginning stands before the position: they may be nested."""
    depth = 1
    while depth and (mark := COMMENT_END.search(query, position)):
        depth += 1 if mark[0] == "/*" else -1
        position = mark.end()
    return len(query) if depth else position
