"""What a notebook calls to become a page: parameters, figures, plots, glued numbers."""
