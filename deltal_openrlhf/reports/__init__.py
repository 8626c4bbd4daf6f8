"""Reports that a person opens from disk: one HTML file without network or script, its plots embedded, and next to it as PNG.

    numbers.py   numbers and estimates with their intervals, as text
    palette.py   one colour and marker for each method, in all plots
    figures.py   how every plot looks, and the kinds of plot: rows of intervals, values against x, curves with bands
    html.py      the page: paragraphs, tables that scroll in their own box, figures; the files of a report, all or none

What the pages say is in diagnostics/page.py and comparison/page.py.
"""
