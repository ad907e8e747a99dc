"""Sphinx configuration."""

from importlib import metadata

project = "geodiffrecon"
author = "The geodiffrecon developers"
project_copyright = "The geodiffrecon developers"
release = metadata.version("geodiffrecon")

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
numpydoc_show_class_members = False
autodoc_typehints = "none"  # the numpydoc sections already give types and shapes
autodoc_member_order = "bysource"
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"geodiffrecon {release}"
