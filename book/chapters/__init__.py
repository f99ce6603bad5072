"""What only the pages of experiments need: their drawings, runs trained while a page is made, what they advise."""
