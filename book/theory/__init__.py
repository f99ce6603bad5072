"""The theory as code: a file for each chapter, named as its notebook, with its laws and what they need."""
