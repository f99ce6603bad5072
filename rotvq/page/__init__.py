"""What a notebook calls to become a page: parameters, figures, plots, glued numbers, sentences that hold."""

from rotvq.page.page import Page

__all__ = ["Page"]
