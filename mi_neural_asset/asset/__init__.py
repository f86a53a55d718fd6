"""The deliverable: what was baked (description), what can be baked (validate), the asset and its file.

Importing a module of this room loads no Mitsuba; the functions that need it do.
"""
