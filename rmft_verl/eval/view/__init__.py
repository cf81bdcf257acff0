"""One HTML file that shows a run, or two side by side: it opens from disk and needs no server and no network."""

from rmft_verl.eval.view.page import MOST_BYTES, Page

__all__ = ["MOST_BYTES", "Page"]
