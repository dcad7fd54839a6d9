"""One way to make a page: a frame, a style and scripts in templates beside this file.

A page needs no other file, and its frame forbids the browser to load one.
"""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def page(template: str, **content: Any) -> str:
    """HTML of a page; all `content` is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(content)
