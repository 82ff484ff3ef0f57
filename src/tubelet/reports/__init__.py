"""The report: one self-contained page from run folders alone. Start reading at `page.report`.

    pictures  the arrays that evaluations leave in a run folder, and their reading
    folder    a run folder, read whole; what is damaged is one clear line
    figures   curves, as SVG that takes its colours from the page
    sheets    contact sheets of clips
    page      what is said, in which order; page.html and page.css are how

Nothing here needs the library that trained the model: numpy, matplotlib and jinja2 do.
"""
