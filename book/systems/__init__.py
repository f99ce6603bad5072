"""Systems beyond the VQ-VAE, one file a chapter: a residual codec, a VQ-GAN, a transformer's keys, and others.

Each is a frozen dataclass of what determines a run, the *case*, and a function that trains it. :mod:`.runs` keeps one
record a case, as the experiment chapters do for a Config. ``python -m book.systems run 30 --engine processes:2``.
"""
