"""Lets docstrings write shapes such as `[items][raters]`: Markdown would read a link."""

import re

import griffe

SHAPE = re.compile(r"(?<![`\w])(\[[\w ,]+\]\[[\w ,]+\])(?!`)")


class Shapes(griffe.Extension):
    """Marks two brackets in a row as code."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Change one object's docstring."""
        if obj.docstring:
            obj.docstring.value = SHAPE.sub(r"`\1`", obj.docstring.value)
