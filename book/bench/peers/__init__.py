"""Quantisers to compare with, and the least a quantiser can do. Used by the tests and by the page on cost alone.

What is on no registry is written anew from its description. The source is named, and equality with the original in
every detail is not claimed.
"""
