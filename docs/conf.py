"""Makes a site of these pages: ``tox -e docs``."""

import re
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

HERE = Path(__file__).parent

project = "Quart-Realtime"
author = "the Quart-Realtime authors"
copyright = f"2026, {author}"  # noqa: A001 - the name that Sphinx reads
version = release = version_of("quart-realtime")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
# The rest of a JSX block is coloured all the same; and RealtimeError is one thing where it is
# raised and another where it is met.
suppress_warnings = ["misc.highlighting_failure", "ref.python"]

nitpicky = True
# What signatures and docstrings name and no page here has: others' types, whose own documentation
# isn't asked so that the site is built without network, and names that are for reading alone.
nitpick_ignore_regex = [
    (r"py:.*", r"(quart|werkzeug|websockets|asyncio|collections|contextlib|typing|types)\..*"),
    (
        r"py:.*",
        r"(Any|AssertionError|Mapping\[str|None|OSError|RuntimeError|TimeoutError|ValueError)",
    ),
    (r"py:.*", r"(bool|bytes|dict|float|frozenset|int|list|object|str|tuple|type|Exception)"),
    (r"py:.*", r"(.*\.)?(BUFFER|Declarations|F|dropped|TokenFunction)"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
pygments_style = "default"
pygments_dark_style = "one-dark"
html_show_sourcelink = False
html_copy_source = False
html_title = "Quart-Realtime"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#4338ca",
        "color-brand-content": "#4338ca",
        "color-brand-visited": "#4338ca",
    },
    "dark_css_variables": {
        "color-brand-primary": "#a5b4fc",
        "color-brand-content": "#a5b4fc",
        "color-brand-visited": "#a5b4fc",
    },
}

_LINK = re.compile(r"\[([^]\n]+)\]\(([^)\s:#]+)(#[^)\s]*)?\)")
_INCLUDE = re.compile(
    r"^```{include} (\S+)\n(?::start-after: \"(.+)\"\n)?(?::end-before: \"(.+)\"\n)?```$",
    re.MULTILINE,
)
_UNWRITTEN = re.compile(r"^([a-z]+)\*\n", re.MULTILINE)


def prepare(app: Sphinx, page: str, source: list[str]) -> None:
    """Put in what a page includes, and take out of it what the site hasn't.

    Links lead to files beside these pages too, which a reader of the site doesn't have: they are
    named instead. The same page, read in the repository, has its links.
    """
    text = _INCLUDE.sub(lambda found: _included(app, *found.groups()), source[0])
    if page == app.config.root_doc:
        text = _UNWRITTEN.sub(
            lambda found: found[0] if any(HERE.glob(found[1] + "*.md")) else "", text
        )
    source[0] = _without_links_outside(text, HERE)


def _included(app: Sphinx, name: str, after: str | None, before: str | None) -> str:
    file = (HERE / name).resolve()
    app.env.note_dependency(str(file))
    text = file.read_text(encoding="utf-8")
    for mark in (after, before):
        if mark is not None and mark not in text:
            raise ExtensionError(f"{name} has no {mark!r}, by which a page includes it")
    if after is not None:
        text = text.partition(after)[2]
    if before is not None:
        text = text.partition(before)[0]
    return _without_links_outside(text, file.parent).strip()


def _without_links_outside(text: str, folder: Path) -> str:
    def link(found: re.Match[str]) -> str:
        said, target, place = found.groups(default="")
        file = (folder / target).resolve()
        if not file.exists():
            return found[0]  # Sphinx says so.
        if file.parent == HERE:
            return f"[{said}]({file.name}{place})"
        name = str(file.relative_to(HERE.parent))
        return f"`{name}`" if said in (name, file.name) else f"{said} (`{name}`)"

    return _LINK.sub(link, text)


def setup(app: Sphinx) -> None:
    """Have Sphinx prepare each page."""
    app.connect("source-read", prepare)
