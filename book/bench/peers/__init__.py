"""Quantisers to compare with, and the least a quantiser can do.

What is in no installable package is written anew from its description. The source is named, and equality with the
original in every detail is not claimed.
"""
