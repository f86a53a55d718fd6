"""One HTML page about renders: pictures to flip through, to slide over each other and to subtract, plots, tables.

Rooms: `content` (what a folder holds), `plots` (SVG), `page` (the document; `page.js` and `page.css` go into it), `command`.
"""
