"""The documentation site: sphinx-build -W docs docs/_build (pip install -e '.[docs]')."""

from fastvec import __version__

project = "fastvec"
author = "The fastvec authors"
copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = False

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
# Hosts that only the drop-ins' types name need not be installed where the site is built.
autodoc_mock_imports = ["torch"]
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"fastvec {release}"
# Nothing is fetched from other servers.
html_theme_options = {"navigation_with_keys": True}


def _no_type_before_colon(app, what, name, obj, options, lines):
    """Napoleon takes what stands before a colon in an attribute's first line for its type."""
    if what in ("attribute", "property"):
        lines[:1] = ["\\ ", *lines[:1]]  # an escaped space, which is not shown


def setup(app):
    app.connect("autodoc-process-docstring", _no_type_before_colon, priority=400)
